"""The heartbeat goes on whatever happens, and nobody sweeps the living."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest
from msgspec.structs import replace

from gateway.core.errors import ServiceUnavailable
from gateway.core.limits import Metric
from gateway.ledger.entries import Grant, Settlement
from gateway.ledger.lease import BEAT_SECONDS, LEASE_SECONDS, SWEEP_EVERY_BEATS, Lease
from gateway.ledger.spool import Spool
from gateway.ledger.writer import Writer
from gateway.store.engine import postgres_dsn
from tests.clock import SettableClock
from tests.ledger import books
from tests.ledger.books import SECOND, limit
from tests.ledger.running import Seen, on_postgres, running
from tests.ledger.test_writer import Conducted


@dataclass
class Leased(Conducted):
    """Notes beats and sweeps."""

    error: Exception | None = None
    progress: list[Mapping[str, tuple[int, int]]] = field(default_factory=list)
    sweeps: int = 0

    async def beat(self, progress: Mapping[str, tuple[int, int]]) -> None:
        if self.error is not None:
            raise self.error
        self.progress.append(progress)

    async def abandoned(self, lease_us: int, most: int) -> list[Settlement]:
        self.sweeps += 1
        return []

    async def tidy(self, lease_us: int) -> None:
        return


@dataclass
class Beating:
    """A lease whose time a test sets."""

    folder: Path
    database: Leased = field(default_factory=Leased)
    clock: SettableClock = field(default_factory=SettableClock)

    def __post_init__(self) -> None:
        self.spool = Spool(self.folder, "us", 4_096)
        self.writer = Writer(self.database, self.spool, Seen(), self.clock.monotonic)
        self.lease = Lease(self.database, self.writer, self.clock.monotonic)

    async def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds / BEAT_SECONDS)):
            self.clock.advance(BEAT_SECONDS)
            await self.lease.beat()


SWEEP_SECONDS = SWEEP_EVERY_BEATS * BEAT_SECONDS


async def test_start_sweeps_nobody_before_a_whole_lease(tmp_path: Path) -> None:
    one = Beating(tmp_path)
    await one.pass_time(LEASE_SECONDS - BEAT_SECONDS)
    assert one.database.sweeps == 0

    await one.pass_time(SWEEP_SECONDS)

    assert one.database.sweeps == 1


@pytest.mark.parametrize("error", [ServiceUnavailable("away"), ValueError("anything")], ids=["away", "else"])
async def test_outage_gives_the_others_a_whole_lease_to_come_back(
    tmp_path: Path, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    one = Beating(tmp_path)
    await one.pass_time(LEASE_SECONDS + SWEEP_SECONDS)
    before = one.database.sweeps
    one.database.error = error
    with caplog.at_level(logging.CRITICAL + 1):
        await one.pass_time(60)
    one.database.error = None

    await one.pass_time(LEASE_SECONDS - BEAT_SECONDS)
    assert one.database.sweeps == before

    await one.pass_time(SWEEP_SECONDS)
    assert one.database.sweeps == before + 1


async def test_call_that_cannot_count_does_not_stop_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> tuple[int, int] | None:
        raise ValueError

    async def moving() -> tuple[int, int] | None:
        return 3, 4

    async def still() -> tuple[int, int] | None:
        return None

    one = Beating(tmp_path)
    for name, ask in (("broken", broken), ("moving", moving), ("still", still)):
        one.lease.watch(name, ask)
    with caplog.at_level(logging.CRITICAL + 1):
        await one.lease.beat()
        await one.lease.beat()

    assert one.database.progress == [{"moving": (3, 4)}] * 2


async def test_swept_call_has_what_the_last_heartbeat_knew(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as desk:
        await desk.add_limits(limit(Metric.TOKENS, 100))
        asked, _ = await desk.admitted()
        await desk.transactions.beat({asked.request_id: (11, 5), "req_gone": (1, 1)})
        them = books.transactions(database_url, "them", lambda: time.time_ns() // 1000)
        try:
            assert await them.abandoned(60 * SECOND, 10) == []
            [swept] = await them.abandoned(-3_600 * SECOND, 10)
        finally:
            await them.close()
        assert (swept.figures.input_tokens, swept.figures.output_tokens) == (11, 5)


async def test_swept_call_of_sound_or_pictures_is_charged_its_fee(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as desk:
        await desk.add_limits(limit(Metric.COST, 10**9))
        asked = replace(desk.asked(), input_tokens=0, fee_nano_usd=165_000)
        assert isinstance(await desk.ledger.reserve(asked), Grant)
        them = books.transactions(database_url, "them", lambda: time.time_ns() // 1000)
        try:
            [swept] = await them.abandoned(-3_600 * SECOND, 10)
        finally:
            await them.close()
        assert swept.figures.cost_nano_usd == 165_000 and swept.figures.input_tokens == 0
        assert swept.rates == f'{{"input":{asked.input_rate},"output":{asked.output_rate},"request":165000000}}'


@on_postgres
async def test_heartbeat_behind_a_long_lock_is_only_late(database_url: str, tmp_path: Path) -> None:
    """Making a limit excludes batches and progress; however long it takes, the lease itself is renewed."""
    async with running(database_url, tmp_path) as desk:
        await desk.add_limits(limit(Metric.TOKENS, 100))
        asked, _ = await desk.admitted()
        await desk.reader.rows("DELETE FROM owner RETURNING id")
        admin = await asyncpg.connect(postgres_dsn(database_url))
        try:
            async with admin.transaction():
                await admin.execute("LOCK TABLE hold IN SHARE MODE")
                with pytest.raises(ServiceUnavailable):
                    await desk.transactions.beat({asked.request_id: (11, 5)})
            assert await desk.reader.rows("SELECT id FROM owner") == [("us",)]
            await desk.transactions.beat({asked.request_id: (11, 5)})
        finally:
            await admin.close()
        assert await desk.reader.one("SELECT delivered FROM hold") == 5


@on_postgres
async def test_limits_made_under_load_deadlock_nobody(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as desk:
        await desk.add_limits(limit(Metric.REQUESTS, 1_000_000))
        ended = asyncio.Event()

        async def calls() -> int:
            number = 0
            while not ended.is_set():
                asked = desk.asked()
                answer = await desk.ledger.reserve(asked)
                number += 1
                if isinstance(answer, Grant):
                    await desk.ledger.settle(books.ending(asked, answer))
            return number

        async def changes() -> None:
            for number in range(10):
                new = limit(Metric.TOKENS, 10**9, id=f"lim_{number}")
                await desk.add_limits(new)
            ended.set()

        await asyncio.gather(changes(), *(calls() for _ in range(8)))
        assert await books.differences(desk.reader) == []
