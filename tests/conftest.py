"""Fixtures that any test may use: real things, started for the test and stopped after it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from tests import databases
from tests.gateway import RunningGateway, running_gateway
from tests.patience import before_an_hour_turns
from tests.provider import Provider, running_provider


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run tests on the loop that serves. asyncio's own loses a connection that it takes as its socket closes."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what has nothing to run on here: no PostgreSQL answers, no recordings lie beside the checkout."""
    empty = [item for item in items if isinstance(item, pytest.Function) and _has_no_parameters(item)]
    config.hook.pytest_deselected(items=empty)
    items[:] = [item for item in items if item not in empty]


def pytest_runtest_setup() -> None:
    """Begin no test that an hour could turn in: what is allowed in a day would be allowed twice."""
    before_an_hour_turns()


def _has_no_parameters(item: pytest.Function) -> bool:
    return any("empty parameter set" in mark.kwargs.get("reason", "") for mark in item.iter_markers("skip"))


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """The scripted provider, see tests/provider.py."""
    async with running_provider() as running:
        yield running


@pytest.fixture(scope="session", params=databases.kinds())
def database_template(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A migrated database of each kind that answers."""
    with databases.template(request.param, tmp_path_factory.mktemp("template")) as url:
        yield url


@pytest.fixture
async def database_url(database_template: str, tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a migrated, empty database of the test's own: SQLite, and PostgreSQL too when one answers."""
    async with databases.emptied(database_template, tmp_path) as url:
        yield url


@pytest.fixture(params=databases.kinds())
def blank_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database of each kind that has no schema, for tests that change what there is."""
    with databases.blank(request.param, tmp_path, "blank") as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A migrated, empty SQLite database to copy from."""
    with databases.template("sqlite", tmp_path_factory.mktemp("sqlite")) as url:
        yield url


@pytest.fixture
async def sqlite_url(sqlite_template: str, tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a SQLite database of the test's own: for what does not depend on the database."""
    async with databases.emptied(sqlite_template, tmp_path) as url:
        yield url


@pytest.fixture
async def gateway(sqlite_url: str, provider: Provider, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A whole gateway on SQLite in front of the scripted provider, see tests/gateway.py."""
    async with running_gateway(sqlite_url, provider, tmp_path) as running:
        yield running


@pytest.fixture
async def any_gateway(database_url: str, provider: Provider, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """The same on each kind of database."""
    async with running_gateway(database_url, provider, tmp_path) as running:
        yield running
