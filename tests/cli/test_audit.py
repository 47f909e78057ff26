"""`gateway audit` on the command line: what it prints, how it exits, what --repair does, also to calls left open."""

# ruff: noqa: S608 - statements are put together from numbers

import time
from pathlib import Path

from sqlalchemy import Connection, text

from gateway.core.limits import Metric
from gateway.ledger.entries import Grant
from gateway.store.engine import Database
from tests.cli.shell import Shell
from tests.ledger.books import limit
from tests.ledger.running import running

LONG_AGO = 3_600 * 1_000_000


async def test_audit_of_damaged_books_exits_with_1_and_repairs_them_once(team_shell: Shell) -> None:
    made = await team_shell.ask("limits", "create", "requests:day:5", "--organization")
    await change(team_shell, "UPDATE counter SET used = 3, held = 2")
    found = await team_shell.run("audit")
    assert (found.exit_code, found.errors) == (1, "")
    assert f"limit {made['id']}, requests of the organization, in the day from" in found.output
    assert "used is 3 requests, the rollups have 0 requests" in found.output
    assert "held is 2 requests, open calls hold 0 requests" in found.output
    assert "gateway audit --repair can put right: held, used." in found.output
    repaired = await team_shell.ask("audit", "--repair")
    assert (repaired["ok"], len(list_of(repaired["repaired"]))) == (True, 2)
    assert "used is 0 requests now, not 3" in str(repaired["repaired"])
    assert (await team_shell.ask("audit", "--repair"))["repaired"] == []
    assert "The ledger is in order." in (await team_shell.run("audit")).output


async def test_audit_repair_settles_calls_that_a_dead_process_left(team_shell: Shell, tmp_path: Path) -> None:
    url = team_shell.variables["GATEWAY_DATABASE_URL"]
    async with running(url, tmp_path / "spool", owner="dead", is_sole=False) as desk:
        await desk.add_limits(limit(Metric.TOKENS, 1_000))
        answer = await desk.ledger.reserve(desk.asked())
        assert isinstance(answer, Grant)
    present = time.time_ns() // 1_000
    await change(team_shell, f"UPDATE hold SET admitted_at_us = {present - LONG_AGO}")
    await change(team_shell, "DELETE FROM owner")
    assert (await team_shell.ask("audit"))["ok"] is True
    lives_until = time.time_ns() // 1_000 + 60_000_000  # beyond the time that a slow start of the command takes
    await change(team_shell, f"INSERT INTO owner VALUES ('living', {lives_until})")
    found = await team_shell.run("audit")
    assert (found.exit_code, "and nobody settled them" in found.output) == (1, True)
    repaired = await team_shell.ask("audit", "--repair")
    assert repaired["repaired"] == ["settled 1 calls of processes that ended"]
    assert repaired["ok"] is True
    assert (await team_shell.ask("audit", "--repair"))["repaired"] == []


async def change(shell: Shell, statement: str) -> None:
    """Do to the books what nobody should."""

    def work(connection: Connection) -> None:
        connection.execute(text(statement))

    database = Database(shell.variables["GATEWAY_DATABASE_URL"])
    try:
        await database.write(work)
    finally:
        await database.close()


def list_of(value: object) -> list[object]:
    assert isinstance(value, list)
    return value
