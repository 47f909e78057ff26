"""Jobs at a provider: noted once, looked at by one process at a time, kept in memory while the database is away."""

import logging
import time
from collections.abc import AsyncIterator

import pytest

from gateway.store import jobs, provider_objects
from gateway.store.engine import Database
from gateway.store.job_book import CLAIM_SECONDS, JobBook
from gateway.store.provider_objects import ProviderObject
from tests.clock import SettableClock
from tests.ledger import books
from tests.ledger.running import on_postgres, on_sqlite

MADE = ProviderObject("main", "resp_1", "proj_1", "key_1", "responses", 1)
DAY = 86_400.0
HOURS = 2 * 3_600.0


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    made = Database(database_url)
    yield made
    await made.close()


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock(1_700_000_000.0)


@pytest.fixture
def book(database: Database, clock: SettableClock) -> JobBook:
    return JobBook(database, clock.now, DAY)


async def test_job_is_noted_with_its_owner_and_found_by_its_name(book: JobBook, database: Database) -> None:
    await book.note("req_1", MADE, "{}", 5.0)
    found = await book.find("main", "resp_1")
    assert found is not None and (found.request_id, found.kind, found.record) == ("req_1", "responses", "{}")
    assert await book.find("other", "resp_1") is None
    owned = await database.read(lambda connection: provider_objects.owned(connection, ["resp_1"], "key_1"))
    assert owned == {"resp_1": MADE}


@on_sqlite
async def test_job_noted_again_is_one_and_due_as_said_last(book: JobBook) -> None:
    await book.note("req_1", MADE, "{}", 600.0)
    await book.note("req_1", MADE, "{}", 1.0)
    assert await book.outlook() == (1, 1.0)


@on_sqlite
async def test_job_is_claimed_when_it_is_due_and_by_one_process_alone(
    database: Database, book: JobBook, clock: SettableClock
) -> None:
    other = JobBook(database, clock.now, DAY)
    await book.note("req_1", MADE, "{}", 5.0)
    assert await book.claim() == []
    clock.advance(5)
    now_us = int(clock.now() * 1_000_000)
    seen = await database.read(lambda connection: jobs.due(connection, now_us, 10))
    assert [job.request_id for job in await other.claim()] == ["req_1"]
    assert await database.write(lambda connection: jobs.claim(connection, seen, now_us + 1)) == []
    assert await book.claim() == []
    clock.advance(CLAIM_SECONDS)
    assert [(job.request_id, job.looks) for job in await book.claim()] == [("req_1", 1)]


@on_postgres
async def test_jobs_of_processes_whose_clocks_are_hours_apart_are_due_by_the_databases(database: Database) -> None:
    """Whoever dies, another follows its jobs at the time that was meant."""
    early, late = (JobBook(database, SettableClock(time.time() + off).now, DAY) for off in (-HOURS, HOURS))
    for noting, other, name in ((early, late, "req_1"), (late, early, "req_2")):
        await noting.note(name, MADE, "{}", HOURS / 2)
        assert await other.claim() == []
        await noting.postpone(name, 0.0)
        [job] = await other.claim()
        assert job.request_id == name and not other.is_over_time(job)
        assert await noting.claim() == []
        assert await noting.forget(name)


async def test_job_that_is_forgotten_is_forgotten_once(book: JobBook) -> None:
    await book.note("req_1", MADE, "{}", 5.0)
    assert await book.forget("req_1")
    assert not await book.forget("req_1")
    assert await book.outlook() == (0, None)


@on_sqlite
async def test_job_is_over_time_from_its_end_on(book: JobBook, clock: SettableClock) -> None:
    await book.note("req_1", MADE, "{}", 0.0)
    [job] = await book.claim()
    assert not book.is_over_time(job)
    clock.advance(DAY)
    assert book.is_over_time(job)


@on_sqlite
async def test_job_is_kept_in_memory_while_the_database_is_away_and_noted_afterwards(
    database_url: str, clock: SettableClock, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = books.transactions(database_url, "us", lambda: int(clock.now() * books.SECOND))
    database = books.administration(database_url, ledger)
    foreign = books.foreign(database_url)
    book = JobBook(database, clock.now, DAY)
    try:
        await books.lock(foreign)
        with caplog.at_level(logging.CRITICAL + 1):
            await book.note("req_1", MADE, "{}", 5.0)
        found = await book.find("main", "resp_1")
        assert found is not None and found.request_id == "req_1"
        assert await database.read(lambda connection: jobs.find(connection, "main", "resp_1")) is None
        foreign.execute("ROLLBACK")
        await book.save()
        assert await database.read(lambda connection: jobs.find(connection, "main", "resp_1")) == found
    finally:
        foreign.close()
        await database.close()
        await ledger.close()
