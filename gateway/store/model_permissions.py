"""Model permissions: which models the keys of a project may call, beside what each key's own list says."""

from dataclasses import dataclass

import msgspec
from sqlalchemy import Column, Connection, ForeignKey, Table, Text, delete, insert, select

from gateway.core.model_policy import Mode
from gateway.store import projects
from gateway.store.tables import metadata, text

model_permissions = Table(
    "model_permissions",
    metadata,
    Column("project_id", Text, ForeignKey("project.id"), primary_key=True),
    text("mode"),
    text("model_ids"),
)
"""`model_ids` is a JSON list of names and wildcard patterns."""


@dataclass(frozen=True, slots=True)
class ModelPermissions:
    """What a project permits. A project without any of its own has the empty deny list."""

    mode: Mode
    model_ids: tuple[str, ...]


UNSET = ModelPermissions("deny_list", ())


def get(connection: Connection, project_id: str) -> ModelPermissions:
    """Return a project's permissions. Raises NotFound for the project."""
    projects.get(connection, project_id)
    query = select(model_permissions).where(model_permissions.c.project_id == project_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        return UNSET
    return ModelPermissions(row.mode, msgspec.json.decode(row.model_ids, type=tuple[str, ...]))


def put(connection: Connection, project_id: str, wanted: ModelPermissions) -> None:
    """Permit this and nothing else, from the next call on. Raises NotFound, Conflict for an archived project."""
    remove(connection, project_id)
    model_ids = msgspec.json.encode(wanted.model_ids).decode()
    connection.execute(insert(model_permissions).values(project_id=project_id, mode=wanted.mode, model_ids=model_ids))


def remove(connection: Connection, project_id: str) -> None:
    """Permit every model again. Raises NotFound, Conflict for an archived project."""
    projects.active(connection, project_id)
    connection.execute(delete(model_permissions).where(model_permissions.c.project_id == project_id))
