"""Real databases for tests: one is migrated per kind and run, and each test gets it empty.

A SQLite file is copied. A PostgreSQL database is emptied after each test: a fifth of a second faster than a copy.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
from sqlalchemy import delete, make_url

from gateway.store.metadata import metadata
from gateway.store.migrate import upgrade
from gateway.store.schema import compatibility
from tests.patience import PATIENCE_SECONDS

POSTGRES_URL = os.environ.get("GATEWAY_TEST_POSTGRES_URL") or "postgresql+asyncpg://postgres@127.0.0.1:5432/postgres"
# A process that a test left behind must neither lock nor write.
EMPTY = "; ".join(
    (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        # The audit log lets nothing be deleted.
        "SET session_replication_role = replica",
        *(str(delete(table)) for table in reversed(metadata.sorted_tables) if table is not compatibility),
        "INSERT INTO revision (id, value) VALUES (1, 1)",
    )
)


def kinds() -> tuple[str, ...]:
    """Return the databases that tests run on: PostgreSQL too when one answers."""
    try:
        asyncio.run(_execute("SELECT 1"))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return ("sqlite",)
    return ("sqlite", "postgres")


@contextmanager
def template(kind: str, folder: Path) -> Iterator[str]:
    """Migrate a database to copy from; give its URL."""
    with blank(kind, folder, "template") as url:
        asyncio.run(upgrade(url))
        yield url


@contextmanager
def blank(kind: str, folder: Path, name: str) -> Iterator[str]:
    """Make a database without a schema, for this run alone; give its URL."""
    if kind == "sqlite":
        yield f"sqlite+aiosqlite:///{folder / name}.sqlite"
        return
    own_name = f"gateway_test_{os.getpid()}_{name}"
    asyncio.run(_execute(f'CREATE DATABASE "{own_name}"'))
    try:
        yield _with_name(own_name)
    finally:
        asyncio.run(_drop(own_name))


@asynccontextmanager
async def emptied(template_url: str, folder: Path) -> AsyncIterator[str]:
    """Give the URL of a migrated, empty database to one test."""
    source = make_url(template_url)
    if source.get_backend_name() == "sqlite":
        path = folder / "gateway.sqlite"
        shutil.copy(source.database or "", path)
        yield f"sqlite+aiosqlite:///{path}"
        return
    try:
        yield template_url
    finally:
        await _execute(EMPTY, template_url)


async def _drop(name: str) -> None:
    """Drop a database. Its last sessions are told to end first, which PostgreSQL waits 5 s for and no longer."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                return await _execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            except asyncpg.ObjectInUseError:
                continue


def _with_name(name: str) -> str:
    url = make_url(POSTGRES_URL).set(drivername="postgresql+asyncpg", database=name)
    return url.render_as_string(hide_password=False)


async def _execute(statement: str, url: str = POSTGRES_URL) -> None:
    dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(dsn, timeout=PATIENCE_SECONDS)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
