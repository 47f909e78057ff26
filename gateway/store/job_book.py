"""The jobs of all processes, as one of them sees them: what it may look at now, and what the database has yet to take.

A job that cannot be noted because the database is away is kept here and noted later; its process lives meanwhile, so
its hold is not swept. Only if the process dies before the database is back, the sweep charges what was known.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from gateway.core.errors import ServiceUnavailable
from gateway.store import jobs, provider_objects
from gateway.store.engine import Connection, Database
from gateway.store.jobs import Job
from gateway.store.provider_objects import ProviderObject

MICROSECONDS = 1_000_000
CLAIM_SECONDS = 120.0
"""How long a process has a job to itself: longer than a look takes, short enough for others to take over."""
MOST_AT_ONCE = 16

log = logging.getLogger(__name__)


class JobBook:
    """Made once by app.py. `now` is in Unix seconds; after `most_seconds` a job is ended by the gateway.

    What is not noted yet has its times by this process's clock, everything else by the database's.
    """

    def __init__(self, database: Database, now: Callable[[], float], most_seconds: float) -> None:
        self._database = database
        self._now = now
        self._most_us = int(most_seconds * MICROSECONDS)
        self._ahead_us = 0
        self._unsaved: dict[str, tuple[Job, ProviderObject]] = {}
        self._news = asyncio.Event()

    async def note(
        self,
        request_id: str,
        made: ProviderObject,
        record: str,
        first_look_seconds: float,
        window_seconds: float = 0.0,
    ) -> None:
        """Note a job and whose it is, in one transaction; noting it again sets when it is due.

        `record` is the settlement to make if nothing more comes to light; `window_seconds` are what the provider may
        take beyond what any job may.
        """
        now_us = self._own_us()
        due_us = now_us + int(first_look_seconds * MICROSECONDS)
        ends_us = now_us + self._most_us + int(window_seconds * MICROSECONDS)
        begun = Job(request_id, made.kind, made.upstream, made.external_id, record, 0, due_us, ends_us)
        self._unsaved[request_id] = begun, made
        try:
            await self.save()
        except ServiceUnavailable as error:
            log.warning("job %s is not noted yet: %s", made.external_id, error.__cause__ or error)
        self._news.set()

    async def save(self) -> None:
        """Note what could not be noted before. Raises ServiceUnavailable."""
        for request_id, noted in tuple(self._unsaved.items()):
            await self._database.write(lambda connection, noted=noted: self._note(connection, *noted))  # type: ignore[misc]
            if self._unsaved.get(request_id) is noted:
                del self._unsaved[request_id]

    async def claim(self) -> list[Job]:
        """Return jobs that are due, ours alone for CLAIM_SECONDS. Raises ServiceUnavailable."""
        due = await self._database.read(lambda connection: jobs.due(connection, self._time(connection), MOST_AT_ONCE))
        if not due:
            return []
        until_us = self.now_us() + int(CLAIM_SECONDS * MICROSECONDS)
        return await self._database.write(lambda connection: jobs.claim(connection, due, until_us))

    async def find(self, upstream: str, external_id: str) -> Job | None:
        """Return the job that is known by this id at its upstream. Raises ServiceUnavailable."""
        for unsaved, _ in self._unsaved.values():
            if (unsaved.upstream, unsaved.external_id) == (upstream, external_id):
                return unsaved
        return await self._database.read(lambda connection: jobs.find(connection, upstream, external_id))

    async def postpone(self, request_id: str, seconds: float) -> None:
        """Have a job looked at in so many seconds. Raises ServiceUnavailable."""
        pause_us = int(seconds * MICROSECONDS)
        await self._database.write(
            lambda connection: jobs.postpone(connection, request_id, self._time(connection) + pause_us)
        )

    async def forget(self, request_id: str, left: Sequence[ProviderObject] = ()) -> bool:
        """Drop a job that is settled, and note what it left behind; tell whether it was still there.

        Raises ServiceUnavailable.
        """
        was_unsaved = self._unsaved.pop(request_id, None) is not None
        return await self._database.write(lambda connection: _forget(connection, request_id, left)) or was_unsaved

    def is_over_time(self, job: Job) -> bool:
        """Tell whether the job must be ended now."""
        return self.now_us() >= job.ends_at_us

    async def outlook(self) -> tuple[int, float | None]:
        """Return how many jobs there are and in how many seconds the next is due. Raises ServiceUnavailable."""
        now_us, (count, due_us) = await self._database.read(
            lambda connection: (self._time(connection), jobs.outlook(connection))
        )
        return count, None if due_us is None else max(due_us - now_us, 0) / MICROSECONDS

    async def wait(self, seconds: float) -> None:
        """Return after so long, or as soon as a job was noted."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()

    def now_us(self) -> int:
        """Return the present moment as jobs have it, as far as the database's clock is known by now."""
        return self._own_us() + self._ahead_us

    def _own_us(self) -> int:
        return int(self._now() * MICROSECONDS)

    def _time(self, connection: Connection) -> int:
        own_us = self._own_us()
        now_us = jobs.clock_us(connection, own_us)
        self._ahead_us = now_us - own_us
        return now_us

    def _note(self, connection: Connection, begun: Job, made: ProviderObject) -> None:
        provider_objects.record(connection, (made,))
        ahead_us = self._time(connection) - self._own_us()
        jobs.record(
            connection,
            replace(begun, due_at_us=begun.due_at_us + ahead_us, ends_at_us=begun.ends_at_us + ahead_us),
        )


def _forget(connection: Connection, request_id: str, left: Sequence[ProviderObject]) -> bool:
    if left:
        provider_objects.record(connection, left)
    return jobs.forget(connection, request_id)
