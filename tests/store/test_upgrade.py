"""A schema changes under traffic: gateways of the version before go on, until a migration says that they cannot."""

import asyncio
import sys
import time
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import inspect

from gateway.core.errors import ServiceUnavailable
from gateway.core.limits import Interval, Metric
from gateway.store import audit, migrate
from gateway.store.engine import Database, is_sqlite, postgres_dsn
from tests import databases, newer
from tests.cli.shell import ADMIN_KEY, Shell
from tests.gateway import RunningGateway, running_gateway
from tests.patience import PATIENCE_SECONDS
from tests.provider import Provider, compose

READY = {"OPENAI_API_KEY": "sk-provider", "GATEWAY_ADMIN_KEY": ADMIN_KEY}
ANSWER = b'{"choices":[{"message":{"content":"Hi"}}],"usage":{"prompt_tokens":5,"completion_tokens":1}}'


class Traffic:
    """Calls one after the other, until told to stop."""

    def __init__(self, gateway: RunningGateway, key: str) -> None:
        self.statuses: list[int] = []
        self._gateway = gateway
        self._key = key
        self._goes_on = True
        self._task = asyncio.create_task(self._call())

    async def _call(self) -> None:
        while self._goes_on:
            self.statuses.append((await self._gateway.chat(self._key)).status_code)

    async def more(self, calls: int = 5) -> None:
        """Wait until so many more calls are through."""
        wanted = len(self.statuses) + calls
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.statuses) < wanted:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self._goes_on = False
        await self._task


async def test_upgrade_under_traffic_fails_no_call_on_old_or_new_code(
    blank_url: str, provider: Provider, tmp_path: Path
) -> None:
    await migrate.upgrade(blank_url)
    provider.always(lambda _request: compose(200, {"content-type": "application/json"}, ANSWER))
    async with running_gateway(blank_url, provider, tmp_path) as old:
        key = await old.key(limits=[(Metric.REQUESTS, Interval.DAY, 10_000), (Metric.COST, Interval.MONTH, 10**12)])
        traffic = [Traffic(old, key) for _ in range(4)]
        await traffic[0].more()
        await newer.upgrade(blank_url, tmp_path)
        await traffic[0].more()
        # Another gateway of ours starts on the newer schema, beside the old one where the database takes two.
        if not is_sqlite(blank_url):
            async with running_gateway(blank_url, provider, tmp_path / "two") as second:
                traffic.append(Traffic(second, key))
                await traffic[-1].more()
                await traffic[-1].stop()
        await asyncio.gather(*(one.stop() for one in traffic))
        statuses = [status for one in traffic for status in one.statuses]
        assert set(statuses) == {200}
        assert len(await old.usage(len(statuses))) == len(statuses)
        await old.audit()
        assert [
            check.faults
            for check in await old.database.read(lambda connection: audit.checks(connection, int(time.time())))
            if check.faults
        ] == []


async def test_newer_schema_that_serves_us_is_accepted_with_a_note(blank_url: str, tmp_path: Path) -> None:
    await migrate.upgrade(blank_url)
    await newer.upgrade(blank_url, tmp_path)
    shell = Shell(tmp_path, {"GATEWAY_DATABASE_URL": blank_url})
    for variables in ({}, {"GATEWAY_MIGRATE": "off"}):
        async with shell.serving("serve", **READY, **variables) as served:
            assert (await served.get("/readyz")).status_code == 200
            await served.stop()
    listed = await shell.run("projects", "list")
    assert (listed.exit_code, "newer than this gateway's" in listed.errors) == (0, True)
    migrated = await shell.run("migrate")
    assert f"schema {newer.HEAD}" in migrated.output


async def test_newer_schema_that_no_longer_serves_us_is_refused_in_words(blank_url: str, tmp_path: Path) -> None:
    await migrate.upgrade(blank_url)
    await newer.upgrade(blank_url, tmp_path, newer.TAKE_AWAY)
    shell = Shell(tmp_path, {"GATEWAY_DATABASE_URL": blank_url})
    for words, migrates in ((("serve",), "on"), (("serve",), "off"), (("projects", "list"), "on")):
        done = await shell.run(*words, **READY, GATEWAY_MIGRATE=migrates)
        assert (done.exit_code, done.output) == (3, "")
        assert f"serves only gateways from {newer.HEAD} on: run a newer gateway" in done.errors


async def test_migration_killed_in_the_middle_is_finished_by_the_next_start(blank_url: str, tmp_path: Path) -> None:
    await migrate.upgrade(blank_url)
    folder = newer.migrations(tmp_path, newer.WAIT)
    await kill_in_the_middle(blank_url, folder)
    assert (await migrate.current(blank_url)).revision == migrate.HEAD
    assert "novelty" not in await tables(blank_url)
    again = await asyncio.create_subprocess_exec(*dying(blank_url, folder), stdin=asyncio.subprocess.DEVNULL)
    assert await asyncio.wait_for(again.wait(), PATIENCE_SECONDS) == 0
    assert (await migrate.current(blank_url)).revision == newer.HEAD
    assert "novelty" in await tables(blank_url)


async def test_making_of_the_tables_killed_in_the_middle_leaves_an_empty_database(blank_url: str) -> None:
    await kill_in_the_middle(blank_url)
    assert await tables(blank_url) == set()
    assert await migrate.upgrade(blank_url) == (None, migrate.HEAD)


async def kill_in_the_middle(url: str, *folder: Path) -> None:
    """Migrate in a process that is killed before its transaction ends."""
    process = await asyncio.create_subprocess_exec(
        *dying(url, *folder), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS) == b"READY\n"
    finally:
        process.kill()
        await process.communicate()


def dying(url: str, *folder: Path) -> tuple[str, ...]:
    return sys.executable, "-m", "tests.store.dying", url, *map(str, folder)


WAITING_FOR_THE_TABLE = """
    SELECT count(*) FROM pg_locks WHERE relation = 'usage'::regclass AND NOT granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


async def tables(url: str) -> set[str]:
    """The names of all tables."""
    database = Database(url)
    try:
        return set(await database.read(lambda connection: inspect(connection).get_table_names()))
    finally:
        await database.close()


@pytest.mark.parametrize("blank_url", [kind for kind in databases.kinds() if kind == "postgres"], indirect=True)
async def test_migration_behind_a_long_read_does_not_hold_up_calls(blank_url: str, tmp_path: Path) -> None:
    await migrate.upgrade(blank_url)
    reader = await asyncpg.connect(postgres_dsn(blank_url))
    writer = await asyncpg.connect(postgres_dsn(blank_url))
    await reader.execute("BEGIN; SELECT count(*) FROM usage")
    upgrade = asyncio.create_task(newer.upgrade(blank_url, tmp_path))
    for _ in range(2):  # it gives way, and tries again
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await writer.fetchval(WAITING_FOR_THE_TABLE):
                continue
            await writer.execute("BEGIN; LOCK TABLE usage IN ROW EXCLUSIVE MODE; COMMIT")
    assert not upgrade.done()
    await reader.execute("COMMIT")
    await asyncio.wait_for(upgrade, PATIENCE_SECONDS)
    assert (await migrate.current(blank_url)).revision == newer.HEAD
    await asyncio.gather(reader.close(), writer.close())


async def test_migration_on_a_database_that_is_away_fails_in_words() -> None:
    with pytest.raises(ServiceUnavailable):
        await migrate.upgrade("postgresql+asyncpg://nobody@127.0.0.1:1/none")
