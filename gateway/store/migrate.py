"""Migrations: brought to their head at start or by `gateway migrate`, under a lock, with a backup of a SQLite file.

All that is pending is one transaction, on SQLite too: a process that is killed in the middle leaves the schema as it
was. Alembic is imported only to migrate what is there: a start on a current schema costs a few small queries, and an
empty database is made from the declared tables.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import greenlet_spawn

from gateway.core.errors import ServiceUnavailable
from gateway.store import metadata, schema
from gateway.store.engine import MESSAGE, is_sqlite, postgres_engine, sqlite_path
from gateway.store.schema import Schema

HEAD = "0002"
"""The newest migration; a test holds it against the folder."""
LOCK = 7_251_961_410
"""Any number that nobody else uses for an advisory lock on this database."""
MONTHS_AHEAD = 3
MICROSECONDS = 1_000_000

LOCK_WAIT = "500ms"
"""The longest that a change of schema waits for a table on PostgreSQL: who calls meanwhile stands in line behind it."""
ATTEMPTS = 20
RETRY_SECONDS = 1.0
LOCK_NOT_AVAILABLE = "55P03"

T = TypeVar("T")

log = logging.getLogger(__name__)


class UnknownSchema(Exception):
    """A newer gateway changed the schema so that this one can no longer work on it."""


async def upgrade(url: str, *, head: str = HEAD, folder: Path | None = None) -> tuple[str | None, str]:
    """Migrate to the head; return the revisions before and after. Raises UnknownSchema, ServiceUnavailable.

    A newer schema that still serves this gateway stays as it is. `folder` has migrations that are not our own.
    """
    attempts = ATTEMPTS
    while True:
        try:
            return await _with_connection(url, lambda connection: _upgrade(connection, url, head, folder), writes=True)
        except ServiceUnavailable as error:
            attempts -= 1
            driver_error = getattr(error.__cause__, "orig", None)
            if not attempts or getattr(driver_error, "sqlstate", None) != LOCK_NOT_AVAILABLE:
                raise
            log.info("a table is in use, the migration tries again")
            await asyncio.sleep(RETRY_SECONDS)


async def current(url: str) -> Schema:
    """Return what the database says of its schema. Raises ServiceUnavailable."""
    return await _with_connection(url, schema.read, writes=False)


def accept(present: Schema, head: str = HEAD) -> None:
    """Raise UnknownSchema for a newer schema that no longer serves a gateway of this head; note one that does."""
    if not present.is_ahead(head):
        return
    newer = f"The database has schema {present.revision}, newer than this gateway's {head}"
    if not present.serves(head):
        raise UnknownSchema(f"{newer}, and serves only gateways from {present.oldest_code} on: run a newer gateway.")
    log.warning("%s, which it still serves.", newer)


def script_location() -> Path:
    """Return the folder of migrations: inside an installed package, or at the top of a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def add_partitions(connection: Connection, now: datetime) -> None:
    """Make the partitions of this month and the next ones on PostgreSQL; nothing to do on SQLite. Idempotent."""
    if connection.dialect.name != "postgresql":
        return
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'"))
    at_us = int(now.timestamp()) * MICROSECONDS
    for _ in range(MONTHS_AHEAD + 1):
        start, end = month_of(at_us)
        connection.execute(text(partition_of(start)))
        at_us = end * MICROSECONDS


def month_of(at_us: int) -> tuple[int, int]:
    """Return the first second of a moment's month and of the next one; the moment is in Unix microseconds."""
    day = datetime.fromtimestamp(at_us // MICROSECONDS, UTC)
    start = day.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    return int(start.timestamp()), int(end.timestamp())


def partition_of(month: int) -> str:
    """Return the statement that makes a month's partition unless it is there; `month` is its first second."""
    start, end = month_of(month * MICROSECONDS)
    return (
        f"CREATE TABLE IF NOT EXISTS usage_{datetime.fromtimestamp(start, UTC):%Y_%m} PARTITION OF usage "
        f"FOR VALUES FROM ({start * MICROSECONDS}) TO ({end * MICROSECONDS})"
    )


async def _with_connection(url: str, work: Callable[[Connection], T], *, writes: bool) -> T:
    """Run work in one transaction, which takes SQLite's write lock at its beginning if it `writes`."""
    if is_sqlite(url):
        _make_private(sqlite_path(url))
        engine = _transactional(create_engine(make_url(url).set(drivername="sqlite")), writes=writes)
    else:
        engine = postgres_engine(url, {})

    def transact() -> T:
        try:
            with engine.begin() as connection:
                return work(connection)
        finally:
            engine.dispose()

    try:
        return await greenlet_spawn(transact)
    except (OSError, TimeoutError, DBAPIError) as error:
        raise ServiceUnavailable(MESSAGE) from error


def _transactional(engine: Engine, *, writes: bool) -> Engine:
    """Begin transactions ourselves: by default Python's driver begins none for a CREATE or an ALTER."""

    @event.listens_for(engine, "connect")
    def connected(raw: sqlite3.Connection, _record: object) -> None:
        raw.isolation_level = None

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _make_private(path: Path) -> None:
    """Make a new file, and its folder, for nobody but us: it will hold e-mails, usage and key digests.

    SQLite gives the files beside it the same mode. What is there already keeps its modes.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)


def _upgrade(connection: Connection, url: str, head: str, folder: Path | None) -> tuple[str | None, str]:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'"))
    present = schema.read(connection)
    accept(present, head)
    if present.revision is None and folder is None:
        metadata.create(connection, head)
    elif present.is_behind(head):
        if present.revision is not None and is_sqlite(url):
            _back_up(sqlite_path(url), present.revision)
        _run_alembic(connection, folder or script_location())
    add_partitions(connection, datetime.now(UTC))
    return present.revision, max(head, present.revision or head)


def _run_alembic(connection: Connection, folder: Path) -> None:
    from alembic import command  # noqa: PLC0415 - a third of a second that most starts save
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _back_up(path: Path, before: str) -> None:
    """Copy the file beside itself before its schema changes."""
    copy = path.with_name(f"{path.name}.before-{before}-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}")
    connection = sqlite3.connect(path)
    try:
        connection.execute("VACUUM INTO ?", (str(copy),))
    finally:
        connection.close()
