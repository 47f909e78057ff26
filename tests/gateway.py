"""A whole gateway for tests: the real application on the real server, a real database, the scripted provider upstream.

async with running_gateway(database_url, provider, tmp_path) as gateway:
    key = await gateway.key(limits=[(Metric.REQUESTS, Interval.DAY, 3)])
    await gateway.openai(key).chat.completions.create(...)
    rows = await gateway.usage()  # the ledger, oldest first
    await gateway.audit()  # nothing held, every counter adds up
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import httpx
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from openai.resources.admin.organization import AsyncOrganization
from sqlalchemy import Connection, func, select

from gateway.app import Gateway
from gateway.core.keys import NewKey, make_key
from gateway.core.limits import Interval, Limit, Metric, Scope
from gateway.core.upstreams import Upstream
from gateway.ledger.standin import SPOOL_AFTER_SECONDS
from gateway.protocol import ConnectionBounds
from gateway.server import Server, ServerSettings, bind
from gateway.settings import CatalogSettings, Settings
from gateway.store import admin_api_keys, api_keys, limit_opening, projects, users
from gateway.store.admin_api_keys import AdminApiKey
from gateway.store.api_keys import NewApiKey
from gateway.store.engine import Database
from gateway.store.holds import hold, hold_item
from gateway.store.limits import ORGANIZATION_ID, counter
from gateway.store.usage import usage
from tests.patience import PATIENCE_SECONDS
from tests.provider import Provider

LOOK_SECONDS = 0.01
PROVIDER_KEY = "sk-provider-0123456789abcdef"
CREATED_AT = 1_700_000_000
MODEL = "gpt-4o-mini"

T = TypeVar("T")
LimitSpec = tuple[Metric, Interval | None, int]
UsageRow = SimpleNamespace
"""One ledger row, its columns by name."""


@dataclass(eq=False)
class RunningGateway:
    """A gateway that serves. Each `key` is of a project and a user of its own, numbered in the order made."""

    app: Gateway
    server: Server
    port: int
    provider: Provider
    database: Database
    http: httpx.AsyncClient
    stack: AsyncExitStack
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def key(
        self,
        models: Sequence[str] | None = None,
        limits: Sequence[LimitSpec] = (),
        *,
        scope: Scope = Scope.API_KEY,
        expires_at: int | None = None,
    ) -> str:
        """Make a project, a user and a key with these limits on `scope`; return the key's text."""
        number = next(self._numbers)
        secret = make_key(f"{number:010d}", f"{number:032d}")
        await self.change(lambda connection: issue(connection, number, secret, limits, scope, models, expires_at))
        return secret.text

    async def admin_key(self, role: str = "owner") -> str:
        """Make an admin key; return its text."""
        number = next(self._numbers)
        secret = make_key(f"{number:010d}", f"{number:032d}", admin=True)
        made = AdminApiKey(f"admkey_{number}", role.title(), role, "sk-gw-admin-...", CREATED_AT, None)
        await self.change(lambda connection: admin_api_keys.create(connection, made, secret.digest))
        return secret.text

    async def change(self, work: Callable[[Connection], T]) -> T:
        """Change the database as an admin does, with a new revision."""
        return await self.database.change(work)

    def openai(self, key: str, prefix: str = "") -> AsyncOpenAI:
        """OpenAI's client with this key, without retries; closed with the gateway."""
        client = AsyncOpenAI(api_key=key, base_url=f"{self.url}{prefix}/v1", max_retries=0, timeout=PATIENCE_SECONDS)
        self.stack.push_async_callback(client.close)
        return client

    def anthropic(self, key: str, prefix: str = "/claude") -> AsyncAnthropic:
        """Anthropic's client with this key, without retries; closed with the gateway."""
        client = AsyncAnthropic(
            api_key=key, base_url=f"{self.url}{prefix}", max_retries=0, timeout=PATIENCE_SECONDS,
            _strict_response_validation=True,
        )  # fmt: skip
        self.stack.push_async_callback(client.close)
        return client

    def admin(self, key: str) -> AsyncOrganization:
        """OpenAI's administration with this admin key; it fails on an answer that is not as its types say."""
        client = AsyncOpenAI(
            api_key="unused", admin_api_key=key, base_url=f"{self.url}/v1", max_retries=0,
            timeout=PATIENCE_SECONDS, _strict_response_validation=True,
        )  # fmt: skip
        self.stack.push_async_callback(client.close)
        return client.admin.organization

    async def post(self, key: str, path: str, body: Any, **headers: str) -> httpx.Response:
        """Send a body, JSON unless it is bytes already, as it is."""
        content = body if isinstance(body, bytes) else None
        return await self.http.post(
            path, content=content, json=body if content is None else None, headers=bearer(key) | headers
        )

    async def chat(self, key: str, **fields: Any) -> httpx.Response:
        """Send the smallest chat there is, with these fields beside."""
        return await self.post(key, "/v1/chat/completions", chat_body(**fields))

    async def usage(self, calls: int = 0) -> list[UsageRow]:
        """Return the ledger's rows, oldest first; with `calls`, once there are so many."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(rows := await self.database.read(_usage)) < calls:  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(LOOK_SECONDS)
        return rows

    async def charged(self) -> UsageRow:
        """Return the one row that the ledger has or is about to have."""
        rows = await self.usage(1)
        assert len(rows) == 1
        return rows[0]

    async def audit(self) -> None:
        """Fail unless nothing is held any more and every counter's `held` is the sum of its items: 0."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (seen := await self.database.read(_held))[0]:  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(LOOK_SECONDS)
        _, held, items = seen
        assert held == items == 0, f"{held} held by counters, {items} by items"


def bearer(key: str) -> dict[str, str]:
    """The header that carries a key."""
    return {"authorization": f"Bearer {key}"}


def chat_body(**fields: Any) -> dict[str, Any]:
    """The smallest chat request there is, with these fields beside."""
    return {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], **fields}


@asynccontextmanager
async def running_gateway(
    database_url: str, provider: Provider, folder: Path, *, upstream: Callable[[Upstream], Upstream] = replace,
    **settings: Any,
) -> AsyncIterator[RunningGateway]:  # fmt: skip
    """Serve a gateway on a migrated database. `upstream` changes the one upstream, `settings` override any others.

    Unless a test is about that, a database that is slow because the machine is refuses nobody, and who has seen the end
    of an answer finds its record in the database and its holds free: no spool stands in for a slow commit.
    """
    chosen = settings.pop("catalog", CatalogSettings())
    reload = settings.pop("reload", None)
    late = SPOOL_AFTER_SECONDS if "database_wait_seconds" in settings else 2.0 * PATIENCE_SECONDS
    settings.setdefault("database_wait_seconds", 2.0 * PATIENCE_SECONDS)
    main = upstream(Upstream("main", "openai", provider.base_url, PROVIDER_KEY, connect_seconds=PATIENCE_SECONDS))
    catalog = replace(chosen, upstreams=(main, *chosen.upstreams))
    made = Settings(database_url, folder, port=0, migrates_at_start=False, catalog=catalog, **settings)
    async with AsyncExitStack() as stack:
        stack.callback(_restore_logging, logging.getLogger().handlers[:], logging.getLogger().level)
        app = Gateway(made, reload=reload, late_seconds=late)
        server, port = await stack.enter_async_context(_served(app))
        database = Database(database_url)
        stack.push_async_callback(database.close)
        http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_SECONDS)
        await stack.enter_async_context(http)
        yield RunningGateway(app, server, port, provider, database, http, stack)


@asynccontextmanager
async def _served(app: Gateway) -> AsyncIterator[tuple[Server, int]]:
    settings = ServerSettings(
        port=0, bounds=ConnectionBounds(header_seconds=PATIENCE_SECONDS), sweep_seconds=0.02, drain_delay_seconds=0.0,
        drain_timeout_seconds=5.0,
    )  # fmt: skip
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    server = Server(lambda: app, settings, lambda _host, bound: port.set_result(bound))
    with bind(settings) as listener:
        running = asyncio.create_task(server.run(listener))
        try:
            await asyncio.wait((running, port), return_when=asyncio.FIRST_COMPLETED)
            assert port.done(), "the gateway did not start"
            yield server, port.result()
        finally:
            server.hurry()
            await asyncio.wait_for(running, PATIENCE_SECONDS)


def _restore_logging(handlers: list[logging.Handler], level: int) -> None:
    logging.captureWarnings(False)
    root = logging.getLogger()
    root.handlers[:] = handlers
    root.setLevel(level)


def issue(
    connection: Connection,
    number: int,
    secret: NewKey,
    limits: Sequence[LimitSpec] = (),
    scope: Scope = Scope.API_KEY,
    models: Sequence[str] | None = None,
    expires_at: int | None = None,
) -> None:
    """Make the project, the user and the key of that number, and these limits on one of them or the organization."""
    project, user, key = f"proj_{number}", f"user_{number}", f"key_{number}"
    projects.create(connection, project, f"Project {number}", CREATED_AT)
    users.create(connection, user, f"person{number}@example.com", f"Person {number}", "reader", CREATED_AT)
    patterns = None if models is None else tuple(models)
    new = NewApiKey(key, project, f"Key {number}", user_id=user, models=patterns, expires_at=expires_at)
    api_keys.create(connection, new, secret, CREATED_AT)
    whose = {Scope.PROJECT: project, Scope.USER: user, Scope.API_KEY: key, Scope.ORGANIZATION: ORGANIZATION_ID}
    for index, (metric, interval, amount) in enumerate(limits):
        limit = Limit(f"lim_{number}_{index}", scope, whose[scope], metric, interval, amount)
        limit_opening.create(connection, limit, CREATED_AT)


def _usage(connection: Connection) -> list[UsageRow]:
    rows = connection.execute(select(usage).order_by(usage.c.settled_at_us, usage.c.request_id)).mappings()
    return [UsageRow(**row) for row in rows]


def _held(connection: Connection) -> tuple[int, int, int]:
    """Return the open holds, what counters hold and what items hold: of one moment, so in one statement."""
    holds = select(func.count()).select_from(hold).scalar_subquery()
    held = select(func.coalesce(func.sum(counter.c.held), 0)).scalar_subquery()
    items = select(func.coalesce(func.sum(hold_item.c.amount), 0)).scalar_subquery()
    seen = connection.execute(select(holds, held, items)).one()
    return int(seen[0]), int(seen[1]), int(seen[2])
