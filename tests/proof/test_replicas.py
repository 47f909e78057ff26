"""Three processes on one PostgreSQL are one gateway: its limits are exact, its changes bind at once, one may die."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from gateway.core.limits import Interval, Metric
from gateway.ledger.lease import LEASE_SECONDS
from tests.cli.shell import ADMIN_KEY
from tests.events import JSON, completion, usage
from tests.gateway import bearer, chat_body
from tests.ledger import books
from tests.ledger.books import SECOND, Reader, limit
from tests.ledger.running import on_postgres, running, until
from tests.ledger.test_storm import settle as ledger_settle
from tests.ledger.test_storm import storm as ledger_storm
from tests.proof.clients import LONG, QUICK, SLOW, WORDS, Call, Script, entries, heard
from tests.proof.site import CALL_SECONDS, Replica, Site
from tests.provider import Provider, compose

CALLS = 600
REQUESTS = 100
FITTING = 37
AT_ONCE = 25
HELD_COST = 8 * 150 + 10 * 600
"""What a call of the storm holds and costs, in nano-USD: its prompt and a cap of 10 tokens of gpt-4o-mini."""
# As if all leases were over; those of the living are renewed at their next heartbeat.
AGED = text("UPDATE owner SET beat_at_us = 0 WHERE id IN (SELECT owner FROM hold)")

pytestmark = on_postgres


@pytest.fixture
def site(database_url: str, provider: Provider, tmp_path: Path) -> Site:
    return Site(tmp_path, database_url, provider)


@asynccontextmanager
async def three(site: Site) -> AsyncIterator[Sequence[Replica]]:
    """Run three replicas."""
    async with AsyncExitStack() as stack:
        yield await asyncio.gather(*(stack.enter_async_context(site.replica()) for _ in range(3)))


@pytest.fixture
async def replicas(site: Site) -> AsyncIterator[Sequence[Replica]]:
    async with three(site) as running_replicas:
        yield running_replicas


@pytest.fixture
async def reader(database_url: str) -> AsyncIterator[Reader]:
    async with books.reading(database_url) as open_reader:
        yield open_reader


async def storm(replicas: Sequence[Replica], key: str) -> Counter[int]:
    """Have all calls made at once, over the replicas in turn; return how often each status came."""
    statuses: Counter[int] = Counter()
    await asyncio.gather(*(ask(replicas[number % 3], key, statuses) for number in range(CALLS)))
    return statuses


async def ask(replica: Replica, key: str, statuses: Counter[int]) -> None:
    body = chat_body(max_tokens=10)
    answer = await replica.http.post("/v1/chat/completions", json=body, headers=bearer(key))
    statuses[answer.status_code] += 1


async def test_three_replicas_hold_one_budget_of_each_kind_exactly(
    site: Site, replicas: Sequence[Replica], reader: Reader
) -> None:
    site.provider.chat("Hello", input_tokens=8, output_tokens=10)
    by_requests = await site.key([(Metric.REQUESTS, Interval.DAY, REQUESTS)])
    by_cost = await site.key([(Metric.COST, Interval.MONTH, FITTING * HELD_COST + HELD_COST - 1)])

    assert await storm(replicas, by_requests) == {200: REQUESTS, 429: CALLS - REQUESTS}
    assert await storm(replicas, by_cost) == {200: FITTING, 429: CALLS - FITTING}

    assert len(site.provider.requests) == REQUESTS + FITTING
    await in_order(site, reader, REQUESTS + FITTING)


async def test_three_replicas_let_no_more_calls_run_at_once_than_one_would(
    site: Site, replicas: Sequence[Replica], reader: Reader
) -> None:
    """Nobody that was let in ends before all others were refused; after that as many fit again."""
    gate, statuses = asyncio.Event(), Counter[int]()
    answer = [gate, *compose(200, JSON, completion(usage=usage(8, 10)))]
    site.provider.always(lambda _request: answer)
    key = await site.key([(Metric.CONCURRENCY, None, AT_ONCE)])

    async with asyncio.TaskGroup() as tasks:
        for number in range(CALLS):
            tasks.create_task(ask(replicas[number % 3], key, statuses))
        await until(lambda: statuses[429] == CALLS - AT_ONCE, state=lambda: statuses)
        await until(lambda: len(site.provider.requests) == AT_ONCE, state=lambda: statuses)
        gate.set()

    assert statuses == {200: AT_ONCE, 429: CALLS - AT_ONCE}
    await held(reader, 0)
    await asyncio.gather(*(ask(replicas[number % 3], key, statuses) for number in range(AT_ONCE)))
    assert statuses[200] == AT_ONCE * 2
    await in_order(site, reader, AT_ONCE * 2)


async def held(reader: Reader, calls: int) -> None:
    """Wait until so many calls are open, as the limit has it too: a commit that takes long is spooled at first."""
    both = "SELECT (SELECT count(*) FROM hold), (SELECT coalesce(sum(held), 0) FROM counter)"
    async with asyncio.timeout(CALL_SECONDS):
        while await reader.rows(both) != [(calls, calls)]:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.05)


async def in_order(site: Site, reader: Reader, calls: int) -> None:
    """See that the ledger has so many calls, that nothing is held, and that all adds up."""
    await held(reader, 0)
    assert await reader.one("SELECT count(*) FROM usage") == calls
    assert await reader.one("SELECT sum(held) FROM counter") == 0
    assert await books.differences(reader) == []
    await site.audit()


class Administration:
    """Changes things by one replica after the other, and asks all of them."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self._replicas = replicas
        self._turns = cycle(replicas)

    async def change(self, path: str, **body: Any) -> dict[str, Any]:
        """Post to administration."""
        answer = await next(self._turns).http.post(f"/v1/organization{path}", json=body, headers=bearer(ADMIN_KEY))
        assert answer.status_code == 200, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def delete(self, path: str) -> None:
        answer = await next(self._turns).http.delete(f"/v1/organization{path}", headers=bearer(ADMIN_KEY))
        assert answer.status_code == 200, answer.text

    async def statuses(self, key: str) -> list[int]:
        """What the next call gets on each."""
        statuses: list[int] = []
        for replica in self._replicas:
            answer = await replica.http.post("/v1/chat/completions", json=chat_body(), headers=bearer(key))
            statuses.append(answer.status_code)
        return statuses


async def test_what_an_admin_changes_on_one_replica_binds_the_next_call_on_each(
    site: Site, replicas: Sequence[Replica]
) -> None:
    site.provider.chat("Hello")
    key, admin = await site.key(), Administration(replicas)
    path = "/projects/proj_1/api_keys"
    served, unknown, over = [200] * 3, [401] * 3, [429] * 3

    assert await admin.statuses(key) == served
    for thing in (f"{path}/key_1", "/users/user_1"):
        await admin.change(thing, disabled=True)
        assert await admin.statuses(key) == unknown, thing
        await admin.change(thing, disabled=False)
        assert await admin.statuses(key) == served, thing

    wide = {"scope": "api_key", "scope_id": "key_1", "metric": "requests", "interval": "day", "amount": 1_000}
    limit = (await admin.change("/limits", **wide))["id"]
    assert await admin.statuses(key) == served
    await admin.change(f"/limits/{limit}", amount=3)
    assert await admin.statuses(key) == over
    await admin.delete(f"/limits/{limit}")
    assert await admin.statuses(key) == served

    new = (await admin.change(path, name="new", user_id="user_1"))["value"]
    assert await admin.statuses(new) == served
    await admin.delete(f"{path}/key_1")
    assert (await admin.statuses(key), await admin.statuses(new)) == (unknown, served)
    await admin.change("/projects/proj_1/archive")
    assert await admin.statuses(new) == unknown


async def test_replica_that_is_killed_takes_nothing_down_and_its_holds_come_free(site: Site, reader: Reader) -> None:
    # The third replica's calls will never end.
    calls = [Call(f"call-{number}", SLOW if number % 3 == 2 else LONG, is_stream=True) for number in range(15)]
    later = [Call(f"later-{number}", QUICK, is_stream=True) for number in range(10)]
    site.name_calls(call.name for call in (*calls, *later))
    key, script = await site.key([(Metric.CONCURRENCY, None, 15)]), Script()
    site.provider.always(script)
    async with three(site) as replicas:
        living = replicas[:2]
        async with asyncio.TaskGroup() as tasks:
            for number, call in enumerate(calls):
                tasks.create_task(call.ask(replicas[number % 3].http, key))
            await until(lambda: all(call.words >= WORDS - 1 for call in calls), state=lambda: heard(calls, script))
            await replicas[2].kill()
            script.further.set()
        assert all(call.ended for call in calls if call.kind == LONG), heard(calls, script)
        assert not any(call.ended for call in calls if call.kind == SLOW)
        # What the dead one holds is held until its lease is over; the others go on with the rest.
        await held(reader, 5)
        await asyncio.gather(*(call.ask(living[number % 2].http, key) for number, call in enumerate(later)))
        assert all(call.ended for call in later), heard(later, script)
        await held(reader, 5)
        await site.change(lambda connection: connection.execute(AGED))
        async with running(site.url, site.folder / "other", owner="other") as desk:
            left = await desk.transactions.abandoned(int(LEASE_SECONDS * SECOND), 100)
            await asyncio.gather(*map(desk.ledger.settle, left))
        swept = {name for name, [row] in (await entries(reader)).items() if row.source == "swept"}
        assert swept == {call.name for call in calls if call.kind == SLOW}
        await in_order(site, reader, len(calls) + len(later))


async def test_clocks_an_hour_apart_change_nothing(database_url: str, tmp_path: Path) -> None:
    """Periods, admissions and leases go by the database's clock."""
    ahead = {"behind": -3_600, "right": 0, "ahead": 3_600}
    async with AsyncExitStack() as stack:
        desks = [
            await stack.enter_async_context(
                running(database_url, tmp_path / owner, owner=owner, clock_ahead_seconds=seconds)
            )
            for owner, seconds in ahead.items()
        ]
        await desks[0].add_limits(*(limit(Metric.REQUESTS, FITTING, interval) for interval in (Interval.HOUR, None)))
        for desk in desks:
            desk.limits, desk.revision = desks[0].limits, desks[0].revision

        granted = await ledger_storm(desks, CALLS)

        assert len(granted) == FITTING
        reader = desks[0].reader
        apart = "SELECT max(abs(extract(epoch FROM clock_timestamp()) - admitted_at_us / 1000000)) FROM hold"
        assert await reader.one(apart) < 60
        for desk in desks:
            await desk.transactions.beat({})
        for desk in desks:
            assert await desk.transactions.abandoned(int(LEASE_SECONDS * SECOND), 100) == []
        await ledger_settle(granted)
        assert await books.differences(reader) == []
