"""Spend alerts: at which spending of a month the organization or a project wants to be told, and whom to tell."""

from dataclasses import dataclass

import msgspec
from sqlalchemy import Column, ColumnElement, Connection, Index, Table, Text, and_, insert, select
from sqlalchemy import delete as delete_from
from sqlalchemy import update as update_of

from gateway.core.errors import NotFound
from gateway.core.limits import Scope
from gateway.store.pages import AnyRow, Cursor, Page
from gateway.store.pages import page as page_of
from gateway.store.tables import integer, metadata, text

spend_alert = Table(
    "spend_alert",
    metadata,
    Column("id", Text, primary_key=True),
    text("scope"),
    text("scope_id"),
    integer("threshold_nano_usd"),
    text("recipients"),
    text("subject_prefix", null=True),
    integer("created_at"),
    Index(None, "scope", "scope_id"),
)
"""`scope` is organization or project, `recipients` a JSON list of e-mail addresses."""


@dataclass(frozen=True, slots=True)
class SpendAlert:
    """What a month's cost is held against; nothing is refused because of it."""

    id: str
    scope: Scope
    scope_id: str
    threshold_nano_usd: int
    recipients: tuple[str, ...]
    subject_prefix: str | None


def create(connection: Connection, new: SpendAlert, now: int) -> None:
    """Store an alert."""
    connection.execute(insert(spend_alert).values(**_values(new), id=new.id, created_at=now))


def get(connection: Connection, scope: Scope, scope_id: str, id: str) -> SpendAlert:
    """Return an alert of this project, or of the organization. Raises NotFound."""
    row = connection.execute(select(spend_alert).where(_of(scope, scope_id), spend_alert.c.id == id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no spend alert {id} on this {scope}.", code="not_found", param="alert_id")
    return _spend_alert(row)


def page(connection: Connection, scope: Scope, scope_id: str, cursor: Cursor) -> Page[SpendAlert]:
    """Return one page of the alerts of a project or of the organization."""
    within = _of(scope, scope_id)
    keys = (spend_alert.c.created_at, spend_alert.c.id)
    return page_of(connection, select(spend_alert).where(within), keys, cursor, _spend_alert, within)


def every(connection: Connection) -> tuple[SpendAlert, ...]:
    """Return all alerts there are."""
    return tuple(_spend_alert(row) for row in connection.execute(select(spend_alert).order_by(spend_alert.c.id)))


def update(connection: Connection, changed: SpendAlert) -> None:
    """Store threshold and recipients of an alert as `changed` has them."""
    connection.execute(update_of(spend_alert).where(spend_alert.c.id == changed.id).values(**_values(changed)))


def delete(connection: Connection, id: str) -> None:
    """Remove an alert."""
    connection.execute(delete_from(spend_alert).where(spend_alert.c.id == id))


def _of(scope: Scope, scope_id: str) -> ColumnElement[bool]:
    return and_(spend_alert.c.scope == scope, spend_alert.c.scope_id == scope_id)


def _values(alert: SpendAlert) -> dict[str, str | int | None]:
    return {
        "scope": alert.scope,
        "scope_id": alert.scope_id,
        "threshold_nano_usd": alert.threshold_nano_usd,
        "recipients": msgspec.json.encode(alert.recipients).decode(),
        "subject_prefix": alert.subject_prefix,
    }


def _spend_alert(row: AnyRow) -> SpendAlert:
    recipients = msgspec.json.decode(row.recipients, type=tuple[str, ...])
    return SpendAlert(row.id, Scope(row.scope), row.scope_id, row.threshold_nano_usd, recipients, row.subject_prefix)
