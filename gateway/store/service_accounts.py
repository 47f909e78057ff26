"""Service accounts: the programs."""

from dataclasses import dataclass

from sqlalchemy import (
    Column,
    Connection,
    ForeignKey,
    Index,
    Table,
    Text,
    insert,
    select,
)
from sqlalchemy import (
    update as update_of,
)

from gateway.core.errors import NotFound
from gateway.store import projects
from gateway.store.pages import AnyRow, Cursor, Page
from gateway.store.pages import page as page_of
from gateway.store.tables import integer, metadata, text

service_account = Table(
    "service_account",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("project.id"), nullable=False),
    text("name"),
    text("role"),
    integer("created_at"),
    integer("deleted_at", null=True),
    Index(None, "project_id"),
)


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A program of a project. `role` is owner, member or none."""

    id: str
    project_id: str
    name: str
    role: str
    created_at: int


def create(connection: Connection, id: str, project_id: str, name: str, role: str, now: int) -> ServiceAccount:
    """Make a service account. Raises NotFound for the project, Conflict when it is archived."""
    projects.active(connection, project_id)
    connection.execute(
        insert(service_account).values(id=id, project_id=project_id, name=name, role=role, created_at=now)
    )
    return ServiceAccount(id, project_id, name, role, now)


def get(connection: Connection, project_id: str, id: str) -> ServiceAccount:
    """Return a service account of this project that was not deleted. Raises NotFound."""
    query = select(service_account).where(
        service_account.c.id == id,
        service_account.c.project_id == project_id,
        service_account.c.deleted_at.is_(None),
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        projects.get(connection, project_id)
        raise NotFound(
            f"There is no service account {id} in this project.", code="not_found", param="service_account_id"
        )
    return _service_account(row)


def page(connection: Connection, project_id: str, cursor: Cursor) -> Page[ServiceAccount]:
    """Return one page of a project's service accounts. Raises NotFound for the project."""
    projects.get(connection, project_id)
    within = service_account.c.project_id == project_id
    query = select(service_account).where(within, service_account.c.deleted_at.is_(None))
    keys = (service_account.c.created_at, service_account.c.id)
    return page_of(connection, query, keys, cursor, _service_account, within)


def update(
    connection: Connection, project_id: str, id: str, *, name: str | None = None, role: str | None = None
) -> ServiceAccount:
    """Change what is not None. Raises NotFound, Conflict."""
    projects.active(connection, project_id)
    present = get(connection, project_id, id)
    connection.execute(
        update_of(service_account)
        .where(service_account.c.id == id)
        .values(name=present.name if name is None else name, role=present.role if role is None else role)
    )
    return get(connection, project_id, id)


def delete(connection: Connection, project_id: str, id: str, now: int) -> ServiceAccount:
    """Remove a service account; the row stays for reports. Raises NotFound, Conflict."""
    projects.active(connection, project_id)
    present = get(connection, project_id, id)
    connection.execute(update_of(service_account).where(service_account.c.id == id).values(deleted_at=now))
    return present


def _service_account(row: AnyRow) -> ServiceAccount:
    return ServiceAccount(row.id, row.project_id, row.name, row.role, row.created_at)
