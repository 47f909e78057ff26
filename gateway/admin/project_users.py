"""/v1/organization/projects/{project_id}/users: who belongs to a project. Who leaves it loses their keys in it."""

from typing import Literal

import msgspec

from gateway.admin.boundary import Access, AdminRequest, AdminRoute, Changed
from gateway.admin.decoding import Nothing
from gateway.admin.fields import Email, Id
from gateway.admin.lists import Deleted, ListOf, Paging, listed
from gateway.admin.projects import PROJECT
from gateway.core.errors import InvalidRequest
from gateway.store import api_keys, users
from gateway.store.engine import Connection

MEMBERS = f"{PROJECT}/users"
MEMBER = f"{MEMBERS}/{{user_id}}"

Role = Literal["owner", "member"]


class ProjectUserObject(msgspec.Struct, frozen=True):
    """OpenAI's `organization.project.user`."""

    id: str
    email: str
    name: str
    role: str
    added_at: int
    object: str = "organization.project.user"


class NewProjectUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to add, by id or e-mail."""

    role: Role
    user_id: Id | None = None
    email: Email | None = None


class ProjectUserChanges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can change of a membership; null stays."""

    role: Role | None = None


async def create_project_user(request: AdminRequest[Nothing, NewProjectUser]) -> ProjectUserObject:
    """Make a user a member of the project."""
    project_id, new = request.path["project_id"], request.body
    if (new.user_id is None) == (new.email is None):
        raise InvalidRequest("Send either `user_id` or `email`.", param="user_id", code="invalid_value")

    def work(connection: Connection) -> Changed[users.ProjectUser]:
        id = new.user_id if new.email is None else users.with_email(connection, new.email).id
        made = users.add_to_project(connection, project_id, id or "", new.role, request.now)
        return Changed(made, made.id, after=made, project_id=project_id)

    return _show(await request.change("user.added", work))


async def list_project_users(request: AdminRequest[Paging, Nothing]) -> ListOf[ProjectUserObject]:
    """List the project's users."""
    found = await request.read(
        lambda connection: users.members(connection, request.path["project_id"], request.query.cursor)
    )
    return listed(found, _show)


async def retrieve_project_user(request: AdminRequest[Nothing, Nothing]) -> ProjectUserObject:
    """Show a membership."""
    project_id, id = request.path["project_id"], request.path["user_id"]
    return _show(await request.read(lambda connection: users.member(connection, project_id, id)))


async def update_project_user(request: AdminRequest[Nothing, ProjectUserChanges]) -> ProjectUserObject:
    """Change a member's role."""
    project_id, id = request.path["project_id"], request.path["user_id"]

    def work(connection: Connection) -> Changed[users.ProjectUser]:
        before = users.member(connection, project_id, id)
        after = users.set_member_role(connection, project_id, id, request.body.role or before.role)
        return Changed(after, id, before, after, project_id)

    return _show(await request.change("user.updated", work))


async def delete_project_user(request: AdminRequest[Nothing, Nothing]) -> Deleted:
    """End a membership and the user's keys in the project."""
    project_id, id = request.path["project_id"], request.path["user_id"]

    def work(connection: Connection) -> Changed[None]:
        before = users.remove_from_project(connection, project_id, id)
        api_keys.delete_of_user(connection, id, request.now, project_id=project_id)
        return Changed(None, id, before, project_id=project_id)

    await request.change("user.deleted", work)
    return Deleted("organization.project.user.deleted", id)


def _show(member: users.ProjectUser) -> ProjectUserObject:
    return ProjectUserObject(member.id, member.email, member.name, member.role, member.added_at)


ROUTES = (
    AdminRoute("POST", MEMBERS, create_project_user, Access.OWNER, Nothing, NewProjectUser),
    AdminRoute("GET", MEMBERS, list_project_users, Access.READER, Paging, Nothing),
    AdminRoute("GET", MEMBER, retrieve_project_user, Access.READER, Nothing, Nothing),
    AdminRoute("POST", MEMBER, update_project_user, Access.OWNER, Nothing, ProjectUserChanges),
    AdminRoute("DELETE", MEMBER, delete_project_user, Access.OWNER, Nothing, Nothing),
)
