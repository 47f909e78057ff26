"""The spool's side of group commit: it stands in for commits that the database takes too long over.

From the first trouble until it is over, whatever settlement waits is spooled within 250 ms and counts as durable. One
task does all that is done to the spool, so an append and a clearing never meet: records are forgotten only when the
database has every one of them.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from gateway.ledger.entries import Settlement
from gateway.ledger.spool import Spool, SpoolFull

SPOOL_AFTER_SECONDS = 0.25

log = logging.getLogger(__name__)


class SpoolObserver(Protocol):
    """Who wants to know what is in the spool (the metrics)."""

    def ledger_spooled(self, records: int) -> None:
        """Take note of how many settlements the spool has."""


class WaitingSettlement(msgspec.Struct, eq=False):
    """A settlement that is not in the database yet, and who waits until it is durable, there or in the spool."""

    item: Settlement
    durable: asyncio.Future[None]
    is_spooled: bool = False


class StandIn:
    """Spools what `waiting` returns while there is trouble, and clears the spool after it.

    `is_full` says that settlements are in memory only, until the database has taken them.
    """

    def __init__(
        self, spool: Spool, observer: SpoolObserver, waiting: Callable[[], Sequence[WaitingSettlement]]
    ) -> None:
        self._spool = spool
        self._observer = observer
        self._waiting = waiting
        self._is_needed = False
        self.is_full = False
        self._closing = asyncio.Event()
        self._records = 0
        self._task: asyncio.Task[None] | None = None

    def step_in(self) -> None:
        """Spool all that waits, now and every 250 ms until `step_back`. Idempotent."""
        self._is_needed = True
        if (self._task is None or self._task.done()) and not self._closing.is_set():
            self._task = asyncio.get_running_loop().create_task(self._work(), name="ledger stand-in")

    def step_back(self) -> None:
        """The database commits again; what it has not got yet stays spooled until it has. Idempotent."""
        self._is_needed = False

    async def close(self) -> None:
        """Spool what still waits; the file is left empty if the database has everything. Idempotent."""
        self._closing.set()
        if self._task is not None:
            await self._task
        await self._append()
        if self._records and not self._waiting():
            await self._clear()

    async def _work(self) -> None:
        while not self._closing.is_set():
            if self._is_needed or any(waiting.is_spooled for waiting in self._waiting()):
                await self._append()
                await self._pause()
            elif self._records:
                await self._clear()
            else:
                self.is_full = False
                return

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(SPOOL_AFTER_SECONDS):
                await self._closing.wait()

    async def _append(self) -> None:
        new = [waiting for waiting in self._waiting() if not waiting.is_spooled]
        if not new:
            return
        try:
            self._records += await asyncio.to_thread(self._spool.append, [waiting.item for waiting in new])
        except (SpoolFull, OSError) as error:
            self.is_full = True
            log.critical("the spool cannot take %d settlements, they are in memory only: %r", len(new), error)
        else:
            self._observer.ledger_spooled(self._records)
        for waiting in new:
            waiting.is_spooled = True
            if not waiting.durable.done():
                waiting.durable.set_result(None)

    async def _clear(self) -> None:
        try:
            await asyncio.to_thread(self._spool.clear)
        except OSError as error:
            log.warning("the spool cannot be cleared: %r", error)  # Replaying what it has changes nothing.
        self._records = 0
        self.is_full = False
        self._observer.ledger_spooled(0)
