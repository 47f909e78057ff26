"""/v1/organization/projects: the teams. Archiving ends a project for good; nothing below it can change any more."""

from typing import Literal

import msgspec

from gateway.admin.boundary import Access, AdminRequest, AdminRoute, Changed
from gateway.admin.decoding import Nothing
from gateway.admin.fields import Name
from gateway.admin.lists import ListOf, Paging, listed
from gateway.store import projects
from gateway.store.engine import Connection

PROJECTS = "/v1/organization/projects"
PROJECT = f"{PROJECTS}/{{project_id}}"


class ProjectObject(msgspec.Struct, frozen=True):
    """OpenAI's `organization.project`."""

    id: str
    name: str
    created_at: int
    archived_at: int | None
    status: Literal["active", "archived"]
    object: str = "organization.project"


class NewProject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a project is made of. The rest of OpenAI's fields may be sent as null, as some tools do."""

    name: Name
    external_key_id: None = None
    geography: None = None
    residency: None = None


class ProjectChanges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can change of a project; null stays."""

    name: Name | None = None
    external_key_id: None = None
    geography: None = None


class ListProjects(Paging, frozen=True, forbid_unknown_fields=True):
    """The query of the list."""

    include_archived: bool = False


async def create_project(request: AdminRequest[Nothing, NewProject]) -> ProjectObject:
    """Make a project."""
    id = request.new_id("project")

    def work(connection: Connection) -> Changed[projects.Project]:
        made = projects.create(connection, id, request.body.name, request.now)
        return Changed(made, id, after=made, project_id=id)

    return _show(await request.change("project.created", work))


async def list_projects(request: AdminRequest[ListProjects, Nothing]) -> ListOf[ProjectObject]:
    """List projects, archived ones only if asked."""
    query = request.query
    found = await request.read(
        lambda connection: projects.page(connection, query.cursor, include_archived=query.include_archived)
    )
    return listed(found, _show)


async def retrieve_project(request: AdminRequest[Nothing, Nothing]) -> ProjectObject:
    """Show a project."""
    return _show(await request.read(lambda connection: projects.get(connection, request.path["project_id"])))


async def update_project(request: AdminRequest[Nothing, ProjectChanges]) -> ProjectObject:
    """Rename a project."""
    id = request.path["project_id"]

    def work(connection: Connection) -> Changed[projects.Project]:
        before = projects.get(connection, id)
        after = projects.rename(connection, id, request.body.name or before.name)
        return Changed(after, id, before, after, id)

    return _show(await request.change("project.updated", work))


async def archive_project(request: AdminRequest[Nothing, Nothing]) -> ProjectObject:
    """End a project."""
    id = request.path["project_id"]

    def work(connection: Connection) -> Changed[projects.Project]:
        before = projects.get(connection, id)
        after = projects.archive(connection, id, request.now)
        return Changed(after, id, before, after, id)

    return _show(await request.change("project.archived", work))


def _show(project: projects.Project) -> ProjectObject:
    status: Literal["active", "archived"] = "active" if project.archived_at is None else "archived"
    return ProjectObject(project.id, project.name, project.created_at, project.archived_at, status)


ROUTES = (
    AdminRoute("POST", PROJECTS, create_project, Access.OWNER, Nothing, NewProject),
    AdminRoute("GET", PROJECTS, list_projects, Access.READER, ListProjects, Nothing),
    AdminRoute("GET", PROJECT, retrieve_project, Access.READER, Nothing, Nothing),
    AdminRoute("POST", PROJECT, update_project, Access.OWNER, Nothing, ProjectChanges),
    AdminRoute("POST", f"{PROJECT}/archive", archive_project, Access.OWNER, Nothing, Nothing),
)
