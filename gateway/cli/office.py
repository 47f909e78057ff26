"""Administration without HTTP: the handlers of /v1/organization, called on the database itself, audited as `cli`.

So a command validates, changes and records exactly what the same request would, and a running server sees it on its
next call, because every change bumps the revision in its transaction.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode

import msgspec

from gateway.admin import projects, service_accounts, users
from gateway.admin.boundary import AdminRequest, Services
from gateway.admin.decoding import decode_body, decode_query
from gateway.admin.lists import HasId, ListOf
from gateway.admin.table import ROUTES
from gateway.cli.failures import CommandError, Exit
from gateway.settings import Settings, load_settings
from gateway.sources import SystemClock, random_base62
from gateway.store import api_keys as key_store
from gateway.store import migrate
from gateway.store.engine import Connection, Database, is_sqlite, sqlite_path
from gateway.store.principals import AdminPrincipal, Principals

T = TypeVar("T")
S = TypeVar("S", bound=HasId)
Handler = Callable[[AdminRequest[Any, Any]], Awaitable[T]]

PAGE_SIZE = 100
CALLER = AdminPrincipal("cli", "command line", "owner", None)
"""Whoever can open the database needs no key."""
_SHAPES: Mapping[Handler[object], tuple[type[msgspec.Struct], type[msgspec.Struct]]] = {
    route.handler: (route.query, route.body) for route in ROUTES
}


class Named(Protocol):
    """What can be found by its name."""

    @property
    def id(self) -> str:
        """The id."""

    @property
    def name(self) -> str:
        """The name, which need not be unique."""


N = TypeVar("N", bound=Named)


class Unobserved:
    """Nobody authenticates here."""

    def authentication_failed(self) -> None:
        """Cannot happen."""


@dataclass(frozen=True, slots=True)
class Office:
    """An open database with administration on top of it."""

    settings: Settings
    services: Services

    @property
    def now(self) -> int:
        """Unix seconds."""
        return int(self.services.clock.now())

    async def ask(
        self,
        handler: Handler[T],
        path: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> T:
        """Run a handler. None in query or body is left out. Raises GatewayError as over HTTP."""
        query_shape, body_shape = _SHAPES[handler]
        return await handler(
            AdminRequest(
                self.services,
                CALLER,
                path or {},
                decode_query(urlencode(_present(query), doseq=True).encode(), query_shape),
                decode_body(msgspec.json.encode(_present(body)), body_shape),
                None,
                None,
                self.now,
            )
        )

    async def list_all(
        self,
        handler: Handler[ListOf[S]],
        path: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, object] | None = None,
    ) -> list[S]:
        """Return a list's every page."""
        found: list[S] = []
        after: str | None = None
        while True:
            page = await self.ask(handler, path, query={**(query or {}), "limit": PAGE_SIZE, "after": after})
            found += page.data
            after = page.last_id
            if not page.has_more:
                return found

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run work that changes nothing on the database itself."""
        return await self.services.database.read(work)

    async def project(self, text: str) -> projects.ProjectObject:
        """Return the project with this id or, among those that are not archived, this name."""
        if text.startswith("proj_"):
            return await self.ask(projects.retrieve_project, {"project_id": text})
        return _only("project", text, await self.list_all(projects.list_projects))

    async def user(self, text: str) -> users.UserObject:
        """Return the user with this id or e-mail."""
        if "@" not in text:
            return await self.ask(users.retrieve_user, {"user_id": text})
        found = (await self.ask(users.list_users, query={"emails": [text]})).data
        if not found:
            raise CommandError(f"There is no user with the e-mail {text}. Make one: gateway users create {text}")
        return found[0]

    async def service_account(self, project_id: str, text: str) -> service_accounts.ServiceAccountObject | None:
        """Return the project's service account with this id or name, None if there is none."""
        found = await self.list_all(service_accounts.list_service_accounts, {"project_id": project_id})
        named = [account for account in found if text in (account.id, account.name)]
        return _only("service account", text, named) if named else None

    async def project_of_key(self, id: str) -> str:
        """Return the id of the project that a key belongs to. Raises NotFound."""
        return await self.read(lambda connection: key_store.project_of(connection, id))


def run(work: Callable[[Office], Awaitable[T]]) -> T:
    """Open the office of the environment's settings, run work in it, close it. Raises CommandError, GatewayError."""

    async def opened() -> T:
        settings = load_settings(os.environ)
        await require_schema(settings)
        async with office(settings) as here:
            return await work(here)

    return asyncio.run(opened())


@asynccontextmanager
async def office(settings: Settings) -> AsyncIterator[Office]:
    """Open the database of these settings, whose schema is known to be right."""
    database = Database(settings.database_url)
    principals = Principals(database, Unobserved())
    try:
        yield Office(settings, Services(database, principals, SystemClock(), random_base62, lambda: ()))
    finally:
        await principals.close()
        await database.close()


async def require_schema(settings: Settings) -> None:
    """Raises CommandError unless the database is there with the schema of this gateway."""
    url = settings.database_url
    if is_sqlite(url) and not sqlite_path(url).exists():
        raise CommandError(
            f"There is no database at {sqlite_path(url)} yet. Make it: gateway migrate "
            "(or set GATEWAY_DATA_DIR or GATEWAY_DATABASE_URL to where it is).",
            Exit.CANNOT_START,
        )
    present = await migrate.current(url)
    if present is None or present < migrate.HEAD:
        what = "is empty" if present is None else f"has the older schema {present}"
        raise CommandError(f"The database {what}. Bring it up to date: gateway migrate", Exit.CANNOT_START)
    if present > migrate.HEAD:
        raise CommandError(
            f"The database has schema {present}, newer than this gateway's {migrate.HEAD}: run the newer gateway.",
            Exit.CANNOT_START,
        )


def _present(values: Mapping[str, object] | None) -> dict[str, object]:
    return {name: value for name, value in (values or {}).items() if value is not None}


def _only(noun: str, text: str, among: Sequence[N]) -> N:
    found = [thing for thing in among if text in (thing.id, thing.name)]
    if not found:
        raise CommandError(f"There is no {noun} named {text}.")
    if len(found) > 1:
        ids = ", ".join(thing.id for thing in found)
        raise CommandError(f"Several are named {text}: say which by id: {ids}.", Exit.WRONG_USAGE)
    return found[0]
