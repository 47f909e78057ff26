"""A process is killed; the next one finds what it left and charges each call once."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.core.limits import Metric
from gateway.ledger.effects import Batch
from gateway.ledger.entries import Item
from tests.ledger import books
from tests.ledger.books import limit, reservation, settlement
from tests.ledger.mortal import LIMITS
from tests.ledger.running import Desk, on_sqlite, running
from tests.patience import PATIENCE_SECONDS


@asynccontextmanager
async def killed(url: str, folder: Path, what: str) -> AsyncIterator[int]:
    """Let a process come to what it should do and kill it; give when its last call was admitted."""
    async with running(url, folder, owner="before") as desk:
        await desk.add_limits(*LIMITS)
        revision = desk.revision
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.ledger.mortal",
        url,
        str(folder),
        what,
        str(revision),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS)
        assert line.startswith(b"READY"), line
    finally:
        process.kill()
        await process.wait()
    yield int(line.split()[1])


async def sweep(desk: Desk) -> int:
    """Sweep as if a lease had passed since."""
    found = await desk.transactions.abandoned(0, 100)
    await asyncio.gather(*map(desk.ledger.settle, found))
    return len(found)


async def test_killed_process_has_its_holds_swept_once(database_url: str, tmp_path: Path) -> None:
    async with (
        killed(database_url, tmp_path / "spool", "hold") as admitted_at_us,
        running(database_url, tmp_path / "spool", owner="next") as desk,
    ):
        # On SQLite the start has swept, no other process can be alive. On PostgreSQL one could.
        await sweep(desk)
        assert await sweep(desk) == 0

        swept = await books.records(desk.reader)
        assert [(one.request_id, one.entry) for one in swept] == [(f"req_{n}", "final") for n in range(3)]
        tokens = [(one.figures.input_tokens, one.figures.output_tokens) for one in swept]
        assert tokens == [(10, 0), (12, 7), (10, 0)]
        assert await desk.holds() == 0
        assert await desk.reader.one("SELECT sum(held) FROM counter") == 0
        assert await books.differences(desk.reader) == []

        late = settlement(reservation("req_2", LIMITS, 0), admitted_at_us, await items(desk, admitted_at_us))
        for _ in range(2):
            await desk.ledger.settle(late)

        entries = await desk.entries()
        assert entries.count(("req_2", "correction")) == 1
        assert len(entries) == 4
        assert await desk.reader.one("SELECT used FROM counter WHERE limit_id = 'lim_tokens_lifetime'") == 10 + 19 + 30
        assert await books.differences(desk.reader) == []


async def items(desk: Desk, admitted_at_us: int) -> list[Item]:
    """What the call's grant had."""
    starts: dict[str, int] = dict(await desk.reader.rows("SELECT limit_id, period_start FROM counter"))
    return [Item(one.id, one.metric, one.interval, starts[one.id], 1) for one in LIMITS]


@on_sqlite
async def test_sole_owner_sweeps_who_died_before_the_clock_was_set_back(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path / "spool") as desk:
        await desk.add_limits(limit(Metric.REQUESTS, 100))
        dead = books.transactions(database_url, "dead", lambda: time.time_ns() // 1000 + 3_600 * books.SECOND)
        await dead.commit(Batch([desk.asked()]))
        await dead.beat({})
        await dead.close()
        assert await desk.holds() == 1
    async with running(database_url, tmp_path / "spool", owner="next") as desk:
        assert await desk.holds() == 0
        assert await books.differences(desk.reader) == []


@on_sqlite
async def test_killed_process_has_its_spool_replayed_before_the_sweep(database_url: str, tmp_path: Path) -> None:
    """What it had spooled is charged as the provider reported it, the rest by what was known."""
    async with (
        killed(database_url, tmp_path / "spool", "spool") as _,
        running(database_url, tmp_path / "spool", owner="next") as desk,
    ):
        found = await books.records(desk.reader)
        assert [(one.request_id, one.entry) for one in found] == [(f"req_{n}", "final") for n in range(3)]
        assert [one.figures.output_tokens for one in found] == [20, 7, 0]
        assert await desk.holds() == 0
        assert desk.spools() == ["next.spool"]
        assert await books.differences(desk.reader) == []


@pytest.mark.parametrize("what", ["answer", "commit"])
async def test_process_killed_before_or_after_a_commit_charges_its_calls_once(
    database_url: str, tmp_path: Path, what: str
) -> None:
    """Before it the call is swept, or replayed if the spool already stood in; after it the call stands."""
    async with (
        killed(database_url, tmp_path / "spool", what) as _,
        running(database_url, tmp_path / "spool", owner="next") as desk,
    ):
        await sweep(desk)
        found = await books.records(desk.reader)
        names = ["req_0", "req_1", "req_2", *(["req_3"] if what == "commit" else [])]
        assert [(one.request_id, one.entry) for one in found] == [(name, "final") for name in names]
        outputs = [one.figures.output_tokens for one in found]
        assert outputs[0] in ((20,) if what == "commit" else (0, 20)) and outputs[1:] == [7, 0, 0][: len(names) - 1]
        assert await desk.holds() == 0
        assert await desk.reader.one("SELECT sum(held) FROM counter") == 0
        assert await books.differences(desk.reader) == []
