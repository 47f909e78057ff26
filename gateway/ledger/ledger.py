"""The ledger as the rest of the gateway sees it: reserve, settle, void, watch. Opened and closed by app.py."""

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Protocol

from gateway.core.errors import GatewayFault
from gateway.core.limits import Limit
from gateway.ledger.entries import Grant, Refused, Reservation, Settlement, Stale
from gateway.ledger.lease import NO_LEASE_SECONDS, AskProgress, Lease, LeaseDatabase
from gateway.ledger.spool import Adopted, Spool
from gateway.ledger.standin import SPOOL_AFTER_SECONDS
from gateway.ledger.writer import LedgerDatabase, Observer, Writer

CLOSE_SECONDS = 10.0
MOST_REMEMBERED = 10_000

log = logging.getLogger(__name__)


class Transactions(LedgerDatabase, LeaseDatabase, Protocol):
    """All the transactions of the ledger: SqliteLedger or PostgresLedger."""

    owner: str
    """The name of this process's lease."""

    async def close(self) -> None:
        """Let the database go."""


class Ledger:
    """One process's ledger. `sole_owner` says that no other process can be alive on this database (SQLite).

    No settlement waits longer than `late_seconds` for its commit before the spool stands in.
    """

    def __init__(
        self,
        database: Transactions,
        spool_folder: Path,
        observer: Observer,
        monotonic: Callable[[], float],
        *,
        sole_owner: bool,
        late_seconds: float = SPOOL_AFTER_SECONDS,
    ) -> None:
        self._database = database
        self._sole_owner = sole_owner
        self._spool = Spool(spool_folder, database.owner)
        self._writer = Writer(database, self._spool, observer, monotonic, self._remember, late_seconds=late_seconds)
        self._lease = Lease(database, self._writer, monotonic)
        self._tasks: list[asyncio.Task[None]] = []
        self._remaining: dict[str, int] = {}

    async def open(self) -> None:
        """Take the lease, replay what dead processes spooled and, as sole owner, sweep at once."""
        self._tasks.append(asyncio.create_task(self._writer.run(), name="ledger writer"))
        await self._database.beat({})
        for adopted in await asyncio.to_thread(self._spool.adopt):
            await self._replay(adopted)
        if self._sole_owner and (swept := await self._lease.sweep(NO_LEASE_SECONDS)):
            log.info("settled %d calls that the last process left open", swept)
        self._tasks.append(asyncio.create_task(self._lease.run(), name="ledger lease"))

    async def _replay(self, adopted: Adopted) -> None:
        replays = (self._writer.settle(settlement) for settlement in adopted.settlements)
        failures = [result for result in await asyncio.gather(*replays, return_exceptions=True) if result is not None]
        if not failures:
            await asyncio.to_thread(adopted.discard)
        elif all(isinstance(failure, GatewayFault) for failure in failures):
            kept = await asyncio.to_thread(adopted.set_aside)
            log.critical("%d settlements could not be replayed, they are kept in %s", len(failures), kept)
        else:
            raise failures[0]
        log.info("replayed %d settlements from %s", len(adopted.settlements) - len(failures), adopted.path.name)

    async def close(self) -> None:
        """Commit or spool all that waits, then let the database go. Idempotent."""
        if not self._tasks:
            return
        writer, *others = self._tasks
        self._tasks = []
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self._writer.close()
        await asyncio.wait({writer}, timeout=CLOSE_SECONDS)
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
        await self._writer.finish()
        self._spool.close()
        await self._database.close()

    @property
    def available(self) -> bool:
        """False from a failed batch on until the next one that commits, and while the spool is full."""
        return self._writer.available

    @property
    def is_idle(self) -> bool:
        """True when nothing waits for the database."""
        return self._writer.is_idle

    def reserve(
        self, reservation: Reservation, until: float = math.inf
    ) -> Coroutine[None, None, Grant | Refused | Stale]:
        """Admit the call under all its limits or under none. A Grant is durable.

        Raises ServiceUnavailable when the database is away, or slow for so long that it could not answer by `until`, a
        moment of the monotonic clock. Cancelling it leaves nothing held.
        """
        return self._writer.reserve(reservation, until)

    def settle(self, settlement: Settlement) -> asyncio.Future[None]:
        """Charge the call. The wait ends when that is durable, in the database or (after 250 ms) in the spool."""
        return self._writer.settle(settlement)

    def void(self, request_id: str) -> None:
        """Give back the hold of a call that was never sent."""
        self._writer.void(request_id)

    def watch(self, request_id: str, progress: AskProgress) -> None:
        """Note at each heartbeat how far the call has come, for a sweep if this process dies."""
        self._lease.watch(request_id, progress)

    def unwatch(self, request_id: str) -> None:
        """Stop watching a call. Idempotent."""
        self._lease.unwatch(request_id)

    def remaining(self, limit: Limit) -> int | None:
        """Return what was left under a limit when it was last seen, None if it never was. A hint, not an answer."""
        return self._remaining.get(limit.id)

    def _remember(self, grant: Grant) -> None:
        if len(self._remaining) > MOST_REMEMBERED:
            self._remaining.clear()
        for standing in grant.standings:
            self._remaining[standing.limit.id] = standing.remaining
