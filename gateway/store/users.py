"""Users: the people, and the projects they are members of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    ForeignKey,
    PrimaryKeyConstraint,
    Select,
    Table,
    Text,
    insert,
    select,
)
from sqlalchemy import (
    delete as delete_from,
)
from sqlalchemy import (
    update as update_of,
)
from sqlalchemy.exc import IntegrityError

from gateway.core.errors import Conflict, NotFound
from gateway.store import projects
from gateway.store.pages import AnyRow, Cursor, Page
from gateway.store.pages import page as page_of
from gateway.store.tables import integer, metadata, text

user = Table(
    "user",
    metadata,
    Column("id", Text, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    text("name"),
    text("role"),
    integer("created_at"),
    integer("disabled", default=0),
    integer("deleted_at", null=True),
)

project_user = Table(
    "project_user",
    metadata,
    Column("project_id", Text, ForeignKey("project.id"), nullable=False),
    Column("user_id", Text, ForeignKey("user.id"), nullable=False),
    text("role"),
    integer("created_at"),
    PrimaryKeyConstraint("project_id", "user_id"),
)


@dataclass(frozen=True, slots=True)
class User:
    """A person. `role` is owner or reader; the keys of a disabled user open nothing."""

    id: str
    email: str
    name: str
    role: str
    created_at: int
    disabled: bool


@dataclass(frozen=True, slots=True)
class ProjectUser:
    """A person's membership of one project: `role` is owner or member there, `added_at` when it began."""

    project_id: str
    id: str
    email: str
    name: str
    role: str
    added_at: int


def create(connection: Connection, id: str, email: str, name: str, role: str, now: int) -> User:
    """Make a user. E-mails are compared without case. Raises Conflict when somebody has this one."""
    try:
        connection.execute(insert(user).values(id=id, email=email.lower(), name=name, role=role, created_at=now))
    except IntegrityError as error:
        raise Conflict(
            f"There is a user with the e-mail {email} already.", code="email_taken", param="email"
        ) from error
    return User(id, email.lower(), name, role, now, False)


def get(connection: Connection, id: str) -> User:
    """Return a user who was not deleted. Raises NotFound."""
    row = connection.execute(select(user).where(user.c.id == id, user.c.deleted_at.is_(None))).one_or_none()
    if row is None:
        raise NotFound(f"There is no user {id}.", code="not_found", param="user_id")
    return _user(row)


def with_email(connection: Connection, email: str) -> User:
    """Return the user with an e-mail. Raises NotFound."""
    query = select(user).where(user.c.email == email.lower(), user.c.deleted_at.is_(None))
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"There is no user with the e-mail {email}.", code="not_found", param="email")
    return _user(row)


def page(connection: Connection, cursor: Cursor, *, emails: Sequence[str] = ()) -> Page[User]:
    """Return one page of users, of those with the given e-mails if any are given."""
    query = select(user).where(user.c.deleted_at.is_(None))
    if emails:
        query = query.where(user.c.email.in_([email.lower() for email in emails]))
    return page_of(connection, query, (user.c.created_at, user.c.id), cursor, _user)


def update(
    connection: Connection, id: str, *, name: str | None = None, role: str | None = None, disabled: bool | None = None
) -> User:
    """Change what is not None. Raises NotFound."""
    present = get(connection, id)
    connection.execute(
        update_of(user)
        .where(user.c.id == id)
        .values(
            name=present.name if name is None else name,
            role=present.role if role is None else role,
            disabled=int(present.disabled if disabled is None else disabled),
        )
    )
    return get(connection, id)


def delete(connection: Connection, id: str, now: int) -> User:
    """Remove a user and their memberships; the row stays for reports, its e-mail is free again. Raises NotFound."""
    present = get(connection, id)
    connection.execute(delete_from(project_user).where(project_user.c.user_id == id))
    connection.execute(update_of(user).where(user.c.id == id).values(deleted_at=now, email=f"{id}@deleted.invalid"))
    return present


def add_to_project(connection: Connection, project_id: str, id: str, role: str, now: int) -> ProjectUser:
    """Make a user a member of a project. Raises NotFound, and Conflict for an archived project or a member."""
    projects.active(connection, project_id)
    get(connection, id)
    try:
        connection.execute(insert(project_user).values(project_id=project_id, user_id=id, role=role, created_at=now))
    except IntegrityError as error:
        raise Conflict(f"User {id} is a member of this project already.", code="already_member") from error
    return member(connection, project_id, id)


def is_member(connection: Connection, project_id: str, id: str) -> bool:
    """Tell whether a user belongs to a project."""
    return connection.execute(_members(project_id).where(project_user.c.user_id == id)).first() is not None


def member(connection: Connection, project_id: str, id: str) -> ProjectUser:
    """Return a membership. Raises NotFound for the project or for the user in it."""
    row = connection.execute(_members(project_id).where(project_user.c.user_id == id)).one_or_none()
    if row is None:
        projects.get(connection, project_id)
        raise NotFound(f"There is no user {id} in this project.", code="not_found", param="user_id")
    return _member(row)


def members(connection: Connection, project_id: str, cursor: Cursor) -> Page[ProjectUser]:
    """Return one page of a project's users. Raises NotFound for the project."""
    projects.get(connection, project_id)
    keys = (project_user.c.created_at, project_user.c.user_id)
    return page_of(connection, _members(project_id), keys, cursor, _member, project_user.c.project_id == project_id)


def set_member_role(connection: Connection, project_id: str, id: str, role: str) -> ProjectUser:
    """Change a member's role in a project. Raises NotFound, Conflict."""
    projects.active(connection, project_id)
    member(connection, project_id, id)
    connection.execute(
        update_of(project_user)
        .where(project_user.c.project_id == project_id, project_user.c.user_id == id)
        .values(role=role)
    )
    return member(connection, project_id, id)


def remove_from_project(connection: Connection, project_id: str, id: str) -> ProjectUser:
    """End a membership. Whoever calls this ends the user's keys in the project too. Raises NotFound, Conflict."""
    projects.active(connection, project_id)
    present = member(connection, project_id, id)
    connection.execute(
        delete_from(project_user).where(project_user.c.project_id == project_id, project_user.c.user_id == id)
    )
    return present


def _members(project_id: str) -> Select[*tuple[Any, ...]]:
    return (
        select(project_user, user.c.email, user.c.name)
        .join(user, user.c.id == project_user.c.user_id)
        .where(project_user.c.project_id == project_id, user.c.deleted_at.is_(None))
    )


def _user(row: AnyRow) -> User:
    return User(row.id, row.email, row.name, row.role, row.created_at, bool(row.disabled))


def _member(row: AnyRow) -> ProjectUser:
    return ProjectUser(row.project_id, row.user_id, row.email, row.name, row.role, row.created_at)
