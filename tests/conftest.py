"""Fixtures that any test may use: real things, started for the test and stopped after it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests import databases
from tests.provider import Provider, running_provider


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """The scripted provider, see tests/provider.py."""
    async with running_provider() as running:
        yield running


@pytest.fixture(scope="session", params=databases.kinds())
def database_template(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A migrated, empty database of each kind that answers, to copy from."""
    with databases.template(request.param, tmp_path_factory.mktemp("template")) as url:
        yield url


@pytest.fixture
async def database_url(database_template: str, tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a migrated, empty database of the test's own: SQLite, and PostgreSQL too when one answers."""
    async with databases.copied(database_template, tmp_path) as url:
        yield url
