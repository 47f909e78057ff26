"""/v1/organization/projects/{project_id}/api_keys: what programs call with. Creating and rotating are ours."""

from dataclasses import replace
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from gateway.admin import limits as limit_routes
from gateway.admin.boundary import Access, AdminRequest, AdminRoute, Changed
from gateway.admin.decoding import Nothing
from gateway.admin.fields import GraceSeconds, Id, LifetimeSeconds, ModelPatterns, Name
from gateway.admin.limits import LimitObject, NewLimitTerms
from gateway.admin.lists import Deleted, ListOf, Paging, listed
from gateway.admin.projects import PROJECT
from gateway.core.errors import InvalidRequest
from gateway.core.keys import MEMBER_PREFIX, PUBLIC_ID_LENGTH, SECRET_LENGTH, make_key
from gateway.core.limits import Scope
from gateway.store import api_keys, limit_opening, standings
from gateway.store.engine import Connection

KEYS = f"{PROJECT}/api_keys"
KEY = f"{KEYS}/{{api_key_id}}"

Standing = Literal["active", "inactive"]


class OwningUser(msgspec.Struct, frozen=True):
    """The person who holds a key."""

    id: str
    email: str
    name: str
    role: str
    created_at: int


class OwningServiceAccount(msgspec.Struct, frozen=True):
    """The program that holds a key."""

    id: str
    name: str
    role: str
    created_at: int


class Owner(msgspec.Struct, frozen=True, omit_defaults=True):
    """Exactly one of the two is there."""

    type: Literal["user", "service_account"]
    user: OwningUser | None = None
    service_account: OwningServiceAccount | None = None


class ApiKeyObject(msgspec.Struct, frozen=True):
    """OpenAI's `organization.project.api_key`, and `models` and `disabled`, which are ours."""

    id: str
    name: str
    redacted_value: str
    created_at: int
    expires_at: int | None
    owner: Owner
    owner_project_access: Standing
    models: tuple[str, ...] | None
    disabled: bool
    last_used_at: int | None = None
    object: str = "organization.project.api_key"


class CreatedApiKey(ApiKeyObject, frozen=True, kw_only=True):
    """A new or rotated key. `value` is shown this once; `limits` are those made with the key."""

    value: str
    limits: tuple[LimitObject, ...] = ()


class NewApiKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a key is made of. It belongs to a user, who becomes a member if need be, or to a service account."""

    name: Name
    user_id: Id | None = None
    service_account_id: Id | None = None
    expires_in_seconds: LifetimeSeconds | None = None
    models: ModelPatterns | None = None
    limits: Annotated[tuple[NewLimitTerms, ...], msgspec.Meta(max_length=50)] = ()


class ApiKeyChanges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can change of a key; what is absent stays. Null `models` allow every model, null expiry is never."""

    name: Name | UnsetType = UNSET
    models: ModelPatterns | UnsetType | None = UNSET
    expires_in_seconds: LifetimeSeconds | UnsetType | None = UNSET
    disabled: bool | UnsetType = UNSET
    scopes: tuple[str, ...] = ()


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long the present text stays valid."""

    grace_seconds: GraceSeconds = 0


class ListApiKeys(Paging, frozen=True, forbid_unknown_fields=True):
    """The query of the list."""

    owner_project_access: Literal["active", "inactive", "any"] = "any"


async def create_api_key(request: AdminRequest[Nothing, NewApiKey]) -> CreatedApiKey:
    """Make a key with its limits."""
    body, id, project_id = request.body, request.new_id("api_key"), request.path["project_id"]
    if (body.user_id is None) == (body.service_account_id is None):
        raise InvalidRequest("Send either `user_id` or `service_account_id`.", param="user_id", code="invalid_value")
    expires_at = None if body.expires_in_seconds is None else request.now + body.expires_in_seconds
    new = api_keys.NewApiKey(id, project_id, body.name, body.user_id, body.service_account_id, body.models, expires_at)
    terms = [
        term.limit(request.new_id("limit"), Scope.API_KEY, id, f"limits[{place}].")
        for place, term in enumerate(body.limits)
    ]
    draw = request.services.random_base62
    secret = make_key(draw(PUBLIC_ID_LENGTH), draw(SECRET_LENGTH))

    def work(connection: Connection) -> Changed[CreatedApiKey]:
        made = api_keys.create(connection, new, secret, request.now)
        for limit in terms:
            limit_opening.create(connection, limit, request.now)
        shown = [limit_routes.show(standing) for standing in standings.read(connection, terms, request.now)]
        after = msgspec.to_builtins(made) | {"limits": terms}
        return Changed(_reveal(made, secret.text, tuple(shown)), id, after=after, project_id=project_id)

    return await request.change("api_key.created", work)


async def list_api_keys(request: AdminRequest[ListApiKeys, Nothing]) -> ListOf[ApiKeyObject]:
    """List the project's keys."""
    query, project_id = request.query, request.path["project_id"]
    access = {"active": True, "inactive": False, "any": None}[query.owner_project_access]
    found = await request.read(
        lambda connection: api_keys.page(connection, project_id, query.cursor, with_access=access)
    )
    return listed(found, _show)


async def retrieve_api_key(request: AdminRequest[Nothing, Nothing]) -> ApiKeyObject:
    """Show a key."""
    project_id, id = request.path["project_id"], request.path["api_key_id"]
    return _show(await request.read(lambda connection: api_keys.get(connection, project_id, id)))


async def update_api_key(request: AdminRequest[Nothing, ApiKeyChanges]) -> ApiKeyObject:
    """Rename, disable or enable a key, change its models or its expiry."""
    project_id, id, changes = request.path["project_id"], request.path["api_key_id"], request.body
    if changes.scopes:
        raise InvalidRequest(
            "Scopes are not known here; models and limits bound a key.", param="scopes", code="invalid_value"
        )

    def work(connection: Connection) -> Changed[api_keys.ApiKey]:
        before = api_keys.get(connection, project_id, id)
        after = api_keys.update(connection, _with_changes(before, changes, request.now), request.now)
        return Changed(after, id, before, after, project_id)

    return _show(await request.change("api_key.updated", work))


async def delete_api_key(request: AdminRequest[Nothing, Nothing]) -> Deleted:
    """End a key. What it used stays on record."""
    project_id, id = request.path["project_id"], request.path["api_key_id"]

    def work(connection: Connection) -> Changed[None]:
        before = api_keys.delete(connection, project_id, id, request.now)
        return Changed(None, id, before, project_id=project_id)

    await request.change("api_key.deleted", work)
    return Deleted("organization.project.api_key.deleted", id)


async def rotate_api_key(request: AdminRequest[Nothing, Rotation]) -> CreatedApiKey:
    """Give a key a new text under the same id, limits and usage."""
    project_id, id, grace_seconds = request.path["project_id"], request.path["api_key_id"], request.body.grace_seconds
    grace = {"grace_seconds": grace_seconds}
    draw = request.services.random_base62
    secret = make_key(draw(PUBLIC_ID_LENGTH), draw(SECRET_LENGTH))

    def work(connection: Connection) -> Changed[api_keys.ApiKey]:
        before = api_keys.get(connection, project_id, id)
        after = api_keys.rotate(connection, project_id, id, secret, grace_seconds, request.now)
        return Changed(after, id, before, msgspec.to_builtins(after) | grace, project_id)

    return _reveal(await request.change("api_key.updated", work), secret.text, ())


def _with_changes(key: api_keys.ApiKey, changes: ApiKeyChanges, now: int) -> api_keys.ApiKey:
    seconds = changes.expires_in_seconds
    expires_at = key.expires_at if seconds is UNSET else None if seconds is None else now + seconds
    return replace(
        key,
        name=key.name if changes.name is UNSET else changes.name,
        models=key.models if changes.models is UNSET else changes.models,
        expires_at=expires_at,
        disabled=key.disabled if changes.disabled is UNSET else changes.disabled,
    )


def _show(key: api_keys.ApiKey) -> ApiKeyObject:
    return ApiKeyObject(
        id=key.id,
        name=key.name,
        redacted_value=f"{MEMBER_PREFIX}{key.public_id}-...{key.last_four}",
        created_at=key.created_at,
        expires_at=key.expires_at,
        owner=_owner(key.holder),
        owner_project_access="active" if key.holder.has_access else "inactive",
        models=key.models,
        disabled=key.disabled,
        last_used_at=key.last_used_at,
    )


def _owner(holder: api_keys.Holder) -> Owner:
    if holder.email is None:
        account = OwningServiceAccount(holder.id, holder.name, holder.role, holder.created_at)
        return Owner("service_account", service_account=account)
    return Owner("user", user=OwningUser(holder.id, holder.email, holder.name, holder.role, holder.created_at))


def _reveal(key: api_keys.ApiKey, value: str, limits: tuple[LimitObject, ...]) -> CreatedApiKey:
    return CreatedApiKey(**msgspec.structs.asdict(_show(key)), value=value, limits=limits)


ROUTES = (
    AdminRoute("POST", KEYS, create_api_key, Access.OWNER, Nothing, NewApiKey),
    AdminRoute("GET", KEYS, list_api_keys, Access.READER, ListApiKeys, Nothing),
    AdminRoute("GET", KEY, retrieve_api_key, Access.READER, Nothing, Nothing),
    AdminRoute("POST", KEY, update_api_key, Access.OWNER, Nothing, ApiKeyChanges),
    AdminRoute("DELETE", KEY, delete_api_key, Access.OWNER, Nothing, Nothing),
    AdminRoute("POST", f"{KEY}/rotate", rotate_api_key, Access.OWNER, Nothing, Rotation),
)
