"""API keys: what programs call with. A key may have two valid texts while a rotation's grace lasts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    Connection,
    ForeignKey,
    Index,
    LargeBinary,
    Select,
    Table,
    Text,
    and_,
    func,
    insert,
    literal_column,
    not_,
    or_,
    select,
)
from sqlalchemy import (
    delete as delete_from,
)
from sqlalchemy import (
    update as update_of,
)

from gateway.core.errors import Conflict, NotFound
from gateway.core.keys import NewKey
from gateway.store import projects, service_accounts, users
from gateway.store.pages import AnyRow, Cursor, Page
from gateway.store.pages import page as page_of
from gateway.store.tables import integer, metadata, text
from gateway.store.usage import usage, usage_day

api_key = Table(
    "api_key",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("project.id"), nullable=False),
    Column("user_id", Text, ForeignKey("user.id"), nullable=True),
    Column("service_account_id", Text, ForeignKey("service_account.id"), nullable=True),
    text("name"),
    text("public_id"),
    text("last_four"),
    text("models", null=True),
    integer("created_at"),
    integer("expires_at", null=True),
    integer("disabled", default=0),
    integer("deleted_at", null=True),
    CheckConstraint("(user_id IS NULL) <> (service_account_id IS NULL)", name="one_holder"),
    Index(None, "project_id"),
    Index(None, "user_id"),
)
"""`models` is a JSON list of wildcard patterns, null for every model."""

api_key_secret = Table(
    "api_key_secret",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("api_key_id", Text, ForeignKey("api_key.id", ondelete="CASCADE"), nullable=False, index=True),
    integer("valid_until", null=True),
)
"""SHA-256 digests of key texts; `valid_until` is the end of a rotation's grace, null for the present text."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose key it is. `email` is None for a service account; `has_access` is False once disabled or deleted."""

    type: Literal["user", "service_account"]
    id: str
    name: str
    email: str | None
    role: str
    created_at: int
    has_access: bool


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret. `models` are wildcard patterns, None for every model.

    `last_used_at` is when its last call was admitted, as the ledger has it: to the second, and to the day where only
    the sums of that day are left. None for a key that never made a call.
    """

    id: str
    project_id: str
    holder: Holder
    name: str
    public_id: str
    last_four: str
    models: tuple[str, ...] | None
    created_at: int
    expires_at: int | None
    disabled: bool
    last_used_at: int | None


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """What a key is made of. Exactly one of user and service account is set."""

    id: str
    project_id: str
    name: str
    user_id: str | None = None
    service_account_id: str | None = None
    models: tuple[str, ...] | None = None
    expires_at: int | None = None


def create(connection: Connection, new: NewApiKey, secret: NewKey, now: int) -> ApiKey:
    """Store a key. A user who is not in the project becomes a member of it. Raises NotFound, Conflict."""
    projects.active(connection, new.project_id)
    if new.user_id is None:
        service_accounts.get(connection, new.project_id, new.service_account_id or "")
    elif not users.is_member(connection, new.project_id, new.user_id):
        users.add_to_project(connection, new.project_id, new.user_id, "member", now)
    connection.execute(
        insert(api_key).values(
            id=new.id,
            project_id=new.project_id,
            user_id=new.user_id,
            service_account_id=new.service_account_id,
            name=new.name,
            public_id=secret.public_id,
            last_four=secret.last_four,
            models=_models(new.models),
            created_at=now,
            expires_at=new.expires_at,
        )
    )
    connection.execute(insert(api_key_secret).values(digest=secret.digest, api_key_id=new.id))
    return get(connection, new.project_id, new.id)


def get(connection: Connection, project_id: str, id: str) -> ApiKey:
    """Return a key of this project that was not deleted. Raises NotFound."""
    row = connection.execute(_keys(api_key.c.project_id == project_id).where(api_key.c.id == id)).one_or_none()
    if row is None:
        projects.get(connection, project_id)
        raise NotFound(f"There is no API key {id} in this project.", code="not_found", param="api_key_id")
    return _api_key(row)


def project_of(connection: Connection, id: str) -> str:
    """Return the id of the project that a key belongs to. Raises NotFound."""
    query = select(api_key.c.project_id).where(api_key.c.id == id, api_key.c.deleted_at.is_(None))
    project_id: str | None = connection.execute(query).scalar_one_or_none()
    if project_id is None:
        raise NotFound(f"There is no API key {id}.", code="not_found", param="api_key_id")
    return project_id


def page(connection: Connection, project_id: str, cursor: Cursor, *, with_access: bool | None = None) -> Page[ApiKey]:
    """Return one page of a project's keys, of holders with or without access if that is asked. Raises NotFound."""
    projects.get(connection, project_id)
    within = api_key.c.project_id == project_id
    query = _keys(within)
    if with_access is not None:
        query = query.where(_HAS_ACCESS if with_access else not_(_HAS_ACCESS))
    return page_of(connection, query, (api_key.c.created_at, api_key.c.id), cursor, _api_key, within)


def update(connection: Connection, changed: ApiKey, now: int) -> ApiKey:
    """Store name, models, expiry and disabled of a key as `changed` has them. Raises NotFound, Conflict."""
    _changeable(connection, changed.project_id, changed.id, now)
    connection.execute(
        update_of(api_key)
        .where(api_key.c.id == changed.id)
        .values(
            name=changed.name,
            models=_models(changed.models),
            expires_at=changed.expires_at,
            disabled=int(changed.disabled),
        )
    )
    return get(connection, changed.project_id, changed.id)


def set_disabled(connection: Connection, id: str) -> None:
    """Let a key open nothing, whatever it is: an import brings over keys that have expired too."""
    connection.execute(update_of(api_key).where(api_key.c.id == id).values(disabled=1))


def rotate(connection: Connection, project_id: str, id: str, secret: NewKey, grace_seconds: int, now: int) -> ApiKey:
    """Give a key a new text; the present one, and older ones at most, open for `grace_seconds` more.

    Raises NotFound, Conflict.
    """
    present = _changeable(connection, project_id, id, now)
    own, valid_until = api_key_secret.c.api_key_id == id, api_key_secret.c.valid_until
    longer = or_(valid_until.is_(None), valid_until > now + grace_seconds)
    connection.execute(update_of(api_key_secret).where(own, longer).values(valid_until=now + grace_seconds))
    connection.execute(delete_from(api_key_secret).where(own, api_key_secret.c.valid_until <= now))
    connection.execute(insert(api_key_secret).values(digest=secret.digest, api_key_id=id))
    connection.execute(
        update_of(api_key).where(api_key.c.id == id).values(public_id=secret.public_id, last_four=secret.last_four)
    )
    return replace(present, public_id=secret.public_id, last_four=secret.last_four)


def delete(connection: Connection, project_id: str, id: str, now: int) -> ApiKey:
    """End a key for good; the row stays for reports. Raises NotFound, Conflict for an archived project."""
    projects.active(connection, project_id)
    present = get(connection, project_id, id)
    _end(connection, [id], now)
    return present


def delete_of_user(connection: Connection, user_id: str, now: int, *, project_id: str | None = None) -> list[str]:
    """End all keys of a user, or those in one project; return their ids."""
    return _end_where(connection, api_key.c.user_id == user_id, project_id, now)


def delete_of_service_account(connection: Connection, service_account_id: str, now: int) -> list[str]:
    """End all keys of a service account; return their ids."""
    return _end_where(connection, api_key.c.service_account_id == service_account_id, None, now)


def _changeable(connection: Connection, project_id: str, id: str, now: int) -> ApiKey:
    projects.active(connection, project_id)
    present = get(connection, project_id, id)
    if present.expires_at is not None and present.expires_at <= now:
        raise Conflict("This API key has expired and cannot be changed.", code="api_key_expired", param="api_key_id")
    return present


def _end_where(connection: Connection, whose: ColumnElement[bool], project_id: str | None, now: int) -> list[str]:
    query = select(api_key.c.id).where(whose, api_key.c.deleted_at.is_(None))
    if project_id is not None:
        query = query.where(api_key.c.project_id == project_id)
    ids = [str(id) for id in connection.execute(query).scalars()]
    _end(connection, ids, now)
    return ids


def _end(connection: Connection, ids: Sequence[str], now: int) -> None:
    connection.execute(delete_from(api_key_secret).where(api_key_secret.c.api_key_id.in_(ids)))
    connection.execute(update_of(api_key).where(api_key.c.id.in_(ids)).values(deleted_at=now))


_HAS_ACCESS = or_(
    and_(users.user.c.disabled == 0, users.user.c.deleted_at.is_(None), users.user.c.id.is_not(None)),
    and_(service_accounts.service_account.c.id.is_not(None), service_accounts.service_account.c.deleted_at.is_(None)),
)


# A step into an index for each key that is shown: nothing is written when a key is used.
_LAST_RECORD = select(func.max(usage.c.admitted_at_us)).where(usage.c.api_key_id == api_key.c.id)
_LAST_DAY = select(func.max(usage_day.c.start)).where(usage_day.c.api_key_id == api_key.c.id)
_LAST_USED_AT = func.coalesce(
    _LAST_RECORD.scalar_subquery() // literal_column("1000000", BigInteger), _LAST_DAY.scalar_subquery()
)


def _keys(within: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    user, account, membership = users.user, service_accounts.service_account, users.project_user
    return (
        select(
            api_key,
            user.c.name.label("user_name"),
            user.c.email,
            user.c.created_at.label("user_created_at"),
            membership.c.role.label("user_role"),
            account.c.name.label("account_name"),
            account.c.created_at.label("account_created_at"),
            account.c.role.label("account_role"),
            _HAS_ACCESS.label("has_access"),
            _LAST_USED_AT.label("last_used_at"),
        )
        .outerjoin(user, user.c.id == api_key.c.user_id)
        .outerjoin(
            membership,
            and_(membership.c.user_id == api_key.c.user_id, membership.c.project_id == api_key.c.project_id),
        )
        .outerjoin(account, account.c.id == api_key.c.service_account_id)
        .where(within, api_key.c.deleted_at.is_(None))
    )


def _api_key(row: AnyRow) -> ApiKey:
    return ApiKey(
        row.id,
        row.project_id,
        _holder(row),
        row.name,
        row.public_id,
        row.last_four,
        None if row.models is None else msgspec.json.decode(row.models, type=tuple[str, ...]),
        row.created_at,
        row.expires_at,
        bool(row.disabled),
        row.last_used_at,
    )


def _holder(row: AnyRow) -> Holder:
    access = bool(row.has_access)
    if row.user_id is None:
        account, born = row.service_account_id, row.account_created_at
        return Holder("service_account", account, row.account_name, None, row.account_role, born, access)
    role = row.user_role or "none"
    return Holder("user", row.user_id, row.user_name, row.email, role, row.user_created_at, access)


def _models(models: tuple[str, ...] | None) -> str | None:
    return None if models is None else msgspec.json.encode(models).decode()
