"""Jobs are followed to their end: the gateway itself asks the provider how far they are, until they can be charged.

Any process may ask about any job (`store/job_book.py` says how they share them), so a job outlives the process that
began it. A job that takes longer than it may is cancelled, and charged by what is known then.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from gateway.core.call import NOTHING, Reading
from gateway.core.errors import ServiceUnavailable, UpstreamFailed
from gateway.core.upstreams import Upstream
from gateway.dialects import batches, files, stored_responses, vector_stores
from gateway.dialects.objects import ObjectCall
from gateway.proxy.conclude import conclude
from gateway.proxy.till import ANSWERED, Till
from gateway.store.jobs import Job
from gateway.store.provider_objects import ProviderObject
from gateway.upstream.fetch import fetch

PAUSE_GROWTH = 1.5
IDLE_SECONDS = 30.0
"""How often to see whether another process left a job behind."""
RETRY_SECONDS = 2.0
LOOKS_BEFORE_GONE = 3
"""A provider that has just named a job may not find it at once."""
LOOK_SECONDS = 50.0
"""The longest that a provider may take to say how far a job is: less than a claim on it lasts, even twice."""
SHOWN: Mapping[str, ObjectCall] = {
    "batches": batches.RETRIEVE,
    "files": files.RETRIEVE,
    "vector_stores": vector_stores.RETRIEVE,
}
"""How to look at what a list shows, by its kind."""
NOBODY_KNOWS = Reading(is_over=False)
GONE = Reading(is_over=True)
"""Nothing is known of it there: it is charged by our own count."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ways:
    """How one kind of job is asked about and ended, and how long to wait between two looks."""

    look: ObjectCall
    cancel: ObjectCall
    first_pause_seconds: float
    most_pause_seconds: float


WAYS: Mapping[str, Ways] = {
    "responses": Ways(stored_responses.RETRIEVE, stored_responses.CANCEL, 0.75, 30.0),
    "batches": Ways(batches.RETRIEVE, batches.CANCEL, 5.0, 120.0),
}


class Follower:
    """Made once by app.py; `run` is its task."""

    def __init__(self, till: Till) -> None:
        self._till = till

    async def run(self) -> None:
        """Look at jobs when they are due, until cancelled."""
        jobs = self._till.jobs
        try:
            while True:
                await jobs.wait(await self._turn())
        finally:
            with suppress(ServiceUnavailable):
                await jobs.save()

    async def _turn(self) -> float:
        """Look at what is due; return for how many seconds there is nothing to do."""
        try:
            await self.round()
            count, due = await self._till.jobs.outlook()
        except ServiceUnavailable:
            return RETRY_SECONDS
        except Exception:  # Whatever it was: jobs that nobody follows hold their limits for ever.
            log.exception("jobs could not be followed")
            return IDLE_SECONDS
        self._till.metrics.jobs_are_open(count)
        return IDLE_SECONDS if due is None else min(due, IDLE_SECONDS)

    async def round(self) -> None:
        """Look at every job that is due; who fails is left for later. Raises ServiceUnavailable."""
        await self._till.jobs.save()
        while claimed := await self._till.jobs.claim():
            results = await asyncio.gather(*map(self._look, claimed), return_exceptions=True)
            for job, result in zip(claimed, results, strict=True):
                if isinstance(result, Exception):
                    log.error("job %s could not be looked at", job.external_id, exc_info=result)

    async def finish(self, upstream: Upstream, external_id: str) -> None:
        """See that a job is charged before its owner deletes what it made; one that still runs is cancelled.

        Raises UpstreamFailed, ServiceUnavailable: then nothing may be deleted.
        """
        job = await self._till.jobs.find(upstream.name, external_id)
        if job is None:
            return
        ways = WAYS[job.kind]
        told = await self._ask(upstream, ways.look, external_id)
        if told.is_over is False:
            told = await self._ask(upstream, ways.cancel, external_id)
        if told.is_over is False:
            raise _unanswered(upstream)
        await conclude(self._till, job, told)

    async def _look(self, job: Job) -> None:
        upstream = self._till.catalog().upstream(job.upstream)
        told = await self._told(upstream, job) if upstream is not None else NOBODY_KNOWS
        if told.is_over and await self._concluded(job, told):
            return
        if self._till.jobs.is_over_time(job):
            await self._end(upstream, job)
        else:
            ways = WAYS[job.kind]
            pause = ways.first_pause_seconds * PAUSE_GROWTH ** min(job.looks, 16)
            await self._till.jobs.postpone(job.request_id, min(pause, ways.most_pause_seconds))

    async def _concluded(self, job: Job, told: Reading) -> bool:
        """Charge a job that is over; return False when its results cannot be read now."""
        try:
            await conclude(self._till, job, told)
        except UpstreamFailed as failure:
            log.warning("job %s: its results cannot be read: %s", job.external_id, failure.message)
            return False
        return True

    async def _told(self, upstream: Upstream, job: Job) -> Reading:
        try:
            told = await self._ask(upstream, WAYS[job.kind].look, job.external_id)
        except UpstreamFailed as failure:
            log.warning("job %s: %s by upstream %s", job.external_id, failure.code, upstream.name)
            return NOBODY_KNOWS
        return NOBODY_KNOWS if told is GONE and job.looks < LOOKS_BEFORE_GONE else told

    async def _end(self, upstream: Upstream | None, job: Job) -> None:
        """Cancel a job that takes too long. Whatever comes of it, it is charged now."""
        told: Reading | None = None
        if upstream is not None:
            with suppress(UpstreamFailed):
                told = await self._ask(upstream, WAYS[job.kind].cancel, job.external_id)
        log.warning("job %s of call %s took too long and was ended", job.external_id, job.request_id)
        # A batch that is being cancelled has no results yet; it has had a day to spare for them.
        await conclude(self._till, job, None if told is None or (job.kind == "batches" and not told.is_over) else told)

    async def look(self, made: ProviderObject) -> bytes | None:
        """Return how the provider shows a thing now, None if it has it no more. Raises UpstreamFailed."""
        upstream = self._till.catalog().upstream(made.upstream)
        if upstream is None:
            return None
        operation = SHOWN[made.kind]
        status, body = await self._exchange(upstream, operation, made.external_id)
        if status not in (*ANSWERED, 404) or not _is_object(body):
            raise _unanswered(upstream)
        told = operation.read_answer(body)
        if told.is_over and (job := await self._till.jobs.find(upstream.name, made.external_id)) is not None:
            await conclude(self._till, job, told)
        return None if status == 404 else body

    async def _ask(self, upstream: Upstream, operation: ObjectCall, external_id: str) -> Reading:
        """Return what the provider says of a job: GONE if it has none of this id.

        Raises UpstreamFailed when it says nothing that can be understood.
        """
        status, body = await self._exchange(upstream, operation, external_id)
        if status == 404:
            return GONE
        told = operation.read_answer(body) if status in ANSWERED else NOTHING
        if told.is_over is None:
            raise _unanswered(upstream)
        return told

    async def _exchange(self, upstream: Upstream, operation: ObjectCall, external_id: str) -> tuple[int, bytes]:
        """Return status and body of a whole answer. Raises UpstreamFailed."""
        path = operation.path(operation.about(external_id))
        return await fetch(self._till.pool, upstream, operation.method, path, LOOK_SECONDS)


def _is_object(body: bytes) -> bool:
    """Tell whether a list can repeat it."""
    try:
        msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True


def _unanswered(upstream: Upstream) -> UpstreamFailed:
    message = f"Upstream {upstream.name} does not say how far this is; try again shortly."
    return UpstreamFailed(message, code="upstream_broken", sent=True)
