"""All rows of one database carried into another, of either kind: whole or not at all.

The source is read as it was at one moment, a page after the other by key, so memory stays flat and others go on using
it. The target takes everything in one transaction. The schema's own rows stay the target's: both are at one schema.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import asyncpg
from sqlalchemy import Connection, Table, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from gateway.core.errors import ServiceUnavailable
from gateway.store import migrate
from gateway.store.engine import MESSAGE, is_sqlite, postgres_dsn, sqlite_path, unavailable_when_away
from gateway.store.metadata import TABLES, metadata
from gateway.store.schema import compatibility
from gateway.store.usage import usage

AT_ONCE = 5_000
CONNECT_SECONDS = 10
LOCK_SECONDS = 10
CARRIED: tuple[Table, ...] = tuple(table for table in metadata.sorted_tables if table is not compatibility)
"""In an order in which no row comes before one that it points to."""
FILLED = ("admin_api_key", "api_key", "audit_log", "hold", "job", "limit", "project", "usage", "usage_hour", "user")
"""Any row in one of these makes a database one with data."""

Rows = Sequence[Sequence[Any]]


class TransferFailed(Exception):
    """The target cannot hold what the source has; it is as it was."""


class Snapshot:
    """A database as it was at one moment."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def pages(self, table: Table) -> AsyncIterator[Rows]:
        """Return all rows in the order of their key, AT_ONCE at a time."""
        keys = list(table.primary_key.columns)
        places = [list(table.columns).index(key) for key in keys]
        query = select(table).order_by(*keys).limit(AT_ONCE)
        after: tuple[Any, ...] | None = None
        while True:
            rows = (
                await self._connection.execute(query if after is None else query.where(tuple_(*keys) > after))
            ).all()
            if rows:
                yield rows
            if len(rows) < AT_ONCE:
                return
            after = tuple(rows[-1][place] for place in places)

    async def months(self) -> list[int]:
        """Return the starts of the months, in Unix seconds, that have usage records."""
        return await self._connection.run_sync(_months)


@asynccontextmanager
async def snapshot(url: str) -> AsyncIterator[Snapshot]:
    """Read a database at one moment. Raises ServiceUnavailable."""
    engine = create_async_engine(url)
    try:
        with unavailable_when_away():
            async with engine.connect() as connection:
                if is_sqlite(url):
                    await connection.exec_driver_sql("PRAGMA query_only=ON")
                    await connection.exec_driver_sql("PRAGMA wal_autocheckpoint=0")
                    await connection.exec_driver_sql("BEGIN")
                else:
                    await connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                yield Snapshot(connection)
    finally:
        await engine.dispose()


class Target(Protocol):
    """A database in the middle of the one transaction that fills it."""

    async def clear(self) -> None:
        """Remove all rows."""

    async def open_months(self, months: Iterable[int]) -> None:
        """Make room for the usage records of these months."""

    async def insert(self, table: Table, rows: Rows) -> None:
        """Add rows. Raises TransferFailed."""

    async def count(self, table: Table) -> int:
        """Return how many rows a table has."""


async def carry(source: Snapshot, url: str) -> Mapping[str, int]:
    """Fill a migrated database with all rows of the source, in place of its own; return how many, by table.

    Raises ServiceUnavailable, TransferFailed; then the target is as it was.
    """
    carried: dict[str, int] = {}
    async with _target(url) as target:
        await target.clear()
        await target.open_months(await source.months())
        for table in CARRIED:
            rows = 0
            async for page in source.pages(table):
                await target.insert(table, page)
                rows += len(page)
            if await target.count(table) != rows:
                raise TransferFailed(f"{table.name}: {rows:,} rows were sent, another number arrived.")
            carried[table.name] = rows
    return carried


def has_data(connection: Connection) -> bool:
    """Tell whether anybody used this database yet."""
    names = {table.name: table for table in TABLES}
    return any(connection.execute(select(names[name]).limit(1)).first() is not None for name in FILLED)


def counts(connection: Connection) -> dict[str, int]:
    """Return how many rows each table has."""
    return {table.name: connection.execute(select(func.count()).select_from(table)).scalar_one() for table in CARRIED}


def _months(connection: Connection) -> list[int]:
    found: list[int] = []
    query = select(func.min(usage.c.admitted_at_us))
    first = connection.execute(query).scalar()
    while first is not None:
        start, end = migrate.month_of(int(first))
        found.append(start)
        first = connection.execute(query.where(usage.c.admitted_at_us >= end * 1_000_000)).scalar()
    return found


@asynccontextmanager
async def _target(url: str) -> AsyncIterator[Target]:
    if is_sqlite(url):
        async with _sqlite_target(url) as target:
            yield target
        return
    try:
        connection = await asyncpg.connect(postgres_dsn(url), timeout=CONNECT_SECONDS)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise ServiceUnavailable(MESSAGE) from error
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
            yield PostgresTarget(connection)
        await connection.execute("ANALYZE")
    except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError) as error:
        raise ServiceUnavailable(MESSAGE) from error
    except asyncpg.LockNotAvailableError as error:
        raise ServiceUnavailable("The target's tables are in use; try again.") from error
    finally:
        connection.terminate()


class PostgresTarget:
    """PostgreSQL, filled by COPY."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection

    async def clear(self) -> None:
        names = ", ".join(f'"{table.name}"' for table in CARRIED)
        # The audit log lets itself be emptied by nobody else: others see its guards off at no time.
        await self._connection.execute(
            f"ALTER TABLE audit_log DISABLE TRIGGER USER; TRUNCATE {names}; ALTER TABLE audit_log ENABLE TRIGGER USER"
        )

    async def open_months(self, months: Iterable[int]) -> None:
        for month in months:
            await self._connection.execute(migrate.partition_of(month))

    async def insert(self, table: Table, rows: Rows) -> None:
        columns = [column.name for column in table.columns]
        try:
            await self._connection.copy_records_to_table(table.name, records=map(tuple, rows), columns=columns)
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError) as error:
            raise TransferFailed(f"{table.name}: PostgreSQL does not take a row: {error}") from error

    async def count(self, table: Table) -> int:
        found = await self._connection.fetchval(f'SELECT count(*) FROM "{table.name}"')  # noqa: S608 - our own names
        return int(found)


@asynccontextmanager
async def _sqlite_target(url: str) -> AsyncIterator["SqliteTarget"]:
    connection = sqlite3.connect(sqlite_path(url), isolation_level=None, check_same_thread=False)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield SqliteTarget(connection)
        await asyncio.to_thread(connection.execute, "COMMIT")
    except sqlite3.OperationalError as error:
        raise ServiceUnavailable(MESSAGE) from error
    finally:
        connection.close()


class SqliteTarget:
    """A SQLite file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def clear(self) -> None:
        for table in reversed(CARRIED):
            await asyncio.to_thread(self._connection.execute, f'DELETE FROM "{table.name}"')  # noqa: S608 - as below

    async def open_months(self, months: Iterable[int]) -> None:
        """There are no partitions."""

    async def insert(self, table: Table, rows: Rows) -> None:
        names = ", ".join(f'"{column.name}"' for column in table.columns)
        marks = ", ".join("?" * len(table.columns))
        statement = f'INSERT INTO "{table.name}" ({names}) VALUES ({marks})'  # noqa: S608 - names of our own tables
        try:
            await asyncio.to_thread(self._connection.executemany, statement, list(map(tuple, rows)))
        except sqlite3.IntegrityError as error:
            raise TransferFailed(f"{table.name}: SQLite does not take a row: {error}") from error

    async def count(self, table: Table) -> int:
        found = self._connection.execute(f'SELECT count(*) FROM "{table.name}"').fetchone()  # noqa: S608 - as above
        return int(found[0])
