"""Group commit against a database that a test conducts: one that fails, or answers late, at chosen moments."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.core.errors import GatewayFault, ServiceUnavailable
from gateway.ledger.effects import Batch
from gateway.ledger.entries import Grant, OutcomeUnknown, Refused, Reservation, Settlement, Stale
from gateway.ledger.spool import Spool
from gateway.ledger.standin import SPOOL_AFTER_SECONDS
from gateway.ledger.writer import Writer
from tests.ledger import books
from tests.ledger.running import Seen, until
from tests.patience import PATIENCE_SECONDS

AWAY = "away"


@dataclass
class Conducted:
    """Grants everything. `trouble` may raise, given the batch; commits wait for `flow`."""

    trouble: Callable[[Batch], None] = lambda _batch: None
    flow: asyncio.Event = field(default_factory=asyncio.Event)
    begun: list[Batch] = field(default_factory=list)
    voided: list[str] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    disowned: list[str] = field(default_factory=list)
    disowns: bool = True

    async def commit(self, batch: Batch) -> list[Grant | Refused | Stale]:
        self.begun.append(batch)
        await self.flow.wait()
        self.trouble(batch)
        self.voided += batch.voids
        self.settled += [one.request_id for one in batch.settlements]
        return [Grant(one.request_id, 1, (), None, ()) for one in batch.reservations]

    async def disown(self, request_id: str) -> None:
        if not self.disowns:
            raise OSError("gone")
        self.disowned.append(request_id)


@dataclass
class Bench:
    """A writer that runs."""

    writer: Writer
    database: Conducted
    seen: Seen
    running: "asyncio.Task[None]"

    async def close(self) -> None:
        self.writer.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(self.running, return_exceptions=True)
            await self.writer.finish()


@asynccontextmanager
async def bench(folder: Path, size_bytes: int = 65_536) -> AsyncIterator[Bench]:
    database, seen = Conducted(), Seen()
    database.flow.set()
    spool = Spool(folder, "us", size_bytes)
    writer = Writer(database, spool, seen, time.monotonic)
    one = Bench(writer, database, seen, asyncio.create_task(writer.run()))
    try:
        yield one
    finally:
        database.flow.set()
        await one.close()
        spool.close()


def asked(name: str) -> Reservation:
    return books.reservation(name, (), 1)


def ended(name: str) -> Settlement:
    return books.settlement(asked(name), 1, ())


async def gathered(*waiting: "asyncio.Future[Any]") -> list[type]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return [type(one) for one in await asyncio.gather(*waiting, return_exceptions=True)]


async def test_trouble_after_a_grant_one_by_one_does_not_void_it(tmp_path: Path) -> None:
    """The batch is refused, so its calls go alone; the first is granted, then the line breaks at the second."""

    def trouble(batch: Batch) -> None:
        if len(batch) > 1:
            raise ValueError
        if any(one.request_id == "second" for one in batch.reservations):
            raise OutcomeUnknown(AWAY)

    async with bench(tmp_path) as one:
        one.database.flow.clear()
        waiting = [asyncio.create_task(one.writer.reserve(asked("zeroth")))]
        await until(lambda: one.database.begun)
        waiting += [asyncio.create_task(one.writer.reserve(asked(name))) for name in ("first", "second")]
        await asyncio.sleep(0)
        one.database.trouble = trouble
        one.database.flow.set()

        assert await gathered(*waiting) == [Grant, Grant, ServiceUnavailable]
        await until(lambda: one.writer.is_idle)
        assert one.database.voided == ["second"]


async def test_trouble_before_the_commit_voids_nothing(tmp_path: Path) -> None:
    """An hour of it would otherwise gather an hour's refused calls."""

    def trouble(_batch: Batch) -> None:
        raise ServiceUnavailable(AWAY)

    async with bench(tmp_path) as one:
        one.database.trouble = trouble
        assert await gathered(asyncio.create_task(one.writer.reserve(asked("first")))) == [ServiceUnavailable]
        one.database.trouble = lambda _batch: None
        await until(lambda: one.writer.available)
        assert one.database.voided == []


async def test_trouble_refuses_those_in_the_queue_too(tmp_path: Path) -> None:
    def trouble(_batch: Batch) -> None:
        raise ServiceUnavailable(AWAY)

    async with bench(tmp_path) as one:
        one.database.flow.clear()
        first = asyncio.create_task(one.writer.reserve(asked("first")))
        await until(lambda: one.database.begun)
        second = asyncio.create_task(one.writer.reserve(asked("second")))
        await asyncio.sleep(0)
        one.database.trouble = trouble
        one.database.flow.set()

        assert await gathered(first, second) == [ServiceUnavailable, ServiceUnavailable]
        assert [len(batch) for batch in one.database.begun] == [1]


@pytest.mark.parametrize("lost", [False, True], ids=["granted", "outcome-unknown"])
async def test_decision_that_comes_too_late_is_not_waited_for_and_voided(tmp_path: Path, lost: bool) -> None:
    def trouble(batch: Batch) -> None:
        if lost and batch.reservations:
            raise OutcomeUnknown(AWAY)

    async with bench(tmp_path) as one:
        one.database.flow.clear()
        one.database.trouble = trouble
        soon = time.monotonic() + SPOOL_AFTER_SECONDS
        first = asyncio.create_task(one.writer.reserve(asked("first"), soon))
        await until(lambda: one.database.begun)
        second = asyncio.create_task(one.writer.reserve(asked("second"), soon))
        assert await gathered(first, second) == [ServiceUnavailable, ServiceUnavailable]

        one.database.flow.set()

        await until(lambda: one.database.voided == ["first"])
        await until(lambda: one.writer.is_idle)
        assert [item.request_id for batch in one.database.begun for item in batch.reservations] == ["first"]


async def test_each_waits_for_a_decision_until_a_moment_of_its_own(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        one.database.flow.clear()
        patient = asyncio.create_task(one.writer.reserve(asked("patient"), time.monotonic() + PATIENCE_SECONDS))
        await until(lambda: one.database.begun)
        for name in ("late", "later"):
            with pytest.raises(ServiceUnavailable):
                await one.writer.reserve(asked(name), time.monotonic())
        assert not patient.done()
        one.database.flow.set()
        assert await gathered(patient) == [Grant]


async def test_settlements_of_every_moment_are_spooled_while_a_commit_hangs(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        one.database.flow.clear()
        for number in range(4):
            await asyncio.wait_for(one.writer.settle(ended(f"req_{number}")), PATIENCE_SECONDS)
        quiet = time.monotonic() + 3 * SPOOL_AFTER_SECONDS
        await until(lambda: time.monotonic() > quiet)
        assert one.seen.spooled == 4  # nothing is forgotten before the database has it
        assert one.database.settled == []

        one.database.flow.set()

        await until(lambda: not one.seen.spooled)
        assert sorted(one.database.settled) == [f"req_{number}" for number in range(4)]


async def test_full_spool_keeps_settlements_in_memory_and_refuses_calls(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(tmp_path, size_bytes=64) as one:
        one.database.flow.clear()
        await asyncio.wait_for(one.writer.settle(ended("first")), PATIENCE_SECONDS)
        assert "in memory only" in caplog.text
        assert not one.writer.available
        with pytest.raises(ServiceUnavailable):
            await one.writer.reserve(asked("second"))

        one.database.flow.set()

        await until(lambda: one.writer.available)
        assert one.database.settled == ["first"]
        assert isinstance(await one.writer.reserve(asked("third")), Grant)


async def test_close_commits_what_waits(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        one.database.flow.clear()
        waiting = [asyncio.ensure_future(one.writer.settle(ended(f"req_{number}"))) for number in range(3)]
        await until(lambda: one.database.begun)
        waiting.append(asyncio.ensure_future(one.writer.settle(ended("last"))))
        await asyncio.sleep(0)
        one.writer.void("left")
        one.writer.close()
        one.database.flow.set()

        assert await gathered(*waiting) == [type(None)] * 4
        await one.close()
        assert len(one.database.settled) == 4
        assert one.database.voided == ["left"]


async def test_close_in_the_middle_of_a_hanging_commit_spools_what_waits(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        one.database.flow.clear()
        settling = asyncio.ensure_future(one.writer.settle(ended("first")))
        reserving = asyncio.create_task(one.writer.reserve(asked("second")))
        await until(lambda: one.database.begun)
        one.running.cancel()
        await one.close()

        assert await gathered(settling, reserving) == [type(None), ServiceUnavailable]
        assert one.seen.spooled == 1


async def test_closed_writer_refuses_at_once(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        await one.close()
        with pytest.raises(ServiceUnavailable):
            await one.writer.reserve(asked("first"))
        with pytest.raises(ServiceUnavailable):
            await one.writer.settle(ended("first"))


async def test_closed_writer_leaves_no_task_behind(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:
        one.database.flow.clear()
        await asyncio.wait_for(one.writer.settle(ended("first")), PATIENCE_SECONDS)
        one.database.flow.set()
        await one.close()

    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_item_that_can_neither_be_settled_nor_disowned_does_not_end_the_writer(tmp_path: Path) -> None:
    async with bench(tmp_path) as one:

        def refuse(batch: Batch) -> None:
            if batch.settlements:
                raise ValueError("not this one")

        one.database.trouble, one.database.disowns = refuse, False
        assert await gathered(one.writer.settle(ended("req_bad"))) == [GatewayFault]
        assert isinstance(await one.writer.reserve(asked("req_next")), Grant)
