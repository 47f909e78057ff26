"""Processes come and go, their clients do not notice: rolling restarts under load, signals at bad moments."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

import httpx
import pytest

from gateway.core.limits import Interval, Metric
from tests.ledger import books
from tests.ledger.running import on_postgres, until
from tests.proof.balancer import Balancer, balancing
from tests.proof.clients import LONG, QUICK, SLOW, WORDS, Call, Script, entries, heard
from tests.proof.site import CALL_SECONDS, START_SECONDS, Replica, Site
from tests.provider import Provider

LIMITS = [
    (Metric.REQUESTS, Interval.DAY, 1_000_000),
    (Metric.COST, Interval.DAY, 10**13),
    (Metric.CONCURRENCY, None, 99),
]
RESTARTS = 2
"""Of each replica."""
CALLERS = 6
PAUSE_SECONDS = 0.005
STREAMS = 8
DELAY = {"GATEWAY_DRAIN_DELAY_SECONDS": "5"}
"""Far longer than a balancer on a busy machine takes to hear of it."""
MOMENTS = (0.05, 0.3, 0.6, 0.9, 1.2)
"""Seconds after the start of a process: its imports, its settings, its migration, its first breath."""


@pytest.fixture
def site(database_url: str, provider: Provider, tmp_path: Path) -> Site:
    return Site(tmp_path, database_url, provider)


class Fleet:
    """Two replicas behind a balancer, each replaced when told to."""

    def __init__(self, site: Site, balancer: Balancer) -> None:
        self._site = site
        self._balancer = balancer
        self._stacks: list[AsyncExitStack] = []
        self.replicas: list[Replica] = []

    async def start(self) -> None:
        stack = AsyncExitStack()
        replica = await stack.enter_async_context(self._site.replica(**DELAY))
        self._stacks.append(stack)
        self.replicas.append(replica)
        self._balancer.urls = [one.url for one in self.replicas]
        await until(lambda: replica.url in self._balancer.ready, START_SECONDS)

    async def stop_oldest(self, while_it_drains: asyncio.Event) -> None:
        """Ask the oldest to end; once it takes no connections any more, let go of what it still serves."""
        replica, stack = self.replicas.pop(0), self._stacks.pop(0)
        replica.process.terminate()
        await until(lambda: replica.url not in self._balancer.ready)
        self._balancer.urls = [one.url for one in self.replicas]
        while await _takes_connections(replica.url):
            pass
        while_it_drains.set()
        assert await asyncio.wait_for(replica.process.wait(), START_SECONDS) == 0
        await stack.aclose()

    async def close(self) -> None:
        for stack in self._stacks:
            await stack.aclose()


async def _takes_connections(url: str) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    except OSError:
        return False
    writer.close()
    return True


def _all_speak(calls: Sequence[Call]) -> bool:
    return all(call.words for call in calls)


@asynccontextmanager
async def fleet(site: Site) -> AsyncIterator[tuple[Fleet, Balancer]]:
    async with balancing() as balancer:
        two = Fleet(site, balancer)
        try:
            await two.start()
            await two.start()
            yield two, balancer
        finally:
            await two.close()


@on_postgres
async def test_rolling_restarts_under_load_fail_no_call_and_cut_no_stream(site: Site) -> None:
    script = Script()
    site.provider.always(script)
    key = await site.key(LIMITS)
    calls: list[Call] = []
    names = count()
    site.name_calls(["any"])
    stopping = asyncio.Event()

    async def caller(url: str) -> None:
        """One after the other, plain and streamed, on one connection as long as it is kept."""
        async with httpx.AsyncClient(base_url=url, timeout=CALL_SECONDS) as client:
            while not stopping.is_set():
                calls.append(Call("any", QUICK, is_stream=next(names) % 2 == 0))
                await calls[-1].ask(client, key)
                await asyncio.sleep(PAUSE_SECONDS)  # the replicas have to come and go on the same processors

    async with fleet(site) as (two, balancer):
        callers = [asyncio.create_task(caller(balancer.url)) for _ in range(CALLERS)]
        async with httpx.AsyncClient(base_url=balancer.url, timeout=CALL_SECONDS) as client:
            for _ in range(2 * RESTARTS):
                script.further = asyncio.Event()
                long = [Call("any", LONG, is_stream=True) for _ in range(STREAMS)]
                streams = [asyncio.create_task(call.ask(client, key)) for call in long]
                await until(partial(_all_speak, long), state=partial(heard, long, script))
                await two.stop_oldest(script.further)
                await asyncio.gather(*streams)
                calls += long
                await two.start()
        stopping.set()
        await asyncio.gather(*callers)

    assert heard([call for call in calls if not call.ended], script) == []
    assert {call.words for call in calls if call.is_stream} == {WORDS}
    assert script.seen.total() == len(calls) > 2 * RESTARTS * STREAMS
    async with books.reading(site.url) as reader:
        rows = [entry for some in (await entries(reader)).values() for entry in some]
        assert len(rows) == len(calls)
        assert {(row.entry, row.source, row.outcome, row.output_tokens) for row in rows} == {
            ("final", "reported", "completed", WORDS)
        }
        assert await reader.one("SELECT count(*) FROM hold") == 0
    await site.audit()


async def test_second_sigterm_ends_streams_with_an_error_and_charges_them(site: Site) -> None:
    site.provider.always(Script())
    site.name_calls(["slow"])
    key = await site.key(LIMITS)
    async with site.replica(GATEWAY_DRAIN_DELAY_SECONDS="60") as replica:
        call = Call("slow", SLOW, is_stream=True)
        asking = asyncio.create_task(call.ask(replica.http, key))
        await until(lambda: call.words == WORDS)
        replica.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(CALL_SECONDS):
            while (await replica.http.get("/readyz")).status_code != 503:
                pass
        replica.process.send_signal(signal.SIGTERM)
        await asking
        assert await asyncio.wait_for(replica.process.wait(), START_SECONDS) == 0
        assert (call.status, call.ended) == (200, False)
    async with books.reading(site.url) as reader:
        assert [(row.source, row.outcome, row.output_tokens) for row in (await entries(reader))["slow"]] == [
            ("counted", "gateway_failed", WORDS)
        ]
        assert await reader.one("SELECT count(*) FROM hold") == 0
    await site.audit()


async def test_sigterm_during_start_ends_the_process_and_leaves_the_next_start_nothing_to_mend(
    blank_url: str, provider: Provider, tmp_path: Path
) -> None:
    """On a database without tables, so that the signal also meets the migration."""
    site = Site(tmp_path, blank_url, provider)
    site.name_calls(())
    for moment in MOMENTS:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "serve",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            cwd=site.folder, env=site.shell.environment({}),
        )  # fmt: skip
        try:
            await asyncio.wait({asyncio.create_task(process.wait())}, timeout=moment)
            process.send_signal(signal.SIGTERM)
            # Before Python has got as far as our handlers it ends by the signal itself.
            assert await asyncio.wait_for(process.wait(), START_SECONDS) in (0, -signal.SIGTERM)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    async with site.replica() as replica:
        assert (await replica.http.get("/readyz")).status_code == 200
        await replica.stop()
    async with books.reading(site.url) as reader:
        assert await reader.one("SELECT count(*) FROM owner") == 0
    await site.audit()
