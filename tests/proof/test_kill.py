"""kill -9 in the middle of everything, three times: what the provider saw is on the ledger, once, and nothing is held.

Everything is real: `gateway serve` in a process, sockets, the database. A call is known by its name, which is an alias
of the model, so that a call whose client never heard a word is found on the ledger all the same.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from gateway.core.limits import Interval, Metric
from gateway.ledger.lease import LEASE_SECONDS
from gateway.store.engine import is_sqlite
from tests.ledger import books
from tests.ledger.books import Reader
from tests.ledger.running import until
from tests.patience import PATIENCE_SECONDS
from tests.proof.clients import LATE_WORDS, QUICK, SILENT, SLOW, WORDS, Call, Entry, Script, entries, heard
from tests.proof.site import Replica, Site
from tests.provider import Provider

OF_EACH = 20
"""Streams and plain calls of each kind: 60 and 60 a round."""
LIMITS = [
    (Metric.REQUESTS, Interval.DAY, 10_000),
    (Metric.TOKENS, Interval.HOUR, 10**7),
    (Metric.TOKENS, Interval.MINUTE, 10**7),
    (Metric.COST, Interval.MONTH, 10**12),
    (Metric.CONCURRENCY, None, 1_000),
]
FREE_SECONDS = 45.0 + PATIENCE_SECONDS
"""45 s from the start of the next process, and what a busy machine takes beyond that."""


def calls_of(number: int, kind: str) -> list[Call]:
    return [
        Call(f"round-{number}-{kind}-{way}-{index}", kind, is_stream=way == "stream")
        for way in ("stream", "plain")
        for index in range(OF_EACH)
    ]


async def test_gateway_killed_in_the_middle_of_everything_loses_no_call_and_charges_none_twice(
    database_url: str, provider: Provider, tmp_path: Path
) -> None:
    site = Site(tmp_path, database_url, provider)
    rounds = [{kind: calls_of(number, kind) for kind in (SLOW, SILENT, QUICK)} for number in range(3)]
    calls = [call for kinds in rounds for some in kinds.values() for call in some]
    site.name_calls(call.name for call in calls)
    key, script = await site.key(LIMITS), Script()
    provider.always(script)

    async with books.reading(database_url) as reader:
        # As soon as one of the quick calls has come to the provider, half of them, all.
        for kinds, script.quick_left in zip(rounds, (1, OF_EACH, 2 * OF_EACH), strict=True):
            async with site.replica() as replica:
                await nothing_is_held_at_start(database_url, reader)
                await kill_in_the_middle(replica, key, script, reader, kinds)
        async with site.replica() as replica:
            await nothing_is_held_at_start(database_url, reader)
            async with asyncio.timeout(FREE_SECONDS):
                while await open_holds(reader):  # noqa: ASYNC110 - the database tells nobody
                    await asyncio.sleep(0.1)
            assert await reader.one("SELECT sum(held) FROM counter") == 0
            found = await entries(reader)
            check(calls, script, found)
            assert await books.differences(reader) == []
            await site.audit()
            await replica.stop()
        assert await entries(reader) == found


async def kill_in_the_middle(
    replica: Replica, key: str, script: Script, reader: Reader, kinds: dict[str, list[Call]]
) -> None:
    """Have slow and silent calls under way until a heartbeat noted what came of them, then kill it amid quick ones."""
    script.further, script.strike = asyncio.Event(), replica.process.kill
    slow = [call for call in kinds[SLOW] if call.is_stream]
    async with asyncio.TaskGroup() as tasks:
        for call in (*kinds[SLOW], *kinds[SILENT]):
            tasks.create_task(call.ask(replica.http, key))
        waiting = [*kinds[SLOW], *kinds[SILENT]]
        await until(lambda: all(call.words == WORDS for call in slow), state=lambda: heard(slow, script))
        await until(lambda: all(script.seen[call.name] for call in waiting), state=lambda: heard(waiting, script))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await noted(reader) < len(slow):  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.02)
        script.further.set()
        for call in kinds[QUICK]:
            tasks.create_task(call.ask(replica.http, key))
        await until(lambda: replica.process.returncode is not None, state=lambda: heard(kinds[QUICK], script))


async def nothing_is_held_at_start(url: str, reader: Reader) -> None:
    """SQLite has one process, so a start sweeps at once; on PostgreSQL another one could be alive.

    A slow disk may have the sweep's records in the spool for a moment; long before a lease could be over they are in.
    """
    if is_sqlite(url):
        async with asyncio.timeout(LEASE_SECONDS - 5):
            while await open_holds(reader):  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.02)


async def open_holds(reader: Reader) -> int:
    return int(await reader.one("SELECT count(*) FROM hold"))


async def noted(reader: Reader) -> int:
    """How many calls of the living owner have a heartbeat's note of all the words that were delivered."""
    return int(
        await reader.one(
            f"SELECT count(*) FROM hold WHERE delivered >= {WORDS} "  # noqa: S608 - a number of ours
            "AND owner = (SELECT id FROM owner ORDER BY beat_at_us DESC LIMIT 1)"
        )
    )


def check(calls: Sequence[Call], script: Script, found: dict[str, list[Entry]]) -> None:
    """Hold what the provider saw and what the clients heard against the ledger."""
    assert set(script.seen.values()) == {1}
    assert all(script.seen[call.name] for call in calls if call.kind != QUICK)
    assert set(found) <= {call.name for call in calls}
    for call in calls:
        rows = found.get(call.name, [])
        assert [row.entry for row in rows] == ["final"] * len(rows), (call, rows)
        assert script.seen[call.name] <= len(rows) <= 1, (call, rows)
        for row in rows:
            assert row.output_tokens >= least_output(call), (call, row)
            assert row.output_tokens <= WORDS + LATE_WORDS, (call, row)
            assert row.input_tokens > 0, (call, row)
            if call.ended:
                assert (row.source, row.input_tokens, row.output_tokens) == ("reported", 12, WORDS), (call, row)


def least_output(call: Call) -> int:
    """What must be charged at least: all if the client saw the end, else what the last heartbeat knew."""
    return WORDS if call.ended or (call.kind == SLOW and call.is_stream) else 0
