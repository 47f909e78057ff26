"""Real databases for tests: one is migrated per kind and run, and each test gets a copy of it that is thrown away."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path

import asyncpg
from sqlalchemy import URL, make_url

from gateway.store.migrate import upgrade

POSTGRES_URL = os.environ.get("GATEWAY_TEST_POSTGRES_URL") or "postgresql+asyncpg://postgres@127.0.0.1:5432/postgres"
CONNECT_SECONDS = 5
_numbers = count(1)


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
async def copied(template_url: str, folder: Path) -> AsyncIterator[str]:
    """Copy a migrated database; give the copy's URL."""
    source = make_url(template_url)
    if source.get_backend_name() == "sqlite":
        path = folder / "gateway.sqlite"
        shutil.copy(source.database or "", path)
        yield f"sqlite+aiosqlite:///{path}"
        return
    name = f"{source.database}_{next(_numbers)}"
    await _execute(f'CREATE DATABASE "{name}" TEMPLATE "{source.database}"')
    try:
        yield _with_name(name)
    finally:
        await _execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _with_name(name: str) -> str:
    return _server().set(drivername="postgresql+asyncpg", database=name).render_as_string(hide_password=False)


def _server() -> URL:
    return make_url(POSTGRES_URL)


async def _execute(statement: str) -> None:
    dsn = _server().set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
