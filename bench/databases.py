"""Databases made for one run and dropped after it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import uvloop

POSTGRES_DEFAULT_URL = "postgresql+asyncpg://127.0.0.1:5432/postgres"
CONNECT_TIMEOUT_SECONDS = 10


@contextlib.contextmanager
def sqlite_database(folder: Path) -> Iterator[str]:
    """Name a file in the run's folder, which must lie on a disk: on a RAM disk a commit costs nothing."""
    yield f"sqlite+aiosqlite:///{folder.absolute() / 'bench.sqlite'}"


@contextlib.contextmanager
def postgres_database(server_url: str, purpose: str = "main") -> Iterator[str]:
    """Create a database of our own on this server (the URL may name any database there) and drop it at the end.

    A run that wants several at once gives each a purpose.
    """
    name = f"gateway_bench_{os.getpid()}_{purpose}"
    url = urlsplit(server_url)
    admin_url = url._replace(scheme="postgresql").geturl()
    uvloop.run(_execute(admin_url, f'CREATE DATABASE "{name}"'))
    try:
        yield url._replace(path=f"/{name}").geturl()
    finally:
        uvloop.run(_execute(admin_url, f'DROP DATABASE "{name}" WITH (FORCE)'))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_SECONDS)
    try:
        await connection.execute(statement, timeout=CONNECT_TIMEOUT_SECONDS)
    finally:
        await connection.close()
