"""Administration without HTTP: the handlers of /v1/organization, called on the database itself, audited as `cli`.

So a command validates, changes and records exactly what the same request would, and a running server sees it on its
next call, because every change bumps the revision in its transaction.
"""

import argparse
import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from urllib.parse import urlencode

import msgspec

from gateway.admin.boundary import AdminRequest, Services
from gateway.admin.decoding import decode_body, decode_query
from gateway.admin.failed_logins import FailedLogins
from gateway.admin.table import ROUTES
from gateway.cli.asking import Handler, Office, present
from gateway.cli.failures import CommandError, Exit
from gateway.cli.remote import RemoteOffice
from gateway.core.selection import Catalog
from gateway.settings import Settings, load_settings
from gateway.sources import SystemClock, random_base62
from gateway.store import api_keys as key_store
from gateway.store import migrate
from gateway.store.audit_log import COMMAND_LINE
from gateway.store.engine import STATEMENT_SECONDS, Connection, Database, is_sqlite, sqlite_path
from gateway.store.principals import AdminPrincipal, Principals

T = TypeVar("T")

CALLER = AdminPrincipal(COMMAND_LINE.id, COMMAND_LINE.name or "", "owner", None, None)
"""Whoever can open the database needs no key."""
_SHAPES: Mapping[Handler[object], tuple[type[msgspec.Struct], type[msgspec.Struct]]] = {
    route.handler: (route.query, route.body) for route in ROUTES
}


class Unobserved:
    """Nobody authenticates here."""

    def authentication_failed(self) -> None:
        """Cannot happen."""


@dataclass(frozen=True, slots=True)
class DatabaseOffice(Office):
    """An open database with administration on top of it."""

    settings: Settings
    services: Services

    async def ask(
        self,
        handler: Handler[T],
        path: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> T:
        """Run a handler."""
        query_shape, body_shape = _SHAPES[handler]
        return await handler(
            AdminRequest(
                self.services,
                CALLER,
                path or {},
                decode_query(urlencode(present(query), doseq=True).encode(), query_shape),
                decode_body(msgspec.json.encode(present(body)), body_shape),
                None,
                None,
                self.now,
            )
        )

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run work that changes nothing on the database itself."""
        return await self.services.database.read(work)

    async def project_of_key(self, id: str) -> str:
        """Return the id of the project that a key belongs to. Raises NotFound."""
        return await self.read(lambda connection: key_store.project_of(connection, id))


def run(arguments: argparse.Namespace, work: Callable[[Office], Awaitable[T]]) -> T:
    """Run work on the gateway at --url, or else on the database. Raises CommandError, GatewayError."""
    if arguments.url is None:
        return run_on_database(work)
    return asyncio.run(work(RemoteOffice.at(arguments.url, os.environ)))  # type: ignore[arg-type]  # a coroutine is one


def run_on_database(work: Callable[[DatabaseOffice], Awaitable[T]], *, statement_seconds: int = STATEMENT_SECONDS) -> T:
    """Open the office of the environment's settings, run work in it, close it. Raises CommandError, GatewayError."""

    async def opened() -> T:
        settings = load_settings(os.environ)
        await require_schema(settings)
        async with office(settings, statement_seconds) as here:
            return await work(here)

    return asyncio.run(opened())


@asynccontextmanager
async def office(settings: Settings, statement_seconds: int = STATEMENT_SECONDS) -> AsyncIterator[DatabaseOffice]:
    """Open the database of these settings, whose schema is known to be right."""
    database = Database(settings.database_url, statement_seconds=statement_seconds)
    principals = Principals(database, Unobserved())
    try:
        models, failed_logins = partial(_models, settings), FailedLogins(database, random_base62)
        services = Services(database, principals, SystemClock(), random_base62, models, failed_logins)
        yield DatabaseOffice(settings, services)
    finally:
        await principals.close()
        await database.close()


async def _models(settings: Settings) -> frozenset[str]:
    """Return the models that can be named without asking a provider."""
    from gateway.app import load_prices  # noqa: PLC0415 - the whole server, which no other command needs

    chosen = settings.catalog
    return Catalog(chosen.upstreams, chosen.aliases, load_prices(chosen.prices)).names()


async def require_schema(settings: Settings) -> str:
    """Return the database's schema. Raises CommandError unless it is there and serves this gateway."""
    url = settings.database_url
    if is_sqlite(url) and not sqlite_path(url).exists():
        raise CommandError(
            f"There is no database at {sqlite_path(url)} yet. Make it: gateway migrate "
            "(or set GATEWAY_DATA_DIR or GATEWAY_DATABASE_URL to where it is).",
            Exit.CANNOT_START,
        )
    present = await migrate.current(url)
    if present.is_behind(migrate.HEAD):
        what = "is empty" if present.revision is None else f"has the older schema {present.revision}"
        raise CommandError(f"The database {what}. Bring it up to date: gateway migrate", Exit.CANNOT_START)
    try:
        migrate.accept(present)
    except migrate.UnknownSchema as error:
        raise CommandError(str(error), Exit.CANNOT_START) from error
    return present.revision or migrate.HEAD
