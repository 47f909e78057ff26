"""A gateway's administration on a real server, over each database, with OpenAI's SDK as owner and as reader."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
import uvicorn
from openai import AsyncOpenAI
from starlette.applications import Starlette

from gateway.admin.boundary import Services, mount
from gateway.admin.failed_logins import FailedLogins
from gateway.admin.table import ROUTES
from gateway.core.keys import make_key
from gateway.sources import random_base62
from gateway.store import admin_api_keys
from gateway.store.admin_api_keys import AdminApiKey
from gateway.store.engine import Connection, Database
from gateway.store.principals import Principals
from tests.clock import SettableClock
from tests.patience import PATIENCE_SECONDS

OWNER = make_key("0owner0key", "o" * 32, admin=True)
READER = make_key("reader0key", "r" * 32, admin=True)
MODELS = ("gpt-4o", "gpt-4o-mini", "meta/llama-3.3:70b")
"""What this gateway knows of."""


class Failures:
    """Counts failed authentications."""

    count = 0

    def authentication_failed(self) -> None:
        self.count += 1


@dataclass
class Administration:
    """`owner` and `reader` are OpenAI's SDK; `http` sends what the SDK would not, with the owner's key."""

    database: Database
    principals: Principals
    clock: SettableClock
    failures: Failures
    failed_logins: FailedLogins
    owner: AsyncOpenAI
    reader: AsyncOpenAI
    http: httpx.AsyncClient

    async def post(self, path: str, body: object) -> httpx.Response:
        """Send JSON with the owner's key to a path below /v1/organization."""
        return await self.http.post(f"/v1/organization{path}", json=body)

    async def made(self, path: str, body: object) -> str:
        """Create something and return its id."""
        response = await self.post(path, body)
        assert response.status_code == 200, response.text
        id: str = response.json()["id"]
        return id

    def now(self) -> int:
        return int(self.clock.now())


@pytest.fixture
async def administration(database_url: str) -> AsyncIterator[Administration]:
    """Serve the routes of administration; the database has two admin keys and nothing else."""
    database, failures, clock = Database(database_url), Failures(), SettableClock()
    principals = Principals(database, failures)
    await database.change(_make_admin_keys)
    failed_logins = FailedLogins(database, random_base62)
    services = Services(database, principals, clock, random_base62, _models, failed_logins)
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=mount(ROUTES, services)), lifespan="off", log_config=None))
    # It listens from here on, so a client may come before the server has started.
    # asyncio turns Nagle's algorithm off only where the socket was made for TCP by name.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    serving = asyncio.create_task(server.serve([listening]))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    async with (
        _sdk(url, OWNER.text) as owner,
        _sdk(url, READER.text) as reader,
        httpx.AsyncClient(
            base_url=url, headers={"authorization": f"Bearer {OWNER.text}"}, timeout=PATIENCE_SECONDS
        ) as http,
    ):
        yield Administration(database, principals, clock, failures, failed_logins, owner, reader, http)
    server.should_exit = True
    await serving
    await principals.close()
    await database.close()


async def _models() -> frozenset[str]:
    return frozenset(MODELS)


def _make_admin_keys(connection: Connection) -> None:
    for role, key in (("owner", OWNER), ("reader", READER)):
        made = AdminApiKey(f"admkey_{role}", role, role, "sk-gw-admin-...", 1, None)
        admin_api_keys.create(connection, made, key.digest)


def _sdk(url: str, key: str) -> AsyncOpenAI:
    return AsyncOpenAI(
        base_url=f"{url}/v1", api_key="unused", admin_api_key=key, max_retries=0, _strict_response_validation=True
    )
