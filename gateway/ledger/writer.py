"""Group commit: requests do not open transactions, they hand their reservation or settlement to one writer.

The writer takes all that wait, has the database apply it in one transaction, and wakes the waiters. It never waits for
a batch to fill: while one commits, the next gathers. A batch that fails for what is in it is run again one by one, so
that one bad item fails alone. When the database is away, reservations fail at once and settlements stay in the queue;
after 250 ms the spool stands in for their commit.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.core.errors import GatewayFault, ServiceUnavailable
from gateway.ledger.effects import Batch
from gateway.ledger.entries import Grant, Refused, Reservation, Settlement, Stale
from gateway.ledger.spool import Spool, SpoolFull

MOST_IN_A_BATCH = 500
SPOOL_AFTER_SECONDS = 0.25
RETRY_SECONDS = 0.5

log = logging.getLogger(__name__)

Answer = Grant | Refused | Stale


class LedgerDatabase(Protocol):
    """What the writer needs of SQLite or PostgreSQL."""

    async def commit(self, batch: Batch) -> list[Answer]:
        """Apply a batch in one transaction; answers come in the order of its reservations."""


class Observer(Protocol):
    """Who wants to know how the ledger fares (the metrics)."""

    def ledger_batch(self, size: int, seconds: float) -> None:
        """Take note of a committed batch."""

    def ledger_spooled(self, records: int) -> None:
        """Take note of how many settlements wait in the spool."""


@dataclass(slots=True, eq=False)
class WaitingReservation:
    """A reservation and who waits for its answer."""

    item: Reservation
    answer: asyncio.Future[Answer]


@dataclass(slots=True, eq=False)
class WaitingSettlement:
    """A settlement and who waits until it is durable, in the database or in the spool."""

    item: Settlement
    durable: asyncio.Future[None]
    spooled: bool = False


class Writer:
    """The one writer of a process. `run` is its task; `monotonic` is a clock in seconds."""

    def __init__(
        self, database: LedgerDatabase, spool: Spool, observer: Observer, monotonic: Callable[[], float]
    ) -> None:
        self._database = database
        self._spool = spool
        self._observer = observer
        self._monotonic = monotonic
        self._reservations: deque[WaitingReservation] = deque()
        self._settlements: deque[WaitingSettlement] = deque()
        self._voids: set[str] = set()
        self._wake = asyncio.Event()
        self._in_flight: list[WaitingSettlement] = []
        self._spooled = 0
        self._spooling: asyncio.Task[None] | None = None
        self._closing = False
        self.available = True

    async def reserve(self, reservation: Reservation) -> Answer:
        """Wait for the decision; a Grant is durable. Raises ServiceUnavailable. Leaving voids what was granted."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._reservations.append(WaitingReservation(reservation, answer))
        self._wake.set()
        try:
            return await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and isinstance(answer.result(), Grant):
                self.void(reservation.request_id)
            raise

    async def settle(self, settlement: Settlement) -> None:
        """Return once the settlement is durable. Cancelling the wait does not take it back."""
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settlements.append(WaitingSettlement(settlement, durable))
        self._wake.set()
        await durable

    def void(self, request_id: str) -> None:
        """Give back a hold whose call was never sent; done before anything newer."""
        self._voids.add(request_id)
        self._wake.set()

    @property
    def is_idle(self) -> bool:
        """True when nothing waits for the database."""
        return not (self._reservations or self._settlements or self._voids or self._in_flight)

    async def run(self) -> None:
        """Commit batches until `close`. The task's owner awaits it."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while not self.is_idle:
                if not await self._round():
                    if self._closing:
                        return
                    await asyncio.sleep(RETRY_SECONDS)
            if self._spooled:
                await self._clear_spool()
            if self._closing:
                return

    def close(self) -> None:
        """Let `run` return once all that waits is committed, or at the first failure; the spool keeps the rest."""
        self._closing = True
        self._wake.set()

    async def _round(self) -> bool:
        """Commit what waits. Returns False when the database is away."""
        reservations = self._take_reservations()
        self._in_flight = [self._settlements.popleft() for _ in range(min(len(self._settlements), MOST_IN_A_BATCH))]
        voids = tuple(self._voids)
        alarm = asyncio.get_running_loop().call_later(SPOOL_AFTER_SECONDS, self._start_spooling)
        try:
            await self._commit(reservations, self._in_flight, voids)
        except ServiceUnavailable as error:
            self._put_off(reservations, error)
            return False
        finally:
            alarm.cancel()
        self.available = True
        self._in_flight = []
        return True

    def _take_reservations(self) -> list[WaitingReservation]:
        taken: list[WaitingReservation] = []
        while self._reservations and len(taken) < MOST_IN_A_BATCH:
            waiting = self._reservations.popleft()
            if not waiting.answer.cancelled():
                taken.append(waiting)
        return taken

    async def _commit(
        self, reservations: Sequence[WaitingReservation], settlements: Sequence[WaitingSettlement], voids: Sequence[str]
    ) -> None:
        batch = Batch([w.item for w in reservations], [w.item for w in settlements], list(voids))
        if not batch:
            return
        began = self._monotonic()
        try:
            answers = await self._database.commit(batch)
        except ServiceUnavailable:
            raise
        except Exception as error:  # Whatever the batch's content made the database say, it must not fail neighbours.
            await self._commit_one_by_one(reservations, settlements, voids, error)
            return
        self._voids.difference_update(voids)
        for waiting, answer in zip(reservations, answers, strict=True):
            self._tell(waiting, answer)
        for settled in settlements:
            if not settled.durable.done():
                settled.durable.set_result(None)
        self._observer.ledger_batch(len(batch), self._monotonic() - began)

    async def _commit_one_by_one(
        self,
        reservations: Sequence[WaitingReservation],
        settlements: Sequence[WaitingSettlement],
        voids: Sequence[str],
        error: Exception,
    ) -> None:
        if len(reservations) + len(settlements) + len(voids) == 1:
            log.error("the ledger refused an item: %r", (*reservations, *settlements, *voids), exc_info=error)
            self._voids.difference_update(voids)
            for reservation in reservations:
                if not reservation.answer.done():
                    reservation.answer.set_exception(GatewayFault())
            for settlement in settlements:
                if not settlement.durable.done():
                    settlement.durable.set_exception(GatewayFault())
            return
        for settlement in settlements:
            await self._commit((), (settlement,), ())
        for void in voids:
            await self._commit((), (), (void,))
        for reservation in reservations:
            await self._commit((reservation,), (), ())

    def _tell(self, waiting: WaitingReservation, answer: Answer) -> None:
        if not waiting.answer.done():
            waiting.answer.set_result(answer)
        elif waiting.answer.cancelled() and isinstance(answer, Grant):
            self.void(waiting.item.request_id)

    def _put_off(self, reservations: Sequence[WaitingReservation], error: ServiceUnavailable) -> None:
        """The database is away: nobody is admitted, no settlement is lost, and what may have committed is voided."""
        self.available = False
        for waiting in reservations:
            self._voids.add(waiting.item.request_id)
            if not waiting.answer.done():
                waiting.answer.set_exception(ServiceUnavailable(error.message))
        self._settlements.extendleft(reversed(self._in_flight))
        self._in_flight = []
        self._start_spooling()
        log.warning("the ledger's database is away: %s", error.__cause__ or error)

    def _start_spooling(self) -> None:
        """Let the spool stand in for the commit of every settlement that waits, now and until they are all through."""
        if self._spooling is None or self._spooling.done():
            self._spooling = asyncio.get_running_loop().create_task(self._spool_waiting())

    async def _spool_waiting(self) -> None:
        while waiting := [w for w in (*self._in_flight, *self._settlements) if not w.spooled and not w.durable.done()]:
            try:
                await asyncio.to_thread(self._spool.append, [w.item for w in waiting])
            except (SpoolFull, OSError):
                log.critical("the spool cannot take %d settlements; they are in memory only", len(waiting))
            for w in waiting:
                w.spooled = True
                if not w.durable.done():
                    w.durable.set_result(None)
            self._spooled += len(waiting)
            self._observer.ledger_spooled(self._spooled)
            await asyncio.sleep(SPOOL_AFTER_SECONDS)

    async def _clear_spool(self) -> None:
        if self._spooling is not None:
            await self._spooling
        if self.is_idle:
            await asyncio.to_thread(self._spool.clear)
            self._spooled = 0
            self._observer.ledger_spooled(0)
