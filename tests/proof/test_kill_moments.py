"""kill -9 at chosen moments, on a real process: each call that the provider saw is charged once, whenever that was."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
import pytest
from openai import AsyncOpenAI
from sqlalchemy import update

from gateway.core.limits import Interval, Metric
from gateway.store.engine import is_sqlite, postgres_dsn
from gateway.store.jobs import job
from tests.batching import Works, begun, line, result
from tests.events import JSON, completion, response
from tests.gateway import MODEL, bearer, chat_body
from tests.ledger import books
from tests.ledger.books import Reader
from tests.ledger.running import running, until
from tests.ledger.test_recovery import sweep
from tests.proof.clients import LONG, WORDS, Call, Entry, Script, entries, heard
from tests.proof.site import CALL_SECONDS, Replica, Site
from tests.provider import Cut, Provider, Request, Step, compose

LIMITS = [
    (Metric.REQUESTS, Interval.DAY, 1_000),
    (Metric.COST, Interval.MONTH, 10**12),
    (Metric.CONCURRENCY, None, 100),
]


@pytest.fixture
def site(database_url: str, provider: Provider, tmp_path: Path) -> Site:
    return Site(tmp_path, database_url, provider)


@pytest.fixture
async def reader(database_url: str) -> AsyncIterator[Reader]:
    async with books.reading(database_url) as open_reader:
        yield open_reader


async def test_gateway_killed_with_the_answer_unread_is_charged_the_prompt(site: Site, reader: Reader) -> None:
    said = asyncio.Event()
    site.provider.answer(200, JSON, [said, completion()])
    await die_before_reading(site, "/v1/chat/completions", chat_body(), said)
    assert [row for (row,) in (await entries(reader)).values()] == [Entry("final", "swept", "gateway_failed", 8, 0)]
    await nothing_is_left(site, reader)


async def test_gateway_killed_before_it_noted_a_background_response_is_charged_the_prompt(
    site: Site, reader: Reader
) -> None:
    said = asyncio.Event()
    queued = json.dumps(response(status="queued", background=True)).encode()
    site.provider.answer(200, JSON, [said, queued])
    await die_before_reading(site, "/v1/responses", {"model": MODEL, "input": "Hi", "background": True}, said)
    [[row]] = (await entries(reader)).values()
    assert (row.entry, row.source, row.output_tokens) == ("final", "swept", 0) and row.input_tokens > 0
    await nothing_is_left(site, reader)


async def die_before_reading(site: Site, path: str, body: dict[str, object], said: asyncio.Event) -> None:
    """Stop the process, have the provider answer it, and kill it: the answer lies in its socket. Sweep after that."""
    key = await site.key(LIMITS)
    async with site.replica() as replica:
        asking = asyncio.create_task(replica.http.post(path, json=body, headers=bearer(key)))
        await site.provider.request()
        replica.process.send_signal(signal.SIGSTOP)
        said.set()
        await replica.kill()
        with pytest.raises(httpx.TransportError):
            await asking
    async with running(site.url, site.folder / "next") as desk:
        await sweep(desk)


async def test_gateway_killed_with_a_filled_spool_has_it_replayed_by_the_next(site: Site, reader: Reader) -> None:
    calls = [Call(f"call-{way}-{number}", LONG, way == "stream") for way in ("stream", "plain") for number in range(10)]
    site.name_calls(call.name for call in calls)
    key, script = await site.key(LIMITS), Script()
    site.provider.always(script)
    async with site.replica() as replica, asyncio.TaskGroup() as tasks:
        for call in calls:
            tasks.create_task(call.ask(replica.http, key))
        await until(lambda: len(script.seen) == len(calls), state=lambda: heard(calls, script))
        async with locked(site.url):
            script.further.set()
            await until(lambda: all(call.ended for call in calls), state=lambda: heard(calls, script))
            await replica.kill()
    assert await entries(reader) == {}
    async with site.replica() as replica:
        await nothing_is_held(reader)  # what the start replays may be in its own spool for a moment
        found = await entries(reader)
        assert found == {call.name: [Entry("final", "reported", "completed", 12, WORDS)] for call in calls}
        await nothing_is_left(site, reader)
        await replica.stop()


@asynccontextmanager
async def locked(url: str) -> AsyncIterator[None]:
    """Let nobody write the ledger meanwhile."""
    if is_sqlite(url):
        foreign = books.foreign(url)
        await books.lock(foreign)
        yield
        foreign.close()
        return
    connection = await asyncpg.connect(postgres_dsn(url))
    async with connection.transaction():
        await connection.execute("LOCK TABLE hold IN SHARE MODE")
        yield
    await connection.close()


@dataclass
class Background:
    """A provider's background response that runs until `state` says otherwise; its looks hang while `is_mute`."""

    state: str = "in_progress"
    is_mute: bool = False
    looks: int = 0

    def __call__(self, request: Request) -> Sequence[Step]:
        if request.method == "POST":
            return compose(200, JSON, json.dumps(response(status="queued", background=True)).encode())
        self.looks += 1
        if self.is_mute:
            return [Cut.HANG]
        return compose(200, JSON, json.dumps(response(status=self.state)).encode())


@pytest.mark.parametrize("is_mute", [False, True], ids=["between-looks", "amid-a-look"])
async def test_gateway_killed_over_a_background_response_has_it_followed_by_the_next(
    site: Site, reader: Reader, is_mute: bool
) -> None:
    key, work = await site.key(LIMITS), Background(is_mute=is_mute)
    site.provider.always(work)
    async with site.replica() as replica, openai(replica, key) as client:
        made = await client.responses.create(model=MODEL, input="Hi", background=True)
        assert made.status == "queued"
        await until(lambda: work.looks, CALL_SECONDS)
        await replica.kill()
    work.state, work.is_mute = "completed", False
    await followed(site, reader, [Entry("final", "reported", "completed", 12, 7)])


async def test_gateway_killed_over_a_batch_has_it_followed_by_the_next(site: Site, reader: Reader) -> None:
    key, works = await site.key(LIMITS), Works()
    site.provider.always(works)
    async with site.replica() as replica, openai(replica, key) as client:
        await begun(client, [line(0), line(1)])
        await replica.kill()
    works.end([result(0, 10, 5), result(1, 20, 7)])
    await followed(site, reader, [Entry("final", "reported", "completed", 30, 12)])


def openai(replica: Replica, key: str) -> AsyncOpenAI:
    return AsyncOpenAI(api_key=key, base_url=f"{replica.url}/v1", max_retries=0, timeout=CALL_SECONDS)


async def followed(site: Site, reader: Reader, expected: list[Entry]) -> None:
    """See that the next process charges the dead one's job, once the dead one's claim on it has run out."""
    assert await reader.one("SELECT count(*) FROM job") == 1
    async with running(site.url, site.folder / "other") as desk:
        assert await sweep(desk) == 0
        assert await desk.holds() == 1
    await site.change(lambda connection: connection.execute(update(job).values(due_at_us=0)))
    async with site.replica() as replica:
        async with asyncio.timeout(CALL_SECONDS):
            # A commit that takes long is in the spool first, and the job is forgotten then.
            while await reader.one("SELECT (SELECT count(*) FROM job) + (SELECT count(*) FROM hold)"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        jobs = [row for rows in (await entries(reader)).values() for row in rows if row.output_tokens]
        assert jobs == expected
        await nothing_is_left(site, reader)
        await replica.stop()


async def nothing_is_held(reader: Reader) -> None:
    """Wait until no call is open."""
    async with asyncio.timeout(CALL_SECONDS):
        while await reader.one("SELECT count(*) FROM hold"):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.02)


async def nothing_is_left(site: Site, reader: Reader) -> None:
    assert await reader.one("SELECT count(*) FROM hold") == 0
    assert await reader.one("SELECT sum(held) FROM counter") == 0
    assert await books.differences(reader) == []
    await site.audit()
