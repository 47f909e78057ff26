"""The lease: this process says every 2 s that it lives, and settles the holds of those that no longer do.

A process whose lease is older than 30 s is dead to the others. After trouble with the database nobody's lease is fresh,
so nobody is swept until one full lease has passed since it was last seen to work.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from gateway.core.errors import ServiceUnavailable
from gateway.ledger.entries import Settlement
from gateway.ledger.writer import Writer

BEAT_SECONDS = 2.0
LEASE_SECONDS = 30.0
NO_LEASE_SECONDS = -1e9
"""The lease of owners who cannot live: not even a beat from the time before the clock was set back makes it fresh."""
SWEEP_EVERY_BEATS = 5
TIDY_EVERY_BEATS = 150
MOST_AT_ONCE = 200
COUNTED_AT_ONCE = 50
"""Calls asked before the loop gets a turn."""

Progress = tuple[int, int]
"""Input tokens by our count, output tokens delivered so far."""
AskProgress = Callable[[], Awaitable[Progress | None]]

log = logging.getLogger(__name__)


class LeaseDatabase(Protocol):
    """What the lease needs of SQLite or PostgreSQL."""

    async def beat(self, progress: Mapping[str, Progress]) -> None:
        """Renew the lease; note how far calls have come, by request id."""

    async def abandoned(self, lease_us: int, most: int) -> list[Settlement]:
        """Return settlements for holds of owners without a fresh lease, but for those that a job keeps."""

    async def tidy(self, lease_us: int) -> None:
        """Forget what nothing depends on any more."""


class Lease:
    """The heartbeat and the sweep of one process. `run` is its task."""

    def __init__(self, database: LeaseDatabase, writer: Writer, monotonic: Callable[[], float]) -> None:
        self._database = database
        self._writer = writer
        self._monotonic = monotonic
        self._calls: dict[str, AskProgress] = {}
        self._sweep_from = monotonic() + LEASE_SECONDS
        self._beats = 0

    def watch(self, request_id: str, progress: AskProgress) -> None:
        """Ask the call at each beat how far it has come; None says that it did not move."""
        self._calls[request_id] = progress

    def unwatch(self, request_id: str) -> None:
        """Stop asking. Idempotent."""
        self._calls.pop(request_id, None)

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            await self.beat()

    async def beat(self) -> None:
        """Renew the lease, then sweep and tidy when it is time. Trouble with the database is not raised."""
        self._beats += 1
        try:
            await self._database.beat(await self._progress())
            if self._beats % SWEEP_EVERY_BEATS == 0 and self._monotonic() >= self._sweep_from:
                await self.sweep(LEASE_SECONDS)
            if self._beats % TIDY_EVERY_BEATS == 0:
                await self._database.tidy(int(LEASE_SECONDS * 1_000_000))
        except ServiceUnavailable as error:
            self._sweep_from = self._monotonic() + LEASE_SECONDS
            log.warning("the heartbeat failed: %s", error.__cause__ or error)
        except Exception:  # Whatever it was: a process that stops beating has its living calls swept by others.
            self._sweep_from = self._monotonic() + LEASE_SECONDS
            log.exception("the heartbeat failed")

    async def _progress(self) -> dict[str, Progress]:
        moved: dict[str, Progress] = {}
        for index, (request_id, ask) in enumerate(list(self._calls.items())):
            try:
                progress = await ask()
            except Exception:  # One call that cannot count must not stop the heartbeat of all.
                log.exception("a call could not tell its progress")
                self.unwatch(request_id)
                continue
            if progress is not None:
                moved[request_id] = progress
            if index % COUNTED_AT_ONCE == COUNTED_AT_ONCE - 1:
                await asyncio.sleep(0)
        return moved

    async def sweep(self, lease_seconds: float) -> int:
        """Settle the holds of every other owner whose lease is older; return how many there were."""
        swept = 0
        while holds := await self._database.abandoned(int(lease_seconds * 1_000_000), MOST_AT_ONCE):
            settling = (self._writer.settle(settlement) for settlement in holds)
            results = await asyncio.gather(*settling, return_exceptions=True)
            done = results.count(None)
            swept += done
            # What failed is logged and would be read again and again.
            if done < len(holds) or not self._writer.available:
                break
        return swept
