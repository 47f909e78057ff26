"""The database in trouble, through the whole gateway: new calls are refused in time and in words, running ones end,
every call is charged once, and service comes back by itself."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import asyncpg
import httpx
import pytest
from sqlalchemy import make_url

from gateway.core.keys import make_key
from gateway.core.limits import Interval, Metric
from gateway.store import audit, provider_objects
from gateway.store.engine import Database, postgres_dsn
from gateway.store.migrate import upgrade
from gateway.store.provider_objects import ProviderObject
from tests import cluster
from tests.events import DONE, EVENT_STREAM, JSON, chunk, completion, usage_chunk
from tests.gateway import RunningGateway, bearer, running_gateway
from tests.ledger import books
from tests.ledger.chaos import Chaos, chaos
from tests.ledger.running import on_postgres, on_sqlite, until
from tests.patience import PATIENCE_SECONDS, QUARTER_SECONDS, in_quarters
from tests.provider import Provider, Request, Script, compose

LIMITS = [(Metric.REQUESTS, Interval.DAY, 9_999), (Metric.COST, Interval.DAY, 10**12), (Metric.CONCURRENCY, None, 50)]
ANSWER_SECONDS = 30.0
MOST_SECONDS = 5.0
WAIT_SECONDS = 4.5
"""What a gateway waits unless it is told otherwise."""
BACK_SECONDS = PATIENCE_SECONDS
STREAMS = 4
CALLERS = 150
IN_FLIGHT = 12
RECOVERY_SECONDS = 20.0
STRANGER = make_key("9999999999", "9" * 32).text
"""Well formed, and nobody's."""


@dataclass
class Trouble:
    """One way in which a database fails. `url` is where the gateway finds it."""

    url: str
    begin: Callable[[], object]
    end: Callable[[], object]
    is_slow_only: bool = False
    can_read: bool = False


Troubling = Callable[[str], AbstractAsyncContextManager[Trouble]]


async def execute(url: str, *statements: str) -> None:
    """Run statements on a connection of its own."""
    connection = await asyncpg.connect(postgres_dsn(url))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


CAST_OUT = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""


@asynccontextmanager
async def unreachable(url: str) -> AsyncIterator[Trouble]:
    async with chaos(url) as relay:
        yield Trouble(relay.url, relay.cut, relay.mend)


@asynccontextmanager
async def silent(url: str) -> AsyncIterator[Trouble]:
    async with chaos(url) as relay:
        yield Trouble(relay.url, relay.blackhole, relay.mend)


@asynccontextmanager
async def slow(url: str) -> AsyncIterator[Trouble]:
    async with chaos(url) as relay:
        yield Trouble(relay.url, lambda: relay.slow(0.5), lambda: relay.slow(0.0), is_slow_only=True)


@asynccontextmanager
async def restarted(url: str) -> AsyncIterator[Trouble]:
    """As `pg_ctl restart -m immediate` looks from outside: all sessions end at once, none is made for a while."""
    async with chaos(url) as relay:

        async def begin() -> None:
            relay.refuse()
            await execute(url, CAST_OUT)

        yield Trouble(relay.url, begin, relay.mend)


@asynccontextmanager
async def read_only(url: str) -> AsyncIterator[Trouble]:
    """As a primary that was demoted: who is connected stays connected, and can only read."""
    name = make_url(url).database

    async def begin() -> None:
        await execute(url, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on', CAST_OUT)

    async def end() -> None:
        off = "SET default_transaction_read_only = off"
        await execute(url, off, f'ALTER DATABASE "{name}" RESET default_transaction_read_only')

    try:
        yield Trouble(url, begin, end, can_read=True)
    finally:
        await end()


@asynccontextmanager
async def exhausted(url: str) -> AsyncIterator[Trouble]:
    """As a server whose connections are all taken."""
    role = f"gateway_test_{os.getpid()}"
    await execute(url, f'CREATE ROLE "{role}" LOGIN', f'GRANT postgres TO "{role}"')
    own = make_url(url).set(username=role).render_as_string(hide_password=False)
    try:

        async def begin() -> None:
            await execute(url, f'ALTER ROLE "{role}" CONNECTION LIMIT 0', CAST_OUT)

        yield Trouble(own, begin, lambda: execute(url, f'ALTER ROLE "{role}" CONNECTION LIMIT -1'))
    finally:
        await execute(url, CAST_OUT, f'REASSIGN OWNED BY "{role}" TO postgres', f'DROP ROLE "{role}"')


EVERY_TABLE = """
    DO $$ DECLARE it regclass; BEGIN
        FOR it IN SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
            WHERE nspname = 'public' AND relkind IN ('r', 'p') AND NOT relispartition LOOP
            EXECUTE format('CREATE TRIGGER no_room BEFORE INSERT OR UPDATE ON %s EXECUTE FUNCTION no_room()', it);
        END LOOP;
    END $$"""
NO_ROOM = """
    CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
    END $$"""


@asynccontextmanager
async def full(url: str) -> AsyncIterator[Trouble]:
    """As a server whose disk is full: what is there can be read, and whatever is written ends with error 53100."""

    async def end() -> None:
        await execute(url, "DROP FUNCTION IF EXISTS no_room CASCADE")

    try:
        yield Trouble(url, lambda: execute(url, f"{NO_ROOM}; {EVERY_TABLE}"), end, can_read=True)
    finally:
        await end()


@asynccontextmanager
async def locked(url: str) -> AsyncIterator[Trouble]:
    """As another process that writes to the file for long."""
    foreign = books.foreign(url)
    try:
        yield Trouble(url, lambda: books.lock(foreign), lambda: foreign.execute("ROLLBACK"), can_read=True)
    finally:
        foreign.close()


ON_POSTGRES = (unreachable, silent, slow, restarted, read_only, exhausted, full)


@on_postgres
@pytest.mark.parametrize("troubling", ON_POSTGRES, ids=[one.__name__ for one in ON_POSTGRES])
async def test_postgres_in_trouble_refuses_in_time_loses_nothing_and_comes_back(
    database_url: str, provider: Provider, tmp_path: Path, troubling: Troubling
) -> None:
    await through_trouble(database_url, provider, tmp_path, troubling)


@pytest.mark.parametrize("user", cluster.installed())
async def test_postgres_stopped_at_once_amid_calls_and_started_again_loses_nothing(
    user: str, provider: Provider, tmp_path: Path
) -> None:
    """A real `pg_ctl stop -m immediate`: commits are cut where they are, and the log is replayed at the start."""
    gate, over = asyncio.Event(), asyncio.Event()
    served: Counter[int] = Counter()

    def play(request: Request) -> Script:
        if not request.json().get("stream"):
            return compose(200, JSON, completion())
        return compose(
            200, EVENT_STREAM, [chunk("one"), gate, chunk(" two"), usage_chunk(10, 7), DONE], framing="chunked"
        )

    provider.always(play)
    async with cluster.cluster(user) as own:
        await upgrade(own.url)
        async with running_gateway(own.url, provider, tmp_path, database_wait_seconds=WAIT_SECONDS) as gateway:
            key = await gateway.key(limits=LIMITS)
            streams = [asyncio.create_task(gateway.chat(key, stream=True)) for _ in range(STREAMS)]
            for _ in streams:
                await provider.request()

            async def call() -> None:
                while not over.is_set():
                    answer = await in_time(gateway.chat(key))
                    assert answer.status_code in (200, 503), answer.text
                    served[answer.status_code] += 1

            callers = [asyncio.create_task(call()) for _ in range(IN_FLIGHT)]
            await until(lambda: served[200] > IN_FLIGHT)
            await own.stop()
            await until(lambda: served[503] > IN_FLIGHT)
            gate.set()
            async with asyncio.timeout(PATIENCE_SECONDS):
                for streamed in await asyncio.gather(*streams):
                    assert streamed.status_code == 200 and streamed.content.endswith(DONE)
            await own.start()
            before = served[200]
            _, quarters = await in_quarters(until(lambda: served[200] > before + IN_FLIGHT))
            assert quarters * QUARTER_SECONDS < RECOVERY_SECONDS
            over.set()
            await asyncio.gather(*callers)
            await gateway.audit()
            rows = await gateway.usage()
            assert sum(row.output_tokens == 7 for row in rows) == STREAMS
            assert {row.source for row in rows if row.requests} == {"reported"}
            assert sum(row.requests for row in rows) == len(provider.requests) == STREAMS + served[200]
            assert len({row.request_id for row in rows}) == len(rows)
        database = Database(own.url)
        checks = await database.read(lambda connection: audit.checks(connection, int(time.time())))
        await database.close()
        assert [check.faults for check in checks if check.faults] == []
    assert list((tmp_path / "spool").iterdir()) == []


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


async def in_time(asking: Awaitable[httpx.Response]) -> httpx.Response:
    """Return the answer, and fail if it takes longer than anybody should wait for it."""
    answer, quarters = await in_quarters(asking)
    assert quarters * QUARTER_SECONDS < MOST_SECONDS, answer.text
    if answer.status_code == 503:
        assert answer.json()["error"]["code"] == "service_unavailable" and answer.headers["retry-after"]
    return answer


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

        async def warmed(gateway: RunningGateway) -> None:
            assert (await gateway.chat(warm)).status_code == 200

        for _, gateway, _ in sites[: len(SLOWNESSES)]:
            await warmed(gateway)
        await first.key()  # what those know is out of date, the others know better
        for _, gateway, _ in sites[len(SLOWNESSES) :]:
            await warmed(gateway)
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
