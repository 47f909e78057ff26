"""/v1/organization/users: the people. They are created directly, because nobody logs in here: keys are what counts."""

from typing import Annotated, Literal

import msgspec

from gateway.admin.boundary import Access, AdminRequest, AdminRoute, Changed
from gateway.admin.decoding import Nothing
from gateway.admin.fields import Email, Name
from gateway.admin.lists import Deleted, ListOf, Paging, listed
from gateway.store import api_keys, erasure, users
from gateway.store.engine import Connection

USERS = "/v1/organization/users"
USER = f"{USERS}/{{user_id}}"

Role = Literal["owner", "reader"]


class Person(msgspec.Struct, frozen=True):
    """The nested half of OpenAI's user."""

    id: str
    email: str
    name: str
    enabled: bool
    object: str = "user"


class UserObject(msgspec.Struct, frozen=True):
    """OpenAI's `organization.user`, and `disabled`, which is ours."""

    id: str
    email: str
    name: str
    role: str
    added_at: int
    created: int
    disabled: bool
    user: Person
    is_service_account: bool = False
    object: str = "organization.user"


class Erased(msgspec.Struct, frozen=True):
    """What is answered when somebody was forgotten."""

    id: str
    erased: bool = True
    object: str = "organization.user.erased"


class NewUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a user is made of."""

    email: Email
    name: Name
    role: Role = "reader"


class UserChanges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can change of a user; what is absent or null stays. OpenAI's last three may be sent as null only."""

    name: Name | None = None
    role: Role | None = None
    disabled: bool | None = None
    role_id: None = None
    developer_persona: None = None
    technical_level: None = None


class ListUsers(Paging, frozen=True, forbid_unknown_fields=True):
    """The query of the list."""

    emails: Annotated[tuple[Email, ...], msgspec.Meta(max_length=100)] = ()


async def create_user(request: AdminRequest[Nothing, NewUser]) -> UserObject:
    """Make a user."""
    id, new = request.new_id("user"), request.body

    def work(connection: Connection) -> Changed[users.User]:
        made = users.create(connection, id, new.email, new.name, new.role, request.now)
        return Changed(made, id, after=made)

    return _show(await request.change("user.added", work))


async def list_users(request: AdminRequest[ListUsers, Nothing]) -> ListOf[UserObject]:
    """List users."""
    query = request.query
    return listed(
        await request.read(lambda connection: users.page(connection, query.cursor, emails=query.emails)), _show
    )


async def retrieve_user(request: AdminRequest[Nothing, Nothing]) -> UserObject:
    """Show a user."""
    return _show(await request.read(lambda connection: users.get(connection, request.path["user_id"])))


async def update_user(request: AdminRequest[Nothing, UserChanges]) -> UserObject:
    """Rename, disable or enable a user, or change the role."""
    id, changes = request.path["user_id"], request.body

    def work(connection: Connection) -> Changed[users.User]:
        before = users.get(connection, id)
        after = users.update(connection, id, name=changes.name, role=changes.role, disabled=changes.disabled)
        return Changed(after, id, before, after)

    return _show(await request.change("user.updated", work))


async def delete_user(request: AdminRequest[Nothing, Nothing]) -> Deleted:
    """Remove a user, their memberships and their keys. What they used stays on record."""
    id = request.path["user_id"]

    def work(connection: Connection) -> Changed[None]:
        before = users.delete(connection, id, request.now)
        api_keys.delete_of_user(connection, id, request.now)
        return Changed(None, id, before)

    await request.change("user.deleted", work)
    return Deleted("organization.user.deleted", id)


async def erase_user(request: AdminRequest[Nothing, Nothing]) -> Erased:
    """Forget who a user was, deleted or not: name and e-mail go everywhere, what they used stays. For good."""
    id = request.path["user_id"]

    def work(connection: Connection) -> Changed[None]:
        erasure.erase(connection, id, request.now)
        return Changed(None, id)

    await request.change("user.deleted", work)
    return Erased(id)


def _show(user: users.User) -> UserObject:
    person = Person(user.id, user.email, user.name, not user.disabled)
    return UserObject(
        user.id, user.email, user.name, user.role, user.created_at, user.created_at, user.disabled, person
    )


ROUTES = (
    AdminRoute("POST", USERS, create_user, Access.OWNER, Nothing, NewUser),
    AdminRoute("GET", USERS, list_users, Access.READER, ListUsers, Nothing),
    AdminRoute("GET", USER, retrieve_user, Access.READER, Nothing, Nothing),
    AdminRoute("POST", USER, update_user, Access.OWNER, Nothing, UserChanges),
    AdminRoute("DELETE", USER, delete_user, Access.OWNER, Nothing, Nothing),
    AdminRoute("POST", f"{USER}/erase", erase_user, Access.OWNER, Nothing, Nothing),
)
