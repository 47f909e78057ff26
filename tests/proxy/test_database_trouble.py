"""The database in trouble, through the whole gateway: new calls are refused in time and in words, running ones end,
every call is charged once, and service comes back by itself."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import httpx
import pytest

from gateway.core.keys import make_key
from gateway.core.limits import Interval, Metric
from gateway.store import audit, provider_objects
from gateway.store.engine import Database
from gateway.store.provider_objects import ProviderObject
from tests.events import DONE, EVENT_STREAM, JSON, chunk, completion, usage_chunk
from tests.gateway import RunningGateway, bearer, running_gateway
from tests.ledger.chaos import Chaos, chaos
from tests.ledger.running import on_postgres, on_sqlite
from tests.patience import PATIENCE_SECONDS
from tests.provider import Provider, Request, Script, compose
from tests.troubles import (
    Troubling,
    exhausted,
    full,
    in_time,
    locked,
    read_only,
    restarted,
    silent,
    slow,
    unreachable,
)

LIMITS = [(Metric.REQUESTS, Interval.DAY, 9_999), (Metric.COST, Interval.DAY, 10**12), (Metric.CONCURRENCY, None, 50)]
ANSWER_SECONDS = 30.0
WAIT_SECONDS = 4.5
"""What a gateway waits unless it is told otherwise."""
BACK_SECONDS = PATIENCE_SECONDS
STREAMS = 4
CALLERS = 150
STRANGER = make_key("9999999999", "9" * 32).text
"""Well formed, and nobody's."""


ON_POSTGRES = (unreachable, silent, slow, restarted, read_only, exhausted, full)


@on_postgres
@pytest.mark.parametrize("troubling", ON_POSTGRES, ids=[one.__name__ for one in ON_POSTGRES])
async def test_postgres_in_trouble_refuses_in_time_loses_nothing_and_comes_back(
    database_url: str, provider: Provider, tmp_path: Path, troubling: Troubling
) -> None:
    await through_trouble(database_url, provider, tmp_path, troubling)


@on_sqlite
async def test_sqlite_locked_by_another_process_refuses_in_time_loses_nothing_and_comes_back(
    database_url: str, provider: Provider, tmp_path: Path
) -> None:
    await through_trouble(database_url, provider, tmp_path, locked)


async def through_trouble(url: str, provider: Provider, folder: Path, troubling: Troubling) -> None:
    gate = asyncio.Event()

    def play(request: Request) -> Script:
        if not request.json().get("stream"):
            return compose(200, JSON, completion())
        return compose(
            200, EVENT_STREAM, [chunk("one"), gate, chunk(" two"), usage_chunk(10, 7), DONE], framing="chunked"
        )

    provider.always(play)
    async with (
        troubling(url) as trouble,
        running_gateway(trouble.url, provider, folder, database_wait_seconds=WAIT_SECONDS) as gateway,
    ):
        warm, cold = await gateway.key(limits=LIMITS), await gateway.key(limits=LIMITS)
        admin = await gateway.admin_key()
        streams = [asyncio.create_task(gateway.chat(warm, stream=True)) for _ in range(STREAMS)]
        for _ in streams:
            await provider.request()
        await done(trouble.begin())

        refused = {503, 200} if trouble.is_slow_only else {503}
        stranger = {503, 401} if trouble.is_slow_only or trouble.can_read else {503}
        keys = (warm, cold, STRANGER) * 3
        for key, answer in zip(keys, await asyncio.gather(*(in_time(gateway.chat(key)) for key in keys)), strict=True):
            assert answer.status_code in (stranger if key == STRANGER else refused), answer.text
        assert (await gateway.http.get("/healthz")).status_code == 200
        assert (await change(gateway, admin)).status_code in refused

        gate.set()
        async with asyncio.timeout(ANSWER_SECONDS):
            for streamed in await asyncio.gather(*streams):
                assert streamed.status_code == 200 and streamed.content.endswith(DONE)

        await done(trouble.end())
        async with asyncio.timeout(BACK_SECONDS):
            await served(partial(gateway.chat, warm))
            await served(partial(gateway.chat, cold))
            await served(partial(change, gateway, admin))
            assert (await gateway.chat(STRANGER)).status_code == 401
            while (await gateway.http.get("/readyz")).status_code != 200:
                pass
        await gateway.audit()
        rows = await gateway.usage()
        assert sum(row.output_tokens == 7 for row in rows) == STREAMS
        assert {row.source for row in rows if row.requests} == {"reported"}
        assert sum(row.requests for row in rows) == len(provider.requests)
        assert len({row.request_id for row in rows}) == len(rows)
    database = Database(url)
    checks = await database.read(lambda connection: audit.checks(connection, int(time.time())))
    await database.close()
    assert [check.faults for check in checks if check.faults] == []
    assert list((folder / "spool").iterdir()) == []


async def served(ask: Callable[[], Awaitable[httpx.Response]]) -> None:
    """Ask until it is served; what is not served yet is refused in words."""
    while (answer := await ask()).status_code != 200:
        assert answer.status_code == 503, answer.text


async def done(begun: object) -> None:
    """Wait for what has to be waited for."""
    if asyncio.iscoroutine(begun):
        await begun


async def change(gateway: RunningGateway, admin: str) -> httpx.Response:
    """Change something as an admin does."""
    return await gateway.post(admin, "/v1/organization/projects", {"name": "Another"})


SLOWNESSES = (0.5, 2.0, None)
"""Seconds before the database hears each thing that is said to it; None: it never does."""
FOREIGN = "sk-proj-not-one-of-ours"


@on_postgres
async def test_waits_for_a_slow_database_end_together_within_five_seconds(
    database_url: str, provider: Provider, tmp_path: Path
) -> None:
    """Key, what the call names, hold, a key that changed meanwhile, hold again: each alone is in time."""
    provider.always(lambda _request: compose(200, JSON, completion()))
    async with AsyncExitStack() as stack:
        sites: list[tuple[Chaos, RunningGateway, float | None]] = []
        for slowness in SLOWNESSES * 2:
            relay = await stack.enter_async_context(chaos(database_url))
            folder = tmp_path / str(len(sites))
            opening = running_gateway(relay.url, provider, folder, database_wait_seconds=WAIT_SECONDS)
            sites.append((relay, await stack.enter_async_context(opening), slowness))
        first = sites[0][1]
        warm, cold = await first.key(limits=LIMITS), await first.key(limits=LIMITS)
        kept = ProviderObject("main", "resp_1", "proj_1", "key_1", "responses", 1)
        await first.change(lambda connection: provider_objects.record(connection, [kept]))

        for _, gateway, _ in sites[: len(SLOWNESSES)]:
            await served(partial(gateway.chat, warm))
        await first.key()  # what those know is out of date, the others know better
        for _, gateway, _ in sites[len(SLOWNESSES) :]:
            await served(partial(gateway.chat, warm))
        for relay, _, slowness in sites:
            if slowness is None:
                relay.blackhole()
            else:
                relay.slow(slowness)
        asked: dict[tuple[float | None, str], Awaitable[httpx.Response]] = {}
        for number, (_, gateway, slowness) in enumerate(sites):
            for name, key in (("warm", warm), ("cold", cold), ("stranger", STRANGER), ("foreign", FOREIGN)):
                asked[slowness, f"{name} {number}"] = in_time(gateway.chat(key))
            asked[slowness, f"named {number}"] = in_time(gateway.http.get("/v1/responses/resp_1", headers=bearer(warm)))
        answers = dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))
        for relay, _, _ in sites:
            relay.slow(0.0)
            relay.mend()
        never = {answer.status_code for (slowness, _), answer in answers.items() if slowness is None}
        assert never == {503}, answers
        assert {answer.status_code for answer in answers.values()} <= {200, 401, 404, 503}, answers


@on_postgres
async def test_answer_to_a_settlements_commit_that_is_lost_charges_the_call_once(
    database_url: str, provider: Provider, tmp_path: Path
) -> None:
    gate = asyncio.Event()
    provider.answer(200, EVENT_STREAM, [chunk("one"), gate, usage_chunk(10, 7), DONE], framing="chunked")
    async with chaos(database_url) as relay, running_gateway(relay.url, provider, tmp_path) as gateway:
        key = await gateway.key(limits=LIMITS)
        stream = asyncio.create_task(gateway.chat(key, stream=True))
        await provider.request()
        relay.cut_at(b'"entry":"final"', delayed=False)  # The one statement that charges the call, and commits.
        gate.set()
        async with asyncio.timeout(ANSWER_SECONDS):
            assert (await stream).content.endswith(DONE)
        await relay.was_cut.wait()
        provider.answer(200, JSON, completion())
        async with asyncio.timeout(BACK_SECONDS):
            await served(partial(gateway.chat, key))
        await gateway.audit()
        assert [row.output_tokens for row in await gateway.usage(2)] == [7, 5]


@on_postgres
async def test_start_under_load_reads_the_keys_of_all_callers_together(
    database_url: str, provider: Provider, tmp_path: Path
) -> None:
    """One after the other, on a few connections, they would take longer than anybody waits."""
    provider.always(lambda _request: compose(200, JSON, completion()))
    async with chaos(database_url) as relay, running_gateway(relay.url, provider, tmp_path) as gateway:
        keys = [await gateway.key(limits=LIMITS[:1]) for _ in range(CALLERS)]
        relay.slow(0.05)
        answers = await asyncio.gather(*(gateway.chat(key) for key in keys))
        assert {answer.status_code for answer in answers} == {200}
        owners = Counter(row.api_key_id for row in await gateway.usage(CALLERS))
        assert set(owners.values()) == {1} and len(owners) == CALLERS
