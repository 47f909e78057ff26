"""The database goes away and comes back: nobody is admitted, nothing that ended is lost, nobody has to restart."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from gateway.core.errors import ServiceUnavailable
from gateway.core.limits import Metric
from gateway.ledger.sqlite import SqliteLedger
from gateway.store.engine import is_sqlite
from tests.ledger import books
from tests.ledger.books import ending, limit
from tests.ledger.chaos import Chaos, chaos
from tests.ledger.running import Desk, on_postgres, on_sqlite, running, until
from tests.patience import PATIENCE_SECONDS, stalls

ANSWER_SECONDS = 30.0
ROUND_SECONDS = 3.5
"""Less than a round with a silent database takes."""
ATTEMPTS = 5
STALL_TICKS = 10
"""The loop may not stand still while the machine has 50 ms to give."""


class Outage:
    """Takes the database of a desk away and gives it back: a foreign lock on SQLite, a cut line to PostgreSQL."""

    def __init__(self, url: str, relay: Chaos | None) -> None:
        self._relay = relay
        self._foreign = books.foreign(url) if is_sqlite(url) else None

    async def begin(self) -> None:
        if self._foreign is not None:
            await books.lock(self._foreign)
        if self._relay is not None:
            self._relay.cut()

    def end(self) -> None:
        if self._foreign is not None and self._foreign.in_transaction:
            self._foreign.execute("ROLLBACK")
        if self._relay is not None:
            self._relay.mend()

    def close(self) -> None:
        self.end()
        if self._foreign is not None:
            self._foreign.close()


@asynccontextmanager
async def breakable(url: str, folder: Path) -> AsyncIterator[tuple[Desk, Outage]]:
    """A desk with a limit, and the power to take its database away."""
    if is_sqlite(url):
        async with running(url, folder, is_hasty=True) as desk:
            await desk.add_limits(limit(Metric.REQUESTS, 100), limit(Metric.CONCURRENCY, 50))
            with closed(Outage(url, None)) as outage:
                yield desk, outage
        return
    async with chaos(url) as relay, running(url, folder, through=relay.url, is_hasty=True) as desk:
        await desk.add_limits(limit(Metric.REQUESTS, 100), limit(Metric.CONCURRENCY, 50))
        with closed(Outage(url, relay)) as outage:
            yield desk, outage


@contextmanager
def closed(outage: Outage) -> Iterator[Outage]:
    try:
        yield outage
    finally:
        outage.close()


async def back(desk: Desk) -> None:
    """Wait until the ledger says that its database is there, without asking it for anything."""
    await until(lambda: desk.ledger.available and desk.ledger.is_idle)


async def refused_in_time(desk: Desk, calls: int = 1) -> None:
    """Reserve and see that every call is told in time that the database is away."""
    async with asyncio.timeout(ANSWER_SECONDS):
        asking = (desk.ledger.reserve(desk.asked()) for _ in range(calls))
        answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(answer) for answer in answers] == [ServiceUnavailable] * calls


async def test_outage_under_open_calls_refuses_new_ones_and_charges_those_once(
    database_url: str, tmp_path: Path
) -> None:
    async with breakable(database_url, tmp_path / "spool") as (desk, outage):
        open_calls = [await desk.admitted() for _ in range(5)]

        await outage.begin()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*(desk.ledger.settle(ending(*call)) for call in open_calls))
        await refused_in_time(desk, 3)
        assert not desk.ledger.available
        assert desk.seen.spooled == 5

        outage.end()
        await back(desk)

        assert sorted(await desk.entries()) == [(asked.request_id, "final") for asked, _ in open_calls]
        assert await desk.holds() == 0
        assert await books.differences(desk.reader) == []
        await desk.admitted()


async def test_outage_that_nobody_asks_about_is_found_to_be_over(database_url: str, tmp_path: Path) -> None:
    """Else a gateway that is not ready gets no calls, and without calls it would never be ready."""
    async with breakable(database_url, tmp_path / "spool") as (desk, outage):
        await outage.begin()
        await refused_in_time(desk)

        outage.end()

        await back(desk)
        assert await desk.holds() == 0


async def test_outage_over_leaves_the_spool_empty(database_url: str, tmp_path: Path) -> None:
    async with breakable(database_url, tmp_path / "spool") as (desk, outage):
        call = await desk.admitted()
        await outage.begin()
        await desk.ledger.settle(ending(*call))
        assert desk.seen.spooled == 1

        outage.end()
        await back(desk)
        await until(lambda: not desk.seen.spooled)

    assert desk.spools() == []


async def test_outage_at_the_end_keeps_settlements_for_the_next_start(database_url: str, tmp_path: Path) -> None:
    async with breakable(database_url, tmp_path / "spool") as (desk, outage):
        call = await desk.admitted()
        await outage.begin()
        ending_call = asyncio.ensure_future(desk.ledger.settle(ending(*call)))
        await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await desk.ledger.close()
        await ending_call
        assert desk.spools() == ["us.spool"]
        outage.end()

    async with running(database_url, tmp_path / "spool", owner="next") as desk:
        assert await desk.entries() == [(call[0].request_id, "final")]
        assert desk.spools() == ["next.spool"]
        assert await books.differences(desk.reader) == []


@on_sqlite
async def test_foreign_lock_on_sqlite_never_stalls_the_loop(database_url: str, tmp_path: Path) -> None:
    async with breakable(database_url, tmp_path / "spool") as (desk, outage):
        calls = [await desk.admitted() for _ in range(ATTEMPTS)]
        await outage.begin()
        longest = []
        for call in calls:  # what stalls the loop does so every time, another process perhaps once
            with stalls() as watch:
                await desk.ledger.settle(ending(*call))
                await refused_in_time(desk, 20)
            longest.append(watch.longest_ticks)
            if min(longest) < STALL_TICKS:
                return
        raise AssertionError(longest)


@on_sqlite
async def test_full_disk_refuses_calls_and_spools_what_ended(database_url: str, tmp_path: Path) -> None:
    async with breakable(database_url, tmp_path / "spool") as (desk, _):
        call = await desk.admitted()
        assert isinstance(desk.transactions, SqliteLedger)
        pages = desk.transactions.connection.execute("PRAGMA page_count").fetchone()[0]
        desk.transactions.connection.execute(f"PRAGMA max_page_count={pages}")
        desk.limits = ()
        asked = [desk.asked() for _ in range(300)]
        answers = await asyncio.gather(*map(desk.ledger.reserve, asked), return_exceptions=True)
        assert {type(answer) for answer in answers} == {ServiceUnavailable}
        await desk.ledger.settle(ending(*call))

        desk.transactions.connection.execute("PRAGMA max_page_count=1000000")
        await back(desk)

        assert await desk.entries() == [(call[0].request_id, "final")]
        assert await desk.holds() == 0


@on_postgres
async def test_terminated_session_on_postgres_is_made_again(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path / "spool") as desk:
        await desk.add_limits(limit(Metric.REQUESTS, 100))
        call = await desk.admitted()
        gone = await desk.reader.rows(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE application_name = 'gateway-ledger' AND datname = current_database()"
        )
        assert gone

        await desk.ledger.settle(ending(*call))
        await back(desk)

        await desk.admitted()
        assert await desk.entries() == [(call[0].request_id, "final")]


@on_postgres
async def test_silent_postgres_refuses_in_time(database_url: str, tmp_path: Path) -> None:
    async with (
        chaos(database_url) as relay,
        running(database_url, tmp_path / "spool", through=relay.url, is_hasty=True) as desk,
    ):
        await desk.add_limits(limit(Metric.REQUESTS, 100))
        first, second = await desk.admitted(), await desk.admitted()
        relay.blackhole()
        async with asyncio.timeout(ROUND_SECONDS):
            await desk.ledger.settle(ending(*first))
            # Long after the round began: it must not wait for the round's end.
            await desk.ledger.settle(ending(*second))

        await refused_in_time(desk, 5)

        relay.mend()
        await back(desk)
        assert len(await desk.entries()) == 2
        assert await desk.holds() == 0
        assert await books.differences(desk.reader) == []


@on_postgres
@pytest.mark.parametrize("delayed", [False, True], ids=["committed", "still-on-its-way"])
@pytest.mark.parametrize("known", [False, True], ids=["counters-read", "counters-known"])
async def test_commit_of_unknown_outcome_on_postgres_is_voided(
    database_url: str, tmp_path: Path, known: bool, delayed: bool
) -> None:
    """Delayed: what the cut session was told reaches the database when the next session has done its work."""
    async with chaos(database_url) as relay, running(database_url, tmp_path / "spool", through=relay.url) as desk:
        await desk.add_limits(limit(Metric.REQUESTS, 100))
        if known:
            await desk.admitted()
        asked = desk.asked()
        relay.cut_at(asked.request_id.encode() if known else b"COMMIT", delayed=delayed)
        with pytest.raises(ServiceUnavailable):
            await desk.ledger.reserve(asked)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await relay.was_cut.wait()

        await back(desk)
        relay.deliver()
        await desk.admitted()

        assert await desk.holds() == 1 + known
        assert await desk.reader.one("SELECT held FROM counter") == 1 + known
