"""The audit log: every administrative change and every failed try at one. Rows are added and read, never changed,
save that `erasure.py` takes a person's name out of them. The database itself refuses everything else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
from sqlalchemy import DDL, Column, Connection, Index, Table, Text, insert, select
from sqlalchemy.event import listen

from gateway.core.ids import timed_id
from gateway.store.pages import AnyRow, Cursor, Page
from gateway.store.pages import page as page_of
from gateway.store.projects import project
from gateway.store.tables import integer, metadata, text

EventType = Literal[
    "api_key.created",
    "api_key.deleted",
    "api_key.updated",
    "login.failed",
    "organization.updated",
    "project.archived",
    "project.created",
    "project.updated",
    "rate_limit.updated",
    "service_account.created",
    "service_account.deleted",
    "service_account.updated",
    "tenant.admin_api_key.created",
    "tenant.admin_api_key.deleted",
    "user.added",
    "user.deleted",
    "user.updated",
]
"""Those of OpenAI's types that happen here. The set is closed: what has none of its own belongs to what it binds."""

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", Text, primary_key=True),
    integer("effective_at"),
    text("type"),
    text("project_id", null=True),
    text("actor"),
    text("address", null=True),
    text("request_id", null=True),
    text("detail"),
    text("actor_name", null=True),
    text("resource_id", null=True),
    Index(None, "effective_at"),
    Index(None, "actor", "effective_at"),
    Index(None, "project_id", "effective_at"),
    Index(None, "resource_id", "effective_at"),
)
"""`detail` is JSON: the object's id and its values before and after, never a secret. `resource_id` repeats the id."""

# What was done, when and by whom stays as it is; names in the rest may be taken out.
_STAYS = (
    "audit_log_stays BEFORE UPDATE OF id, effective_at, type, project_id, actor, request_id, resource_id ON audit_log"
)
_KEEPS = "audit_log_keeps BEFORE DELETE ON audit_log"
_REFUSE = {
    "sqlite": "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
    "postgresql": "FOR EACH ROW EXECUTE FUNCTION refuse_audit_log()",
}
_WHOLE = (
    "CREATE TRIGGER audit_log_whole BEFORE TRUNCATE ON audit_log FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_log()"
)
_FUNCTION = (
    "CREATE FUNCTION refuse_audit_log() RETURNS trigger LANGUAGE plpgsql AS "
    "'BEGIN RAISE EXCEPTION ''the audit log is append-only''; END'"
)
listen(audit_log, "after_create", DDL(_FUNCTION).execute_if(dialect="postgresql"))  # type: ignore[no-untyped-call]
for _dialect, _refuse in _REFUSE.items():
    for _when in (_STAYS, _KEEPS):
        _guard = DDL(f"CREATE TRIGGER {_when} {_refuse}")  # type: ignore[no-untyped-call]
        listen(audit_log, "after_create", _guard.execute_if(dialect=_dialect))
listen(audit_log, "after_create", DDL(_WHOLE).execute_if(dialect="postgresql"))  # type: ignore[no-untyped-call]


class Detail(msgspec.Struct, omit_defaults=True):
    """What changed: the object's id, and its values before and after (None where there was or is nothing)."""

    id: str
    before: object = None
    after: object = None


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it: an admin key by its id and name, or the command line. An unknown one has no id."""

    id: str
    name: str | None = None
    address: str | None = None


COMMAND_LINE = Actor("cli", "command line")


@dataclass(frozen=True, slots=True)
class Event:
    """One change. `effective_at` is in Unix seconds."""

    id: str
    effective_at: int
    type: EventType
    project_id: str | None
    actor: Actor
    request_id: str | None
    detail: Detail


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event as it stands in the log, with the present name of its project."""

    event: Event
    project_name: str | None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events are wanted; None is all of them. `since` is inclusive, `until` exclusive, in Unix seconds."""

    actors: Sequence[str] | None = None
    types: Sequence[str] | None = None
    project_ids: Sequence[str] | None = None
    resource_ids: Sequence[str] | None = None
    since: int | None = None
    until: int | None = None


EVENT_ID_CHARACTERS = 10


def new_id(now: float, random: str) -> str:
    """Return an id that sorts by its time; `now` is in Unix seconds, `random` has EVENT_ID_CHARACTERS."""
    return timed_id("audit_log-", now, random)


def append(connection: Connection, event: Event) -> None:
    """Write an event down, in the transaction that makes the change. `detail` must hold no secret."""
    connection.execute(
        insert(audit_log).values(
            id=event.id,
            effective_at=event.effective_at,
            type=event.type,
            project_id=event.project_id,
            actor=event.actor.id,
            actor_name=event.actor.name,
            address=event.actor.address,
            request_id=event.request_id,
            resource_id=event.detail.id,
            detail=msgspec.json.encode(event.detail).decode(),
        )
    )


def page(connection: Connection, cursor: Cursor, wanted: Filter) -> Page[Recorded]:
    """Return one page of events, in the cursor's order of time."""
    query = select(audit_log, project.c.name.label("project_name")).outerjoin(
        project, project.c.id == audit_log.c.project_id
    )
    for column, values in (
        (audit_log.c.actor, wanted.actors),
        (audit_log.c.type, wanted.types),
        (audit_log.c.project_id, wanted.project_ids),
        (audit_log.c.resource_id, wanted.resource_ids),
    ):
        if values is not None:
            query = query.where(column.in_(values))
    if wanted.since is not None:
        query = query.where(audit_log.c.effective_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(audit_log.c.effective_at < wanted.until)
    return page_of(connection, query, (audit_log.c.effective_at, audit_log.c.id), cursor, _recorded)


def _recorded(row: AnyRow) -> Recorded:
    detail = msgspec.json.decode(row.detail, type=Detail)
    actor = Actor(row.actor, row.actor_name, row.address)
    event = Event(row.id, row.effective_at, row.type, row.project_id, actor, row.request_id, detail)
    return Recorded(event, row.project_name)
