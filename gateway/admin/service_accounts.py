"""/v1/organization/projects/{project_id}/service_accounts: the programs. One comes with a first key."""

from collections.abc import Callable
from typing import Literal

import msgspec

from gateway.admin.boundary import Access, AdminRequest, AdminRoute, Changed
from gateway.admin.decoding import Nothing
from gateway.admin.fields import LifetimeSeconds, Name
from gateway.admin.lists import Deleted, ListOf, Paging, listed
from gateway.admin.projects import PROJECT
from gateway.core.errors import InvalidRequest
from gateway.core.keys import PUBLIC_ID_LENGTH, SECRET_LENGTH, make_key
from gateway.store import api_keys, service_accounts
from gateway.store.engine import Connection

ACCOUNTS = f"{PROJECT}/service_accounts"
ACCOUNT = f"{ACCOUNTS}/{{service_account_id}}"


class ServiceAccountObject(msgspec.Struct, frozen=True):
    """OpenAI's `organization.project.service_account`."""

    id: str
    name: str
    role: str
    created_at: int
    object: str = "organization.project.service_account"


class ServiceAccountKey(msgspec.Struct, frozen=True):
    """OpenAI's `organization.project.service_account.api_key`. `value` is shown this once."""

    id: str
    name: str
    value: str
    created_at: int
    expires_at: int | None
    object: str = "organization.project.service_account.api_key"


class CreatedServiceAccount(msgspec.Struct, frozen=True):
    """A new service account with its first key, if it has one."""

    id: str
    name: str
    role: str
    created_at: int
    api_key: ServiceAccountKey | None
    object: str = "organization.project.service_account"


class NewServiceAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a service account is made of."""

    name: Name
    create_service_account_only: bool | None = None
    expires_in_seconds: LifetimeSeconds | None = None


class ServiceAccountChanges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can change of a service account; null stays."""

    name: Name | None = None
    role: Literal["member", "owner"] | None = None


class NewServiceAccountKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a further key is made of. `scopes` may only be empty: models and limits bound keys here."""

    name: Name | None = None
    expires_in_seconds: LifetimeSeconds | None = None
    scopes: tuple[str, ...] = ()


async def create_service_account(request: AdminRequest[Nothing, NewServiceAccount]) -> CreatedServiceAccount:
    """Make a service account and its first key."""
    project_id, id, new = request.path["project_id"], request.new_id("service_account"), request.body
    alone = bool(new.create_service_account_only)
    if alone and new.expires_in_seconds is not None:
        raise InvalidRequest(
            "`expires_in_seconds` is for the key that `create_service_account_only` leaves out.",
            param="expires_in_seconds",
            code="invalid_value",
        )
    make_first_key = None if alone else _key_maker(request, project_id, id, new.name, new.expires_in_seconds)

    def work(connection: Connection) -> Changed[CreatedServiceAccount]:
        role = "none" if alone else "member"
        made = service_accounts.create(connection, id, project_id, new.name, role, request.now)
        key = make_first_key(connection) if make_first_key else None
        answer = CreatedServiceAccount(made.id, made.name, made.role, made.created_at, key.value if key else None)
        after = msgspec.to_builtins(made) | {"api_key": key.after if key else None}
        return Changed(answer, id, after=after, project_id=project_id)

    return await request.change("service_account.created", work)


async def list_service_accounts(request: AdminRequest[Paging, Nothing]) -> ListOf[ServiceAccountObject]:
    """List the project's service accounts."""
    found = await request.read(
        lambda connection: service_accounts.page(connection, request.path["project_id"], request.query.cursor)
    )
    return listed(found, _show)


async def retrieve_service_account(request: AdminRequest[Nothing, Nothing]) -> ServiceAccountObject:
    """Show a service account."""
    project_id, id = request.path["project_id"], request.path["service_account_id"]
    return _show(await request.read(lambda connection: service_accounts.get(connection, project_id, id)))


async def update_service_account(request: AdminRequest[Nothing, ServiceAccountChanges]) -> ServiceAccountObject:
    """Change name or role."""
    project_id, id, changes = request.path["project_id"], request.path["service_account_id"], request.body

    def work(connection: Connection) -> Changed[service_accounts.ServiceAccount]:
        before = service_accounts.get(connection, project_id, id)
        after = service_accounts.update(connection, project_id, id, name=changes.name, role=changes.role)
        return Changed(after, id, before, after, project_id)

    return _show(await request.change("service_account.updated", work))


async def delete_service_account(request: AdminRequest[Nothing, Nothing]) -> Deleted:
    """Remove a service account and its keys. What it used stays on record."""
    project_id, id = request.path["project_id"], request.path["service_account_id"]

    def work(connection: Connection) -> Changed[None]:
        before = service_accounts.delete(connection, project_id, id, request.now)
        api_keys.delete_of_service_account(connection, id, request.now)
        return Changed(None, id, before, project_id=project_id)

    await request.change("service_account.deleted", work)
    return Deleted("organization.project.service_account.deleted", id)


async def create_service_account_key(request: AdminRequest[Nothing, NewServiceAccountKey]) -> ServiceAccountKey:
    """Make a further key for a service account."""
    project_id, account_id, new = request.path["project_id"], request.path["service_account_id"], request.body
    if new.scopes:
        raise InvalidRequest(
            "Scopes are not known here; models and limits bound a key.", param="scopes", code="invalid_value"
        )
    name = new.name or "Secret key"
    return await request.change(
        "api_key.created", _key_maker(request, project_id, account_id, name, new.expires_in_seconds)
    )


def _key_maker(
    request: AdminRequest[Nothing, NewServiceAccount] | AdminRequest[Nothing, NewServiceAccountKey],
    project_id: str,
    account_id: str,
    name: str,
    expires_in_seconds: int | None,
) -> Callable[[Connection], Changed[ServiceAccountKey]]:
    draw = request.services.random_base62
    secret = make_key(draw(PUBLIC_ID_LENGTH), draw(SECRET_LENGTH))
    expires_at = None if expires_in_seconds is None else request.now + expires_in_seconds
    new = api_keys.NewApiKey(
        request.new_id("api_key"), project_id, name, service_account_id=account_id, expires_at=expires_at
    )

    def work(connection: Connection) -> Changed[ServiceAccountKey]:
        made = api_keys.create(connection, new, secret, request.now)
        answer = ServiceAccountKey(made.id, made.name, secret.text, made.created_at, made.expires_at)
        return Changed(answer, made.id, after=made, project_id=project_id)

    return work


def _show(account: service_accounts.ServiceAccount) -> ServiceAccountObject:
    return ServiceAccountObject(account.id, account.name, account.role, account.created_at)


ROUTES = (
    AdminRoute("POST", ACCOUNTS, create_service_account, Access.OWNER, Nothing, NewServiceAccount),
    AdminRoute("GET", ACCOUNTS, list_service_accounts, Access.READER, Paging, Nothing),
    AdminRoute("GET", ACCOUNT, retrieve_service_account, Access.READER, Nothing, Nothing),
    AdminRoute("POST", ACCOUNT, update_service_account, Access.OWNER, Nothing, ServiceAccountChanges),
    AdminRoute("DELETE", ACCOUNT, delete_service_account, Access.OWNER, Nothing, Nothing),
    AdminRoute("POST", f"{ACCOUNT}/api_keys", create_service_account_key, Access.OWNER, Nothing, NewServiceAccountKey),
)
