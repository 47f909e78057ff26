"""What reads much goes on in a thread of its own: neither the loop that serves calls nor their connections wait."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from gateway.store.aside import AT_ONCE
from gateway.store.engine import READERS, Connection, Database
from tests.patience import PATIENCE_SECONDS


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    yield opened
    await opened.close()


def ask(connection: Connection) -> int:
    found: int = connection.execute(text("SELECT 1")).scalar_one()
    return found


async def test_work_aside_holds_up_neither_the_loop_nor_its_connections(database: Database) -> None:
    begun, may_end = threading.Semaphore(0), threading.Event()

    def read_long(connection: Connection) -> int:
        begun.release()
        assert may_end.wait(PATIENCE_SECONDS), "the loop that serves calls was held up"
        return ask(connection)

    async def work(apart: Database) -> int:
        return await apart.read(read_long)

    reports = [asyncio.create_task(database.aside(work)) for _ in range(READERS * AT_ONCE)]
    await asyncio.to_thread(begun.acquire)
    answers = [await database.read(ask) for _ in range(READERS * AT_ONCE)]
    assert not any(report.done() for report in reports)
    may_end.set()
    assert [*answers, *await asyncio.gather(*reports)] == [1] * (2 * READERS * AT_ONCE)


async def test_work_aside_ends_with_its_database(database: Database) -> None:
    begun = threading.Event()

    async def work(_: Database) -> None:
        begun.set()
        await asyncio.Event().wait()

    report = asyncio.create_task(database.aside(work))
    await asyncio.to_thread(begun.wait)
    await database.close()
    with pytest.raises(asyncio.CancelledError):
        await report


async def test_what_work_aside_raises_comes_back(database: Database) -> None:
    async def work(_: Database) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await database.aside(work)
