"""Migrations: brought to their head at start or by `gateway migrate`, under a lock, with a backup of a SQLite file.

Alembic is imported only when there is something to do: a start on a current schema costs one query.
"""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, create_engine, inspect, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.core.errors import ServiceUnavailable
from gateway.store.engine import MESSAGE, is_sqlite, sqlite_path

HEAD = "0001"
"""The newest migration; a test holds it against the folder."""
LOCK = 7_251_961_410
"""Any number that nobody else uses for an advisory lock on this database."""
MONTHS_AHEAD = 3

T = TypeVar("T")


class UnknownSchema(Exception):
    """The database was migrated by a newer gateway than this one."""


async def upgrade(url: str) -> tuple[str | None, str]:
    """Migrate to the head; return the revisions before and after. Raises UnknownSchema, ServiceUnavailable."""
    return await _with_connection(url, lambda connection: _upgrade(connection, url))


async def current(url: str) -> str | None:
    """Return the database's revision, None when it is empty."""
    return await _with_connection(url, _current)


def script_location() -> Path:
    """Return the folder of migrations: inside an installed package, or at the top of a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def add_partitions(connection: Connection, now: datetime) -> None:
    """Make the partitions of this month and the next ones on PostgreSQL; nothing to do on SQLite. Idempotent."""
    if connection.dialect.name != "postgresql":
        return
    month = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for _ in range(MONTHS_AHEAD + 1):
        after = month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)
        bounds = [int(edge.timestamp()) * 1_000_000 for edge in (month, after)]
        connection.execute(
            text(
                f"CREATE TABLE IF NOT EXISTS usage_{month:%Y_%m} PARTITION OF usage "
                f"FOR VALUES FROM ({bounds[0]}) TO ({bounds[1]})"
            )
        )
        month = after


async def _with_connection(url: str, work: Callable[[Connection], T]) -> T:
    if is_sqlite(url):
        _make_private(sqlite_path(url))
        engine = create_engine(make_url(url).set(drivername="sqlite"))
        try:
            with engine.begin() as connection:
                return work(connection)
        except DBAPIError as error:
            raise ServiceUnavailable(MESSAGE) from error
        finally:
            engine.dispose()
    remote = create_async_engine(url)
    try:
        async with remote.begin() as connection:
            return await connection.run_sync(work)
    except (OSError, TimeoutError, DBAPIError) as error:
        raise ServiceUnavailable(MESSAGE) from error
    finally:
        await remote.dispose()


def _make_private(path: Path) -> None:
    """Make a new file, and its folder, for nobody but us: it will hold e-mails, usage and key digests.

    SQLite gives the files beside it the same mode. What is there already keeps its modes.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: Connection, url: str) -> tuple[str | None, str]:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    before = _current(connection)
    if before is not None and before > HEAD:
        raise UnknownSchema(
            f"The database has schema {before}, newer than this gateway's {HEAD}: run the newer gateway."
        )
    if before != HEAD:
        if before is not None and is_sqlite(url):
            _back_up(sqlite_path(url), before)
        _run_alembic(connection)
    add_partitions(connection, datetime.now(UTC))
    return before, HEAD


def _run_alembic(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - a third of a second that a start on a current schema saves
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", str(script_location()))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _back_up(path: Path, before: str) -> None:
    """Copy the file beside itself before its schema changes."""
    copy = path.with_name(f"{path.name}.before-{before}-{datetime.now(UTC):%Y%m%dT%H%M%S}")
    connection = sqlite3.connect(path)
    try:
        connection.execute("VACUUM INTO ?", (str(copy),))
    finally:
        connection.close()
