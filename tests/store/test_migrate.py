"""Migrations: the folder's head is the one that the code knows, and leads to exactly the tables that the code has."""

import asyncio
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Index, MetaData, Table, create_engine, insert, inspect, select, table, text
from sqlalchemy.schema import SchemaItem

from gateway.store import migrate
from gateway.store.engine import Connection, Database
from gateway.store.metadata import metadata
from tests import databases, older
from tests.store.described import described

PARTITIONS = ("usage_default", "usage_2")
JSON = '{"id":"x"}'
"""A text that any text column takes, an event's detail too."""
T = TypeVar("T")
Rows = dict[str, dict[str, object]]


def differences(connection: Connection) -> list[object]:
    def is_ours(thing: SchemaItem, name: str | None, kind: str, _reflected: bool, _compared: object) -> bool:
        if isinstance(thing, Index) and thing.dialect_options["postgresql"]["using"]:
            return connection.dialect.name == "postgresql"
        return kind != "table" or name is None or not name.startswith(PARTITIONS)

    context = MigrationContext.configure(connection, opts={"include_object": is_ours})
    return list(compare_metadata(context, metadata))


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrate.script_location()))
    config.set_main_option("path_separator", "os")
    return config


def test_head_is_the_newest_migration_of_the_folder() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [migrate.HEAD]


@pytest.mark.parametrize("kind", databases.kinds())
def test_empty_database_is_made_as_the_migrations_make_it(kind: str, tmp_path: Path) -> None:
    with databases.blank(kind, tmp_path, "made") as made, databases.blank(kind, tmp_path, "migrated") as migrated:
        asyncio.run(migrate.upgrade(made))
        asyncio.run(migrate.upgrade(migrated, folder=migrate.script_location()))
        schemas = [asyncio.run(using(url, lambda database: database.read(described))) for url in (made, migrated)]
        assert schemas[0] == schemas[1]
        assert asyncio.run(using(migrated, lambda database: database.read(differences))) == []


async def test_upgrade_of_the_first_schema_keeps_every_row(blank_url: str, tmp_path: Path) -> None:
    await older.upgrade(blank_url, tmp_path)
    before = await using(blank_url, lambda database: database.write(fill))
    assert await migrate.upgrade(blank_url) == (older.FIRST, migrate.HEAD)
    after = await using(blank_url, lambda database: database.read(rows))
    assert {name: {column: after[name][column] for column in row} for name, row in before.items()} == before
    assert after["audit_log"]["resource_id"] == "x"


def fill(connection: Connection) -> Rows:
    """Put a row into each table that has none, of whatever schema; return all rows."""
    for name in ours(connection):
        table = Table(name, MetaData(), autoload_with=connection)
        values = {
            column.name: 1 if column.type.python_type is int else b"x" if column.type.python_type is bytes else JSON
            for column in table.columns
            if not column.nullable or column.name == "user_id"
        }
        if not connection.execute(select(table)).first():
            connection.execute(insert(table).values(values))
    return rows(connection)


def rows(connection: Connection) -> Rows:
    """The one row of each table that has one."""
    found = {
        name: connection.execute(select(text("*")).select_from(table(name))).mappings().all()
        for name in ours(connection)
    }
    return {name: dict(row) for name, all_rows in found.items() for row in all_rows}


def ours(connection: Connection) -> list[str]:
    """Our tables that are there, those first that others refer to."""
    present = set(inspect(connection).get_table_names())
    return [table.name for table in metadata.sorted_tables if table.name in present]


async def using(url: str, work: Callable[[Database], Awaitable[T]]) -> T:
    database = Database(url)
    try:
        return await work(database)
    finally:
        await database.close()


async def test_gateway_before_the_newest_migration_can_still_write_its_rows(tmp_path: Path) -> None:
    """What the newest one adds to a table that was there, its INSERTs do not name."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'gateway.db'}"
    engine = create_engine(f"sqlite:///{tmp_path / 'gateway.db'}")
    with engine.begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head-1")
        before = columns(connection)
    await migrate.upgrade(url)
    with engine.begin() as connection:
        after = columns(connection)
    engine.dispose()
    required = {
        f"{table}.{column}"
        for table, found in after.items()
        for column, can_be_left_out in found.items()
        if table in before and column not in before[table] and not can_be_left_out
    }
    assert required == set()


def columns(connection: Connection) -> dict[str, dict[str, bool]]:
    """Table -> column -> whether an INSERT may leave it out."""
    inspector = inspect(connection)
    return {
        table: {
            column["name"]: column["nullable"] or column["default"] is not None
            for column in inspector.get_columns(table)
        }
        for table in inspector.get_table_names()
    }


async def test_second_upgrade_changes_nothing(database_url: str) -> None:
    assert await migrate.upgrade(database_url) == (migrate.HEAD, migrate.HEAD)


async def test_new_sqlite_file_is_for_nobody_but_us(tmp_path: Path) -> None:
    file = tmp_path / "data" / "gateway.db"
    await migrate.upgrade(f"sqlite+aiosqlite:///{file}")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
