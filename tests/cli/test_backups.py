"""A backup is made while the gateway serves, and restored into either database; a database is copied into the other."""

# ruff: noqa: E501 - a statement stands on a line

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from gateway.cli.backup import back_up
from gateway.cli.copy import copy_database
from gateway.cli.failures import CommandError
from gateway.cli.restore import restore
from gateway.core.limits import Interval, Metric
from gateway.ledger.entries import Figures
from gateway.settings import Settings
from gateway.store import audit_log, backups, migrate
from gateway.store.engine import Connection, Database, is_sqlite, sqlite_path
from gateway.store.transfer import CARRIED
from tests import databases, newer, older
from tests.cli.shell import Shell
from tests.events import completion
from tests.gateway import RunningGateway, running_gateway
from tests.ledger.running import on_sqlite
from tests.patience import PATIENCE_SECONDS
from tests.provider import Provider, compose
from tests.team import Team, call, running_team

JSON = {"content-type": "application/json"}
LIMITS = [(Metric.REQUESTS, Interval.DAY, 100), (Metric.CONCURRENCY, None, 5), (Metric.COST, Interval.MONTH, 10**12)]
Everything = dict[str, list[tuple[object, ...]]]


@pytest.fixture
async def serving(database_url: str, provider: Provider, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A gateway that answers."""
    provider.always(lambda _request: compose(200, JSON, completion()))
    async with running_gateway(database_url, provider, tmp_path / "first") as running:
        yield running


async def everything(url: str) -> Everything:
    """All rows of all tables."""

    def work(connection: Connection) -> Everything:
        return {table.name: sorted(map(tuple, connection.execute(select(table))), key=repr) for table in CARRIED}

    async with opened(url) as database:
        return await database.read(work)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    try:
        yield database
    finally:
        await database.close()


async def run(url: str, statement: str) -> None:
    def work(connection: Connection) -> None:
        connection.execute(text(statement))

    async with opened(url) as database:
        await database.write(work)


async def test_backup_of_a_serving_gateway_is_restored_into_either_database(
    serving: RunningGateway, database_url: str, blank_url: str, provider: Provider, tmp_path: Path
) -> None:
    key = await serving.key(limits=LIMITS)
    for _ in range(3):
        assert (await serving.chat(key)).status_code == 200
    before = await everything(database_url)
    hanging = asyncio.Event()
    provider.answer(200, JSON, [hanging, completion()])
    open_call = asyncio.create_task(serving.chat(key))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (await everything(database_url))["hold"]:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.01)
    before_open = (await everything(database_url))["hold"][0][0]

    made = await back_up(Settings(database_url, tmp_path), tmp_path / "backup.db")

    hanging.set()
    await open_call
    assert (made.rows["usage"], made.rows["hold"], made.schema) == (3, 1, migrate.HEAD)
    assert (tmp_path / "backup.db").stat().st_mode & 0o777 == 0o600
    restored = await restore(Settings(blank_url, tmp_path / "second"), tmp_path / "backup.db")
    assert (restored.voided_calls, restored.faults, restored.kept) == (1, [], None)
    after = await everything(blank_url)
    same = ("usage", "usage_hour", "usage_day", "api_key", "api_key_secret", "project", "user", "limit")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert after["hold"] == after["hold_item"] == after["owner"] == []
    (voided,) = [event for event in await events(blank_url) if event.after == {"voided": "restore"}]
    assert voided.id == before_open
    async with running_gateway(blank_url, provider, tmp_path / "third") as again:
        provider.always(lambda _request: compose(200, JSON, completion()))
        assert (await again.chat(key)).status_code == 200
        assert len(await again.usage(4)) == 4
        await again.audit()


async def events(url: str) -> list[audit_log.Detail]:
    """The details of all events on record."""

    def work(connection: Connection) -> list[audit_log.Detail]:
        details = connection.execute(select(audit_log.audit_log.c.detail)).scalars()
        return [msgspec.json.decode(detail, type=audit_log.Detail) for detail in details]

    async with opened(url) as database:
        return await database.read(work)


async def test_backup_under_traffic_is_of_one_moment(
    serving: RunningGateway, database_url: str, tmp_path: Path
) -> None:
    key = await serving.key(limits=LIMITS)
    goes_on = True

    async def traffic() -> None:
        while goes_on:
            assert (await serving.chat(key)).status_code in (200, 429)

    callers = [asyncio.create_task(traffic()) for _ in range(4)]
    await serving.usage(3)
    for number in range(3):
        file = tmp_path / f"backup{number}.db"
        await back_up(Settings(database_url, tmp_path), file)
        folder = tmp_path / f"restored{number}"
        restored = await restore(Settings(backups.url_of(folder / "gateway.db"), folder), file)
        assert restored.faults == []
    goes_on = False
    await asyncio.gather(*callers)


async def test_restore_replaces_data_only_when_told(database_url: str, blank_url: str, tmp_path: Path) -> None:
    async with running_team(database_url) as team:
        await team.settle(call("req_1", time.time(), Figures(1, 1, 10, cost_nano_usd=5)))
    await back_up(Settings(database_url, tmp_path), tmp_path / "backup.db")
    target = Settings(blank_url, tmp_path / "target")
    await migrate.upgrade(blank_url)
    await run(blank_url, "INSERT INTO project (id, name, created_at) VALUES ('proj_old', 'Old', 1)")
    await run(blank_url, "UPDATE revision SET value = 900")
    await run(
        blank_url,
        "INSERT INTO audit_log (id, effective_at, type, actor, detail) VALUES ('audit_log-old', 1, 'project.created', 'cli', '{}')",
    )
    before = await everything(blank_url)
    with pytest.raises(CommandError, match="--overwrite"):
        await restore(target, tmp_path / "backup.db")
    assert await everything(blank_url) == before

    restored = await restore(target, tmp_path / "backup.db", overwrite=True)

    after = await everything(blank_url)
    assert [row[0] for row in after["project"]] == ["proj_1", "proj_2"]
    assert after["revision"] == [(1, 901)]
    assert "audit_log-old" not in {row[0] for row in after["audit_log"]}
    if not is_sqlite(blank_url):
        with pytest.raises(DBAPIError, match="append-only"):
            await run(blank_url, "TRUNCATE audit_log")
    if is_sqlite(blank_url):
        assert restored.kept is not None
        assert [row[0] for row in (await everything(f"sqlite+aiosqlite:///{restored.kept}"))["project"]] == ["proj_old"]
    assert leftovers(tmp_path) == []


def leftovers(folder: Path) -> list[Path]:
    return list(folder.rglob(".restore-*"))


async def test_restore_and_copy_are_refused_while_a_gateway_serves(
    serving: RunningGateway, database_url: str, tmp_path: Path
) -> None:
    settings = Settings(database_url, tmp_path)
    await back_up(settings, tmp_path / "backup.db")
    with pytest.raises(CommandError, match=r"A gateway serves on the database: its lease is \d+ s old"):
        await restore(settings, tmp_path / "backup.db", overwrite=True)
    with pytest.raises(CommandError, match="A gateway serves on the source"):
        await copy_database(settings, backups.url_of(tmp_path / "copy.db"))
    assert not (tmp_path / "copy.db").exists()
    assert (await serving.chat(await serving.key())).status_code == 200


async def test_lease_is_given_back_at_the_end_so_that_a_copy_can_begin_at_once(
    database_url: str, provider: Provider, tmp_path: Path
) -> None:
    provider.always(lambda _request: compose(200, JSON, completion()))
    async with running_gateway(database_url, provider, tmp_path / "first") as gateway:
        assert (await gateway.chat(await gateway.key())).status_code == 200
    assert (await everything(database_url))["owner"] == []
    copied = await copy_database(Settings(database_url, tmp_path), backups.url_of(tmp_path / "copy.db"))
    assert copied.rows["usage"] == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"nothing of the kind", "not a SQLite database"), (b"SQLite format 3\0" + b"x" * 5_000, "is not a backup")],
)
async def test_restore_of_something_else_is_refused_in_words(
    sqlite_url: str, tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(CommandError, match=words):
        await restore(Settings(sqlite_url, tmp_path), tmp_path / "file")
    with pytest.raises(CommandError, match="No such file"):
        await restore(Settings(sqlite_url, tmp_path), tmp_path / "none")


@on_sqlite
async def test_restore_of_a_newer_gateways_backup_is_refused(database_url: str, tmp_path: Path) -> None:
    settings = Settings(database_url, tmp_path)
    await newer.upgrade(database_url, tmp_path / "newer", newer.TAKE_AWAY)
    await asyncio.to_thread(backups.copy_file, sqlite_path(database_url), tmp_path / "backup.db")
    with pytest.raises(CommandError, match="run a newer gateway"):
        await restore(settings, tmp_path / "backup.db", overwrite=True)


async def test_restore_of_an_older_backup_migrates_it(blank_url: str, tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    await older.upgrade(backups.url_of(old), tmp_path)
    await run(backups.url_of(old), "INSERT INTO project (id, name, created_at) VALUES ('proj_old', 'Old', 1)")
    restored = await restore(Settings(blank_url, tmp_path / "target"), old)
    assert (restored.schema, restored.rows["project"], restored.faults) == (migrate.HEAD, 1, [])
    assert (await migrate.current(blank_url)).revision == migrate.HEAD


@asynccontextmanager
async def filled(url: str) -> AsyncIterator[Team]:
    """A ledger with two years' calls, limits, an open call, and something in every other table."""
    async with running_team(url) as team:
        now = int(time.time())
        await team.limit(10**12)
        await team.limit(10**12, interval=Interval.MONTH)
        calls = [
            call(f"req_{i}", now - i * 40 * 86_400, Figures(1, 1, i, output_tokens=2, cost_nano_usd=i))
            for i in range(18)
        ]
        await team.settle(*calls)
        for statement in EXTRAS:
            await run(url, statement.format(now_us=now * 1_000_000))
        await team.database.write(fill_the_rest)
        yield team


def fill_the_rest(connection: Connection) -> None:
    """Put a row into each table that has none: whatever tables there come to be, a copy must carry them."""
    for table in CARRIED:
        if connection.execute(select(table).limit(1)).first() is None:
            values: dict[str, object] = {}
            for column in table.columns:
                elsewhere = next(iter(column.foreign_keys), None)
                if elsewhere is not None:
                    values[column.name] = connection.execute(select(elsewhere.column).limit(1)).scalar()
                else:
                    values[column.name] = 1 if column.type.python_type is int else "x"
            connection.execute(table.insert().values(values))


EXTRAS = (
    "INSERT INTO service_account (id, project_id, name, role, created_at) VALUES ('svc_1', 'proj_1', 'bot', 'member', 1)",
    "INSERT INTO provider_object (upstream, external_id, project_id, api_key_id, kind, created_at)"
    " VALUES ('main', 'resp_1', 'proj_1', 'key_1', 'responses', 1)",
    "INSERT INTO model_permissions (project_id, mode, model_ids) VALUES ('proj_1', 'deny_list', '[\"o3\"]')",
    "INSERT INTO retention (id, kept_since) VALUES (1, 86400)",
    "INSERT INTO hold (request_id, owner, admitted_at_us, api_key_id, project_id, user_id, operation, model,"
    " requested_model, upstream, input_tokens, input_rate, output_rate)"
    " VALUES ('req_open', 'gone', {now_us}, 'key_1', 'proj_1', 'user_1', 'chat', 'm', 'm', 'main', 7, 1, 1)",
    "INSERT INTO hold_item VALUES ('req_open', 'lim_key_1_lifetime', 0, 5)",
    "UPDATE counter SET held = 5 WHERE limit_id = 'lim_key_1_lifetime'",
    "INSERT INTO job VALUES ('req_job', 'responses', 'main', 'resp_1', '{{}}', 0, 1, 1)",
    "INSERT INTO owner VALUES ('gone', 1)",
    "INSERT INTO audit_log (id, effective_at, type, actor, detail) VALUES ('audit_1', 1, 'project.created', 'cli',"
    ' \'{{"id":"proj_1"}}\')',
)


async def test_copy_has_every_row_and_serves_at_once(
    database_url: str, blank_url: str, provider: Provider, tmp_path: Path
) -> None:
    async with filled(database_url) as team:
        text_of_key = team.texts["key_1"]
    before = await everything(database_url)
    assert [name for name, rows in before.items() if not rows] == []

    copied = await copy_database(Settings(database_url, tmp_path), blank_url)

    after = await everything(blank_url)
    assert after == before == await everything(database_url)
    assert copied.rows == {name: len(rows) for name, rows in before.items()}
    if not is_sqlite(blank_url):
        async with opened(blank_url) as database:
            strays = await database.read(lambda c: c.execute(text("SELECT count(*) FROM usage_default")).scalar())
        assert strays == 0
    async with running_gateway(blank_url, provider, tmp_path / "served", retention_days=0) as gateway:
        provider.always(lambda _request: compose(200, JSON, completion()))
        assert (await gateway.chat(text_of_key)).status_code == 200
        # The new call, and the one that was open: its process is gone, so it is swept at once or after its lease.
        assert len(await gateway.usage(19)) >= 19


async def test_copy_replaces_data_only_when_told(database_url: str, blank_url: str, tmp_path: Path) -> None:
    async with filled(database_url):
        pass
    await migrate.upgrade(blank_url)
    await run(blank_url, "INSERT INTO project (id, name, created_at) VALUES ('proj_old', 'Old', 1)")
    settings = Settings(database_url, tmp_path)
    with pytest.raises(CommandError, match="The target has data"):
        await copy_database(settings, blank_url)
    await copy_database(settings, blank_url, overwrite=True)
    assert await everything(blank_url) == await everything(database_url)


async def test_copy_of_a_ledger_that_is_off_is_refused(database_url: str, blank_url: str, tmp_path: Path) -> None:
    async with filled(database_url):
        await run(database_url, "UPDATE counter SET used = used + 1 WHERE limit_id = 'lim_key_1_lifetime'")
    with pytest.raises(CommandError, match=r"source is not in order: used: limit lim_key_1_lifetime.*audit --repair"):
        await copy_database(Settings(database_url, tmp_path), blank_url)


@on_sqlite
@pytest.mark.parametrize("blank_url", [kind for kind in databases.kinds() if kind == "postgres"], indirect=True)
async def test_copy_that_postgresql_refuses_leaves_the_target_as_it_was(
    database_url: str, blank_url: str, tmp_path: Path
) -> None:
    async with filled(database_url):
        pass
    connection = sqlite3.connect(sqlite_path(database_url))
    with connection:
        connection.execute("UPDATE provider_object SET kind = ?", ("a\0b",))
    connection.close()
    await migrate.upgrade(blank_url)
    await run(blank_url, "INSERT INTO project (id, name, created_at) VALUES ('proj_old', 'Old', 1)")
    before = await everything(blank_url)
    with pytest.raises(CommandError, match="Nothing was copied: provider_object: PostgreSQL does not take a row"):
        await copy_database(Settings(database_url, tmp_path), blank_url, overwrite=True)
    assert await everything(blank_url) == before


async def test_commands_print_what_they_did(team_shell: Shell, tmp_path: Path) -> None:
    async with filled(team_shell.variables["GATEWAY_DATABASE_URL"]):
        pass
    made = await team_shell.run("backup", "backup.db")
    assert (made.exit_code, made.errors) == (0, "")
    assert "Backed up to backup.db: 18 usage records, 2 keys, 1 open calls" in made.output
    again = await team_shell.run("backup", "backup.db")
    assert (again.exit_code, "--overwrite" in again.errors) == (1, True)
    elsewhere = Shell(tmp_path, {"GATEWAY_DATA_DIR": str(tmp_path / "elsewhere")})
    restored = await elsewhere.run("restore", "backup.db")
    assert (restored.exit_code, restored.errors) == (0, "")
    assert "Restored 18 usage records and 2 keys" in restored.output
    assert "1 calls that were open in the backup are voided." in restored.output
    copied = await elsewhere.run("copy", "--to", f"sqlite+aiosqlite:///{tmp_path / 'copied.db'}")
    assert (copied.exit_code, copied.errors) == (0, "")
    assert "Copied 18 usage records, 2 keys, 2 limits. The ledger is in order on both sides." in copied.output
    wrong = await elsewhere.run("copy", "--to", "mysql://nowhere")
    assert (wrong.exit_code, "must begin with" in wrong.errors) == (2, True)
