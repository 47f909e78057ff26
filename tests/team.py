"""A small team in a real database, and calls of theirs settled by the real ledger: what reports are tested on."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sqlalchemy import Connection

from gateway.core.keys import NewKey, make_key
from gateway.core.limits import Interval, Limit, Metric, Scope
from gateway.ledger.effects import Batch
from gateway.ledger.entries import Caller, Figures, Outcome, Settlement, Source, Subject
from gateway.ledger.postgres import PostgresLedger
from gateway.ledger.sqlite import SqliteLedger
from gateway.store import admin_api_keys, api_keys, limit_opening, projects, users
from gateway.store.admin_api_keys import AdminApiKey
from gateway.store.api_keys import NewApiKey
from gateway.store.engine import Database, is_sqlite, postgres_dsn, sqlite_path
from gateway.store.principals import Principals
from tests.clock import SettableClock

NOW = 1_689_000_000
"""2023-07-10 14:40:00 UTC, the last day of the seed's example."""


class Unheard:
    """Is told of failed authentications and forgets them."""

    def authentication_failed(self) -> None:
        return


@dataclass
class Team:
    """Two projects with a user and a key each, `key_1` and `key_2`, and an admin key that reads."""

    url: str
    database: Database
    principals: Principals
    clock: SettableClock = field(default_factory=lambda: SettableClock(NOW))
    texts: dict[str, str] = field(default_factory=dict)

    async def settle(self, *calls: Settlement) -> None:
        """Let the ledger charge calls, in one batch."""
        await settle(self.url, calls)

    async def limit(
        self, amount: int, scope: Scope = Scope.API_KEY, scope_id: str = "key_1", interval: Interval = Interval.LIFETIME
    ) -> None:
        """Set a cost budget in nano-USD."""
        name = f"lim_{scope_id}_{interval}"
        new = Limit(name, scope, scope_id, Metric.COST, interval, amount)
        await self.database.change(lambda connection: limit_opening.create(connection, new, NOW))


@asynccontextmanager
async def running_team(url: str) -> AsyncIterator[Team]:
    """Make the team in a migrated, empty database."""
    database = Database(url)
    team = Team(url, database, Principals(database, Unheard()))
    try:
        await database.change(lambda connection: _people(connection, team))
        yield team
    finally:
        await team.principals.close()
        await database.close()


def _people(connection: Connection, team: Team) -> None:
    for number in (1, 2):
        project, user, key = f"proj_{number}", f"user_{number}", f"key_{number}"
        projects.create(connection, project, f"Project {number}", NOW)
        users.create(connection, user, f"person{number}@example.com", f"Person {number}", "reader", NOW)
        secret = _secret(team, key, number)
        api_keys.create(connection, NewApiKey(key, project, f"Key {number}", user_id=user), secret, NOW)
    secret = _secret(team, "admin", 3, admin=True)
    admin_api_keys.create(
        connection, AdminApiKey("admkey_1", "Reports", "reader", "sk-gw-admin-...", NOW, None), secret.digest
    )


def _secret(team: Team, name: str, number: int, *, admin: bool = False) -> NewKey:
    secret = make_key(f"{number:010d}", f"{number:032d}", admin=admin)
    team.texts[name] = secret.text
    return secret


def call(
    request_id: str,
    at: float,
    figures: Figures,
    *,
    key: str = "key_1",
    model: str = "gpt-4o-mini",
    operation: str = "chat",
    tier: str = "",
    batch: int = 0,
    size: str | None = None,
) -> Settlement:
    """Return a call of a team's key that was admitted at this Unix second."""
    number = key.removeprefix("key_")
    return Settlement(
        request_id=request_id,
        admitted_at_us=round(at * 1_000_000),
        caller=Caller(key, f"proj_{number}", f"user_{number}", None),
        subject=Subject(operation, model, model, "main"),
        items=(),
        figures=figures,
        source=Source.REPORTED,
        outcome=Outcome.COMPLETED,
        status=200 if figures.succeeded else 500,
        service_tier=tier,
        batch=batch,
        image_size=size,
    )


async def settle(url: str, calls: Sequence[Settlement]) -> None:
    """Let the ledger charge calls, in one batch."""
    async with ledger_on(url) as ledger:
        await ledger.commit(Batch(settlements=list(calls)))


@asynccontextmanager
async def ledger_on(url: str) -> AsyncIterator[SqliteLedger | PostgresLedger]:
    """The ledger's transactions on a database."""
    ledger = (
        SqliteLedger(sqlite_path(url), "test", lambda: NOW * 1_000_000)
        if is_sqlite(url)
        else PostgresLedger(postgres_dsn(url), "test", lambda: NOW * 1_000_000, lambda _cause: None)
    )
    try:
        yield ledger
    finally:
        await ledger.close()
