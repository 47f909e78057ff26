"""The key holder's own view on a real server, with a real team behind it."""

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.routing import Router

from gateway.me.endpoint import Services
from gateway.me.routes import routes
from tests.patience import PATIENCE_SECONDS
from tests.serving import ServedApp, running
from tests.team import Team, running_team


@pytest.fixture
async def team(database_url: str) -> AsyncIterator[Team]:
    """A team without usage or limits, at 2023-07-10."""
    async with running_team(database_url) as made:
        yield made


@pytest.fixture
async def client(team: Team) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the first key."""
    services = Services(team.database, team.principals, team.clock)
    async with running(ServedApp(Router(routes(services)))) as server:
        headers = {"authorization": f"Bearer {team.texts['key_1']}"}
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{server.port}", headers=headers, timeout=PATIENCE_SECONDS
        ) as opened:
            yield opened
