"""What LiteLLM's proxy keeps in its database: teams, people, and keys by the SHA-256 of their text, as it finds them.

Read only. The columns that must be there are those that its first migration made and every later one kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import Connection, TextClause, make_url, text

DIGEST_CHARACTERS = 64
EVERY_MODEL = frozenset({"all-proxy-models", "*"})
TEAM_MODELS, NO_MODELS = "all-team-models", "no-default-models"
"""Words among models that name none: what the team may call, and nothing that is not said beside it."""
_TEAMS, _PEOPLE, _KEYS, _BUDGETS = (
    text(f'SELECT * FROM "LiteLLM_{table}" ORDER BY {id}')  # noqa: S608
    for table, id in (
        ("TeamTable", "team_id"), ("UserTable", "user_id"), ("VerificationToken", "token"), ("BudgetTable", "budget_id")
    )
)  # fmt: skip
_UNKEPT = {
    "model_max_budget": "budgets by model",
    "allowed_routes": "list of routes",
    "organization_id": "organization's budget and models",
    "project_id": "project's budget and models",
}
"""What binds somebody there and has no counterpart here, where such a column holds anything."""
_UNKEPT_METADATA = {"model_rpm_limit": "rates by model", "model_tpm_limit": "rates by model"}
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Terms:
    """What somebody may use. Budget and spend are USD; `duration` is LiteLLM's, such as 30d, None for ever."""

    max_budget: Decimal | None
    duration: str | None
    spend: Decimal
    tokens_per_minute: int | None
    requests_per_minute: int | None
    parallel_requests: int | None

    @property
    def binds(self) -> bool:
        """Tell whether anything is said."""
        rates = self.tokens_per_minute, self.requests_per_minute, self.parallel_requests
        return self.max_budget is not None or any(rate is not None for rate in rates)


@dataclass(frozen=True, slots=True)
class Team:
    """A team. `unkept` says what binds it there and cannot come, so with people and keys.

    `models` None allows every model, none of them none. The keys of a blocked one open nothing.
    """

    id: str
    name: str
    models: tuple[str, ...] | None
    blocked: bool
    terms: Terms
    unkept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Person:
    """A user; many have no e-mail there. `models` bind the keys that belong to no team, as a team's do."""

    id: str
    email: str | None
    models: tuple[str, ...] | None
    terms: Terms
    unkept: tuple[str, ...] = ()


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
    unkept: tuple[str, ...] = ()


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
        Team(
            row["team_id"], row["team_alias"] or row["team_id"], _models(row["models"]), bool(row["blocked"]),
            _terms(row), _unkept(row),
        )
        for row in _rows(connection, _TEAMS)
    ]  # fmt: skip
    people = [
        Person(row["user_id"], row["user_email"], _models(row["models"]), _terms(row), _unkept(row))
        for row in _rows(connection, _PEOPLE)
    ]
    permitted = {person.id: person.models for person in people}
    budgets = {row["budget_id"]: row for row in _rows(connection, _BUDGETS)}
    keys = [
        _key(row, budgets.get(row["budget_id"], {}), permitted.get(row["user_id"]))
        for row in _rows(connection, _KEYS)
        if _is_digest(row["token"])
    ]
    return Books(teams, people, keys)


def _rows(connection: Connection, query: TextClause) -> list[Json]:
    return [dict(row) for row in connection.execute(query).mappings()]


def _key(row: Json, budget: Json, permitted: tuple[str, ...] | None) -> Key:
    """Return a key; what it does not say itself, its budget says."""
    shown, models = row["key_name"] or "", _models(row["models"], has_team=row["team_id"] is not None)
    if row["team_id"] is None and permitted is not None:
        models = permitted if models is None else tuple(name for name in models if name in permitted)
    return Key(
        bytes.fromhex(row["token"]),
        row["key_alias"] or f"LiteLLM {row['token'][:8]}",
        shown[-4:] if len(shown) >= 4 else "????",
        row["team_id"],
        row["user_id"],
        models,
        _moment(row["expires"]),
        bool(row["blocked"]),
        _terms({**row, **{name: told for name, told in budget.items() if row.get(name) is None}}),
        tuple(dict.fromkeys((*_unkept(row), *_unkept(budget)))),
    )


def _terms(row: Json) -> Terms:
    budget = None if row["max_budget"] is None else Decimal(str(row["max_budget"]))
    return Terms(
        budget, row["budget_duration"], Decimal(str(row["spend"] or 0)), row["tpm_limit"], row["rpm_limit"],
        row["max_parallel_requests"],
    )  # fmt: skip


def _unkept(row: Json) -> tuple[str, ...]:
    metadata = _json(row.get("metadata")) or {}
    told = [words for column, words in _UNKEPT.items() if _json(row.get(column))]
    told += [words for name, words in _UNKEPT_METADATA.items() if metadata.get(name)]
    return tuple(dict.fromkeys(told))


def _json(value: Any) -> Any:
    """Return what a column of JSON holds, and of others what they are: drivers give either as text."""
    try:
        return msgspec.json.decode(value) if isinstance(value, str) else value
    except msgspec.DecodeError:
        return value


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
