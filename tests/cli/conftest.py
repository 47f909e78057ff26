"""Shells: an empty folder to start from, and a migrated database of each kind to work on."""

import asyncio
from pathlib import Path

import pytest

from gateway.store.migrate import upgrade
from tests.cli.shell import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell in an empty folder, with default settings."""
    return Shell(tmp_path)


@pytest.fixture
def team_shell(tmp_path: Path, database_url: str) -> Shell:
    """A shell whose gateway has a migrated, empty database."""
    return Shell(tmp_path, {"GATEWAY_DATABASE_URL": database_url})


@pytest.fixture
async def empty_shell(tmp_path: Path) -> Shell:
    """A shell whose gateway has a migrated, empty SQLite database, for what is the same on both kinds."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'gateway.db'}"
    await upgrade(url)
    return Shell(tmp_path, {"GATEWAY_DATABASE_URL": url})


@pytest.fixture(scope="module")
def migrated_shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A shell with an empty SQLite database, for commands that change nothing."""
    folder = tmp_path_factory.mktemp("migrated")
    url = f"sqlite+aiosqlite:///{folder / 'gateway.db'}"
    asyncio.run(upgrade(url))
    return Shell(folder, {"GATEWAY_DATABASE_URL": url})
