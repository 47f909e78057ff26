"""What LiteLLM's proxy keeps in its database: teams, people, and keys by the SHA-256 of their text, as it finds them.

Read only. The columns are those that its first migration made and every later one kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import Connection, make_url, text

from gateway.store.pages import AnyRow

DIGEST_CHARACTERS = 64
EVERY_MODEL = frozenset({"all-proxy-models", "*"})
TEAM_MODELS, NO_MODELS = "all-team-models", "no-default-models"
"""Words among models that name none: what the team may call, and nothing that is not said beside it."""
_TERMS = "max_budget, budget_duration, spend, tpm_limit, rpm_limit, max_parallel_requests"
_TEAMS = text(f'SELECT team_id, team_alias, models, blocked, {_TERMS} FROM "LiteLLM_TeamTable" ORDER BY team_id')  # noqa: S608
_PEOPLE = text(f'SELECT user_id, user_email, models, {_TERMS} FROM "LiteLLM_UserTable" ORDER BY user_id')  # noqa: S608
_KEYS = text(
    "SELECT t.token, t.key_name, t.key_alias, t.expires, t.models, t.user_id, t.team_id, t.blocked, t.spend, "
    "coalesce(t.max_budget, b.max_budget) AS max_budget, "
    "coalesce(t.budget_duration, b.budget_duration) AS budget_duration, "
    "coalesce(t.tpm_limit, b.tpm_limit) AS tpm_limit, coalesce(t.rpm_limit, b.rpm_limit) AS rpm_limit, "
    "coalesce(t.max_parallel_requests, b.max_parallel_requests) AS max_parallel_requests "
    'FROM "LiteLLM_VerificationToken" t LEFT JOIN "LiteLLM_BudgetTable" b ON b.budget_id = t.budget_id '
    "ORDER BY t.token"
)


@dataclass(frozen=True, slots=True)
class Terms:
    """What somebody may use. Budget and spend are USD; `duration` is LiteLLM's, such as 30d, None for ever."""

    max_budget: Decimal | None
    duration: str | None
    spend: Decimal
    tokens_per_minute: int | None
    requests_per_minute: int | None
    parallel_requests: int | None


@dataclass(frozen=True, slots=True)
class Team:
    """A team. `models` None allows every model, none of them none. The keys of a blocked one open nothing."""

    id: str
    name: str
    models: tuple[str, ...] | None
    blocked: bool
    terms: Terms


@dataclass(frozen=True, slots=True)
class Person:
    """A user; many have no e-mail there. `models` bind the keys that belong to no team, as a team's do."""

    id: str
    email: str | None
    models: tuple[str, ...] | None
    terms: Terms


@dataclass(frozen=True, slots=True)
class Key:
    """A virtual key. `expires_at` is in Unix seconds; `models` are its own and, without a team, its user's too."""

    digest: bytes
    name: str
    last_four: str
    team_id: str | None
    user_id: str | None
    models: tuple[str, ...] | None
    expires_at: int | None
    blocked: bool
    terms: Terms


@dataclass(frozen=True, slots=True)
class Books:
    """Everything that is brought over."""

    teams: Sequence[Team]
    people: Sequence[Person]
    keys: Sequence[Key]


def driver_url(url: str) -> str:
    """Return a URL as LiteLLM has it (for Prisma) with the driver that we use, without Prisma's own parameters."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "postgresql":
        return url
    mode = parsed.query.get("sslmode")
    query = {"ssl": mode} if isinstance(mode, str) else {}
    return parsed.set(drivername="postgresql+asyncpg", query=query).render_as_string(hide_password=False)


def read(connection: Connection) -> Books:
    """Read the books. What is no key by its SHA-256 (a session of its web page) is left out."""
    teams = [
        Team(row.team_id, row.team_alias or row.team_id, _models(row.models), bool(row.blocked), _terms(row))
        for row in connection.execute(_TEAMS)
    ]
    people = [
        Person(row.user_id, row.user_email, _models(row.models), _terms(row)) for row in connection.execute(_PEOPLE)
    ]
    permitted = {person.id: person.models for person in people}
    keys = [_key(row, permitted.get(row.user_id)) for row in connection.execute(_KEYS) if _is_digest(row.token)]
    return Books(teams, people, keys)


def _key(row: AnyRow, permitted: tuple[str, ...] | None) -> Key:
    shown, models = row.key_name or "", _models(row.models, has_team=row.team_id is not None)
    if row.team_id is None and permitted is not None:
        models = permitted if models is None else tuple(name for name in models if name in permitted)
    return Key(
        bytes.fromhex(row.token),
        row.key_alias or f"LiteLLM {row.token[:8]}",
        shown[-4:] if len(shown) >= 4 else "????",
        row.team_id,
        row.user_id,
        models,
        _moment(row.expires),
        bool(row.blocked),
        _terms(row),
    )


def _terms(row: AnyRow) -> Terms:
    budget = None if row.max_budget is None else Decimal(str(row.max_budget))
    return Terms(
        budget, row.budget_duration, Decimal(str(row.spend or 0)), row.tpm_limit, row.rpm_limit,
        row.max_parallel_requests,
    )  # fmt: skip


def _models(value: Any, *, has_team: bool = False) -> tuple[str, ...] | None:
    """Read a list of names, PostgreSQL's array or, from elsewhere, JSON; None for every model (or all of the team's).

    What is said to be the team's is nothing for a key without one.
    """
    names = msgspec.json.decode(value, type=list[str]) if isinstance(value, str) else list(value or ())
    if not names or EVERY_MODEL & set(names) or (has_team and TEAM_MODELS in names):
        return None
    return tuple(name for name in names if name not in (TEAM_MODELS, NO_MODELS))


def _moment(value: Any) -> int | None:
    """Return Unix seconds of a UTC time without a zone."""
    if value is None:
        return None
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return int(moment.replace(tzinfo=UTC).timestamp())


def _is_digest(token: str) -> bool:
    return len(token) == DIGEST_CHARACTERS and all(character in "0123456789abcdef" for character in token)
