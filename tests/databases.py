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

POSTGRES_URL = os.environ.get("GATEWAY_TEST_POSTGRES_URL") or "postgresql+asyncpg://postgres@127.0.0.1:5432/postgres"
CONNECT_SECONDS = 5
# A process that a test left behind must neither lock nor write.
EMPTY = "; ".join(
    (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        *(str(delete(table)) for table in reversed(metadata.sorted_tables)),
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
    if kind == "sqlite":
        url = f"sqlite+aiosqlite:///{folder / 'template.sqlite'}"
        asyncio.run(upgrade(url))
        yield url
        return
    name = f"gateway_test_{os.getpid()}"
    asyncio.run(_execute(f'CREATE DATABASE "{name}"'))
    try:
        url = _with_name(name)
        asyncio.run(upgrade(url))
        yield url
    finally:
        asyncio.run(_execute(f'DROP DATABASE "{name}" WITH (FORCE)'))


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


def _with_name(name: str) -> str:
    url = make_url(POSTGRES_URL).set(drivername="postgresql+asyncpg", database=name)
    return url.render_as_string(hide_password=False)


async def _execute(statement: str, url: str = POSTGRES_URL) -> None:
    dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
