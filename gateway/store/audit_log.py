"""The audit log: every administrative change, append-only."""

from dataclasses import dataclass

import msgspec
from sqlalchemy import Column, Connection, Index, Table, Text, insert

from gateway.store.tables import integer, metadata, text

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
    Index(None, "effective_at"),
)
"""`detail` is JSON: the object's id and its values before and after, never a secret."""


class Detail(msgspec.Struct, omit_defaults=True):
    """What changed: the object's id, and its values before and after (None where there was or is nothing)."""

    id: str
    before: object = None
    after: object = None


@dataclass(frozen=True, slots=True)
class Event:
    """One change. `type` is of OpenAI's closed set, `actor` an admin key's id or the name of a command."""

    id: str
    effective_at: int
    type: str
    project_id: str | None
    actor: str
    address: str | None
    request_id: str | None
    detail: Detail


def append(connection: Connection, event: Event) -> None:
    """Write a change down, in the transaction that makes it. `detail` must hold no secret."""
    connection.execute(
        insert(audit_log).values(
            id=event.id,
            effective_at=event.effective_at,
            type=event.type,
            project_id=event.project_id,
            actor=event.actor,
            address=event.address,
            request_id=event.request_id,
            detail=msgspec.json.encode(event.detail).decode(),
        )
    )
