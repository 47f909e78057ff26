"""Migrations: the folder's head is the one that the code knows, and leads to exactly the tables that the code has."""

import stat
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from gateway.store import migrate
from gateway.store.engine import Connection, Database
from gateway.store.metadata import metadata

PARTITIONS = ("usage_default", "usage_2")


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"include_object": _is_ours})
    return list(compare_metadata(context, metadata))


def _is_ours(_object: object, name: str | None, kind: str, _reflected: bool, _compared: object) -> bool:
    return kind != "table" or name is None or not name.startswith(PARTITIONS)


def test_head_is_the_newest_migration_of_the_folder() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate.script_location()))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [migrate.HEAD]


async def test_migrated_schema_is_that_of_the_tables(database_url: str) -> None:
    database = Database(database_url)
    assert await database.read(differences) == []
    await database.close()


async def test_second_upgrade_changes_nothing(database_url: str) -> None:
    assert await migrate.upgrade(database_url) == (migrate.HEAD, migrate.HEAD)


async def test_newer_schema_than_ours_is_refused(database_url: str) -> None:
    database = Database(database_url)

    def pretend(connection: Connection) -> None:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    await database.write(pretend)
    with pytest.raises(migrate.UnknownSchema, match="9999"):
        await migrate.upgrade(database_url)
    await database.close()


async def test_new_sqlite_file_is_for_nobody_but_us(tmp_path: Path) -> None:
    file = tmp_path / "data" / "gateway.db"
    await migrate.upgrade(f"sqlite+aiosqlite:///{file}")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
