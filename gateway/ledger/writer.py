"""Group commit: requests do not open transactions, they hand their reservation or settlement to one writer.

The writer takes all that wait, has the database apply it in one transaction, and wakes the waiters. Who comes alone is
committed at once; under load commits keep 2 ms apart, because the disk is what costs, not what is written. A batch that
fails for what is in it is run again one by one, so that one bad item fails alone. When the database is away,
reservations fail at once and settlements stay in the queue; after 250 ms the spool stands in for their commit.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

import msgspec

from gateway.core.errors import GatewayError, GatewayFault, ServiceUnavailable
from gateway.ledger.effects import Batch
from gateway.ledger.entries import Grant, OutcomeUnknown, Refused, Reservation, Settlement, Stale
from gateway.ledger.spool import Spool
from gateway.ledger.standin import SPOOL_AFTER_SECONDS, SpoolObserver, StandIn, WaitingSettlement

MOST_IN_A_BATCH = 128
"""Reservations, and as many settlements. What is committed together goes on together, in one turn of the event loop:
more would hold up everybody else, and save next to nothing."""
RETRY_SECONDS = 0.5
CALM = 2
"""A batch of no more than this says that hardly anybody else comes: then nobody waits for company."""
GATHER_SECONDS = 0.002
"""The least time from one commit to the next under load."""

log = logging.getLogger(__name__)

Answer = Grant | Refused | Stale


class LedgerDatabase(Protocol):
    """What the writer needs of SQLite or PostgreSQL."""

    async def commit(self, batch: Batch) -> list[Answer]:
        """Apply a batch in one transaction; answers come in the order of its reservations.

        Raises ServiceUnavailable when the database is away, as OutcomeUnknown if it may have committed. Anything else
        that it raises is the batch's own fault.
        """

    async def disown(self, request_id: str) -> None:
        """Leave a call's hold to the next sweep."""


class Observer(SpoolObserver, Protocol):
    """Who wants to know how the ledger fares (the metrics)."""

    def ledger_batch(self, size: int, seconds: float) -> None:
        """Take note of a committed batch."""


class WaitingReservation(msgspec.Struct, eq=False):
    """A reservation and who waits for its answer."""

    item: Reservation
    answer: asyncio.Future[Answer]
    until: float
    """By the writer's clock: how long it may wait while the database takes its time."""

    def fail(self, error: GatewayError) -> None:
        """Tell the waiter, if it still waits."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Writer:
    """The one writer of a process. `run` is its task; `monotonic` is a clock in seconds; `on_grant` sees each grant.

    A commit that takes longer than `late_seconds` is late: the spool stands in for it, and who cannot wait is refused.
    """

    def __init__(
        self,
        database: LedgerDatabase,
        spool: Spool,
        observer: Observer,
        monotonic: Callable[[], float],
        on_grant: Callable[[Grant], None] = lambda grant: None,
        *,
        late_seconds: float = SPOOL_AFTER_SECONDS,
    ) -> None:
        self._late_seconds = late_seconds
        self._database = database
        self._observer = observer
        self._monotonic = monotonic
        self._on_grant = on_grant
        self._reservations: deque[WaitingReservation] = deque()
        self._settlements: deque[WaitingSettlement] = deque()
        self._voids: set[str] = set()
        self._asking: list[WaitingReservation] = []
        self._settling: list[WaitingSettlement] = []
        self._wake = asyncio.Event()
        self._stand_in = StandIn(spool, observer, lambda: [*self._settling, *self._settlements])
        self._closing = asyncio.Event()
        self._ended = False
        self._next_at = 0.0
        self._size = 0
        self._is_away = False
        self._alarm: asyncio.TimerHandle

    async def reserve(self, reservation: Reservation, until: float = math.inf) -> Answer:
        """Wait for the decision; a Grant is durable. Leaving voids what was granted.

        Raises ServiceUnavailable, at the latest at that moment of the writer's clock while the database is slow.
        """
        self._require_running()
        if self._stand_in.is_full:
            raise ServiceUnavailable("The gateway cannot record more calls at the moment; try again shortly.")
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._reservations.append(WaitingReservation(reservation, answer, until))
        self._wake.set()
        try:
            return await answer
        except asyncio.CancelledError:
            if _is_grant(answer):
                self.void(reservation.request_id)
            raise

    def settle(self, settlement: Settlement) -> asyncio.Future[None]:
        """Take the settlement; what is returned is done once it is durable. Cancelling the wait takes nothing back.

        Raises ServiceUnavailable after the end, GatewayFault for what no database can take; its hold is then swept.
        """
        self._require_running()
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settlements.append(WaitingSettlement(settlement, durable))
        self._wake.set()
        return durable

    def void(self, request_id: str) -> None:
        """Give back a hold whose call was never sent; done before anything newer."""
        self._voids.add(request_id)
        self._wake.set()

    @property
    def available(self) -> bool:
        """False from a failed batch on until the next one that commits, while the spool is full, and after the end."""
        return not (self._is_away or self._ended or self._stand_in.is_full)

    @property
    def is_idle(self) -> bool:
        """True when nothing waits for the database."""
        return not (self._reservations or self._settlements or self._voids or self._asking or self._settling)

    async def run(self) -> None:
        """Commit batches until `close`. The task's owner awaits it, then `finish`."""
        try:
            while not self._closing.is_set():
                await self._wake.wait()
                self._wake.clear()
                # While the database is away empty batches ask for it, so that nobody has to fail to find it back.
                while self._is_away or not self.is_idle:
                    if await self._round():
                        continue
                    if self._closing.is_set():
                        return
                    await self._pause()
        finally:
            self._ended = True
            for waiting in (*self._asking, *self._reservations):
                waiting.fail(ServiceUnavailable("The gateway is stopping; try again shortly."))
            self._reservations.clear()

    def close(self) -> None:
        """Let `run` return once all that waits is committed, or at the first failure."""
        self._closing.set()
        self._wake.set()

    async def finish(self) -> None:
        """After `run`: see what could not be committed into the spool. Idempotent."""
        await self._stand_in.close()

    def _require_running(self) -> None:
        if self._ended:
            raise ServiceUnavailable("The gateway is stopping; try again shortly.")

    async def _pause(self) -> None:
        with self._looking(), suppress(TimeoutError):
            async with asyncio.timeout(RETRY_SECONDS):
                await self._closing.wait()

    async def _round(self) -> bool:
        """Commit what waits. Returns False when the database is away."""
        await self._gather()
        self._asking = self._take_reservations()
        self._settling = [self._settlements.popleft() for _ in range(min(len(self._settlements), MOST_IN_A_BATCH))]
        voids = tuple(self._voids)
        try:
            with self._looking():
                await self._commit(self._asking, self._settling, voids)
        except ServiceUnavailable as error:
            self._put_off(error)
            return False
        self._is_away = False
        self._asking, self._settling = [], []
        self._stand_in.step_back()
        return True

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """Look every 250 ms (`late_seconds`) after those who wait meanwhile."""
        self._alarm = asyncio.get_running_loop().call_later(self._late_seconds, self._on_late)
        try:
            yield
        finally:
            self._alarm.cancel()

    def _on_late(self) -> None:
        """The database takes its time: settlements are spooled, and who can't wait for the next look is refused.

        What is decided after that is voided.
        """
        self._stand_in.step_in()
        next_look = self._monotonic() + self._late_seconds
        for waiting in (*self._asking, *self._reservations):
            if waiting.until <= next_look:
                waiting.fail(ServiceUnavailable("The gateway's database is slow; try again shortly."))
        self._alarm = asyncio.get_running_loop().call_later(self._late_seconds, self._on_late)

    async def _gather(self) -> None:
        """Under load, let the next batch fill: what is dear about a commit is the disk, not what is in it."""
        wait = self._next_at - self._monotonic() if self._size > CALM else 0.0
        if wait > 0:
            await asyncio.sleep(wait)
        self._next_at = self._monotonic() + GATHER_SECONDS
        self._size = len(self._reservations) + len(self._settlements)

    def _take_reservations(self) -> list[WaitingReservation]:
        taken: list[WaitingReservation] = []
        while self._reservations and len(taken) < MOST_IN_A_BATCH:
            waiting = self._reservations.popleft()
            if not waiting.answer.done():
                taken.append(waiting)
        return taken

    async def _commit(
        self, reservations: Sequence[WaitingReservation], settlements: Sequence[WaitingSettlement], voids: Sequence[str]
    ) -> None:
        batch = Batch([w.item for w in reservations], [w.item for w in settlements], list(voids))
        began = self._monotonic()
        try:
            answers = await self._database.commit(batch)
        except ServiceUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever an item made the database say, its neighbours are served
            if len(batch) == 1:
                await self._refuse(reservations, settlements, voids, error)
            else:
                await self._commit_one_by_one(reservations, settlements, voids)
            return
        self._voids.difference_update(voids)
        for waiting, answer in zip(reservations, answers, strict=True):
            self._tell(waiting, answer)
        for settled in settlements:
            if not settled.durable.done():
                settled.durable.set_result(None)
        if batch:
            self._observer.ledger_batch(len(batch), self._monotonic() - began)

    async def _commit_one_by_one(
        self, reservations: Sequence[WaitingReservation], settlements: Sequence[WaitingSettlement], voids: Sequence[str]
    ) -> None:
        for settlement in settlements:
            await self._commit((), (settlement,), ())
        for void in voids:
            await self._commit((), (), (void,))
        for reservation in reservations:
            await self._commit((reservation,), (), ())

    async def _refuse(
        self,
        reservations: Sequence[WaitingReservation],
        settlements: Sequence[WaitingSettlement],
        voids: Sequence[str],
        error: Exception,
    ) -> None:
        """Fail the one item that the database cannot take. A call that was sent is charged all the same, by a sweep."""
        log.error("the ledger refused an item: %r", (*reservations, *settlements, *voids), exc_info=error)
        self._voids.difference_update(voids)
        for reservation in reservations:
            reservation.fail(GatewayFault())
        for settlement in settlements:
            try:
                await self._database.disown(settlement.item.request_id)
            except Exception:  # The lease's end disowns it too; a writer that dies would refuse everybody.
                log.exception("could not disown %s", settlement.item.request_id)
            if not settlement.durable.done():
                settlement.durable.set_exception(GatewayFault())

    def _tell(self, waiting: WaitingReservation, answer: Answer) -> None:
        if not waiting.answer.done():
            waiting.answer.set_result(answer)
            if isinstance(answer, Grant):
                self._on_grant(answer)
        elif isinstance(answer, Grant) and not _is_grant(waiting.answer):
            self.void(waiting.item.request_id)

    def _put_off(self, error: ServiceUnavailable) -> None:
        """The database is away: nobody is admitted, no settlement is lost, and what may have committed is voided."""
        self._is_away = True
        for waiting in self._asking:
            # Those who were answered, one by one before the trouble, keep their answers.
            if isinstance(error, OutcomeUnknown) and not _is_grant(waiting.answer):
                self._voids.add(waiting.item.request_id)
        for waiting in (*self._asking, *self._reservations):
            waiting.fail(ServiceUnavailable(error.message))
        self._reservations.clear()
        self._settlements.extendleft(reversed(self._settling))
        self._asking, self._settling = [], []
        self._stand_in.step_in()
        log.warning("the ledger's database is away: %s", error.__cause__ or error)


def _is_grant(answer: asyncio.Future[Answer]) -> bool:
    """Tell whether a call was admitted, perhaps without its waiter having seen it."""
    if not answer.done() or answer.cancelled() or answer.exception() is not None:
        return False
    return isinstance(answer.result(), Grant)
