"""Projects: the teams."""

from dataclasses import dataclass

from sqlalchemy import Column, Connection, Table, Text, insert, select, update

from gateway.core.errors import Conflict, NotFound
from gateway.store.pages import AnyRow, Cursor, Page
from gateway.store.pages import page as page_of
from gateway.store.tables import integer, metadata, text

project = Table(
    "project",
    metadata,
    Column("id", Text, primary_key=True),
    text("name"),
    integer("created_at"),
    integer("archived_at", null=True),
)


@dataclass(frozen=True, slots=True)
class Project:
    """A team. Keys of an archived project open nothing; times are Unix seconds."""

    id: str
    name: str
    created_at: int
    archived_at: int | None


def create(connection: Connection, id: str, name: str, now: int) -> Project:
    """Make a project. Names may repeat."""
    connection.execute(insert(project).values(id=id, name=name, created_at=now))
    return Project(id, name, now, None)


def get(connection: Connection, id: str) -> Project:
    """Return a project, archived or not. Raises NotFound."""
    row = connection.execute(select(project).where(project.c.id == id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no project {id}.", code="not_found", param="project_id")
    return _project(row)


def active(connection: Connection, id: str) -> Project:
    """Return a project that can be changed. Raises NotFound, and Conflict when it is archived."""
    found = get(connection, id)
    if found.archived_at is not None:
        raise Conflict(f"Project {id} is archived and cannot be changed.", code="project_archived", param="project_id")
    return found


def page(connection: Connection, cursor: Cursor, *, include_archived: bool = False) -> Page[Project]:
    """Return one page of projects. Raises InvalidRequest for an unknown cursor."""
    query = select(project)
    if not include_archived:
        query = query.where(project.c.archived_at.is_(None))
    return page_of(connection, query, (project.c.created_at, project.c.id), cursor, _project)


def rename(connection: Connection, id: str, name: str) -> Project:
    """Give a project another name. Raises NotFound, Conflict."""
    active(connection, id)
    connection.execute(update(project).where(project.c.id == id).values(name=name))
    return get(connection, id)


def archive(connection: Connection, id: str, now: int) -> Project:
    """End a project for good: its keys open nothing from the next call on. Idempotent. Raises NotFound."""
    get(connection, id)
    connection.execute(
        update(project).where(project.c.id == id, project.c.archived_at.is_(None)).values(archived_at=now)
    )
    return get(connection, id)


def _project(row: AnyRow) -> Project:
    return Project(row.id, row.name, row.created_at, row.archived_at)
