"""Whose key it is, what it may call and where its limits stand, read fresh."""

import msgspec

from gateway.core.limits import Metric
from gateway.core.money import render_usd
from gateway.me.endpoint import Asked, Reply, Services
from gateway.store import api_keys, model_permissions, projects, standings
from gateway.store.api_keys import ApiKey
from gateway.store.engine import Connection
from gateway.store.model_permissions import ModelPermissions
from gateway.store.standings import LimitStanding


class Key(msgspec.Struct):
    """The key without its secret; times are Unix seconds."""

    id: str
    name: str
    redacted_value: str
    created_at: int
    expires_at: int | None


class Owner(msgspec.Struct):
    """The person or the program that holds the key; a program has no e-mail."""

    type: str
    id: str
    name: str
    email: str | None


class OwnProject(msgspec.Struct):
    """The team that the key belongs to, and which models it permits its keys."""

    id: str
    name: str
    model_permissions: ModelPermissions


class OwnLimit(msgspec.Struct):
    """A limit as administration shows it. Amounts of money are decimal strings in USD, all others integers."""

    object: str
    id: str
    scope: str
    scope_id: str
    metric: str
    interval: str | None
    amount: int | str
    models: tuple[str, ...] | None
    used: int | str
    held: int | str
    remaining: int | str
    resets_at: int | None


class Account(msgspec.Struct):
    """The whole answer. `models` are wildcard patterns, null for every model; the key's own limits come first."""

    object: str
    key: Key
    owner: Owner
    project: OwnProject
    models: tuple[str, ...] | None
    limits: list[OwnLimit]


async def account(services: Services, asked: Asked) -> Reply:
    """Answer `GET /v1/me`."""
    return Reply(await services.database.read(lambda connection: read_account(connection, asked)))


def read_account(connection: Connection, asked: Asked) -> Account:
    """Put the answer together. Raises NotFound if the key was deleted a moment ago."""
    principal = asked.principal
    key = api_keys.get(connection, principal.project_id, principal.api_key_id)
    project = projects.get(connection, principal.project_id)
    return Account(
        "me",
        _key(key),
        Owner(key.holder.type, key.holder.id, key.holder.name, key.holder.email),
        OwnProject(project.id, project.name, model_permissions.get(connection, project.id)),
        principal.models,
        [_limit(one) for one in standings.read(connection, principal.limits, int(asked.now.timestamp()))],
    )


def _key(key: ApiKey) -> Key:
    return Key(key.id, key.name, f"sk-gw-...{key.last_four}", key.created_at, key.expires_at)


def _limit(standing: LimitStanding) -> OwnLimit:
    limit = standing.limit

    def shown(amount: int) -> int | str:
        return render_usd(amount) if limit.metric is Metric.COST else amount

    return OwnLimit(
        "organization.limit",
        limit.id,
        limit.scope,
        limit.scope_id,
        limit.metric,
        limit.interval,
        shown(limit.amount),
        limit.models,
        shown(standing.used),
        shown(standing.held),
        shown(standing.remaining),
        standing.resets_at,
    )
