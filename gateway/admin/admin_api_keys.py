"""/v1/organization/admin_api_keys: who administers. The last owner cannot be deleted, so that nobody is locked out."""

from typing import Literal

import msgspec

from gateway.admin.boundary import Access, AdminRequest, AdminRoute, Changed
from gateway.admin.decoding import Nothing
from gateway.admin.fields import Id, LifetimeSeconds, Name, PageSize
from gateway.admin.lists import Deleted, ListOf, listed
from gateway.core.errors import Forbidden
from gateway.core.keys import ADMIN_PREFIX, PUBLIC_ID_LENGTH, SECRET_LENGTH, make_key
from gateway.store import admin_api_keys
from gateway.store.engine import Connection
from gateway.store.pages import Cursor

KEYS = "/v1/organization/admin_api_keys"
KEY = f"{KEYS}/{{key_id}}"

Role = Literal["owner", "reader"]


class Owner(msgspec.Struct, frozen=True):
    """OpenAI's owner of an admin key is a user; ours are keys of their own, so only name and role tell something."""

    name: str
    role: str
    created_at: int
    id: str | None = None
    type: str = "user"
    object: str = "organization.user"


class AdminKeyObject(msgspec.Struct, frozen=True):
    """OpenAI's `organization.admin_api_key`, and `role`, which is ours."""

    id: str
    name: str
    role: str
    redacted_value: str
    created_at: int
    expires_at: int | None
    owner: Owner
    last_used_at: int | None = None
    object: str = "organization.admin_api_key"


class CreatedAdminKey(AdminKeyObject, frozen=True, kw_only=True):
    """A new key. `value` is shown this once."""

    value: str


class NewAdminKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an admin key is made of."""

    name: Name
    role: Role = "owner"
    expires_in_seconds: LifetimeSeconds | None = None


class ListAdminKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query of the list."""

    after: Id | None = None
    limit: PageSize = 20
    order: Literal["asc", "desc"] = "asc"


async def create_admin_key(request: AdminRequest[Nothing, NewAdminKey]) -> CreatedAdminKey:
    """Make an admin key."""
    draw, new = request.services.random_base62, request.body
    secret = make_key(draw(PUBLIC_ID_LENGTH), draw(SECRET_LENGTH), admin=True)
    expires_at = None if new.expires_in_seconds is None else request.now + new.expires_in_seconds
    _check_outlives(request.caller.expires_at, expires_at)
    redacted = f"{ADMIN_PREFIX}{secret.public_id}...{secret.last_four}"
    id = request.new_id("admin_api_key")
    key = admin_api_keys.AdminApiKey(id, new.name, new.role, redacted, request.now, expires_at)

    def work(connection: Connection) -> Changed[None]:
        admin_api_keys.create(connection, key, secret.digest)
        return Changed(None, id, after=key)

    await request.change("tenant.admin_api_key.created", work)
    return CreatedAdminKey(**msgspec.structs.asdict(_show(key)), value=secret.text)


async def list_admin_keys(request: AdminRequest[ListAdminKeys, Nothing]) -> ListOf[AdminKeyObject]:
    """List admin keys by the time of their creation."""
    query = request.query
    cursor = Cursor(query.after, query.limit, query.order == "desc")
    return listed(await request.read(lambda connection: admin_api_keys.page(connection, cursor)), _show)


async def retrieve_admin_key(request: AdminRequest[Nothing, Nothing]) -> AdminKeyObject:
    """Show an admin key."""
    return _show(await request.read(lambda connection: admin_api_keys.get(connection, request.path["key_id"])))


async def delete_admin_key(request: AdminRequest[Nothing, Nothing]) -> Deleted:
    """End an admin key."""
    id = request.path["key_id"]

    def work(connection: Connection) -> Changed[None]:
        return Changed(None, id, admin_api_keys.delete(connection, id, request.now))

    await request.change("tenant.admin_api_key.deleted", work)
    return Deleted("organization.admin_api_key.deleted", id)


def _check_outlives(own: int | None, new: int | None) -> None:
    """Raises Forbidden for a key that would be valid for longer than the one that makes it."""
    if own is not None and (new is None or new > own):
        raise Forbidden(
            f"This admin API key ends at {own}; it cannot make one that ends later. Send a shorter "
            "`expires_in_seconds`.",
            code="insufficient_permissions",
            param="expires_in_seconds",
        )


def _show(key: admin_api_keys.AdminApiKey) -> AdminKeyObject:
    owner = Owner(key.name, key.role, key.created_at)
    expires_at, used_at = key.expires_at, key.last_used_at
    return AdminKeyObject(key.id, key.name, key.role, key.redacted, key.created_at, expires_at, owner, used_at)


ROUTES = (
    AdminRoute("POST", KEYS, create_admin_key, Access.OWNER, Nothing, NewAdminKey),
    AdminRoute("GET", KEYS, list_admin_keys, Access.READER, ListAdminKeys, Nothing),
    AdminRoute("GET", KEY, retrieve_admin_key, Access.READER, Nothing, Nothing),
    AdminRoute("DELETE", KEY, delete_admin_key, Access.OWNER, Nothing, Nothing),
)
