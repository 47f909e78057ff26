"""Erasing a person: who it was is forgotten wherever it stands, and what was used stays, under an id that is nobody's.

A person's name and e-mail stand in their own row, in the names that they or others gave their keys, among those whom
alerts are mailed to, in notices on their way, and in the audit log, where the rest of each event stays. Usage records
have no more than the id.
"""

from collections.abc import Collection
from dataclasses import replace

import msgspec
from sqlalchemy import Connection, delete, func, or_, select, update

from gateway.core.errors import NotFound
from gateway.core.notices import Notice
from gateway.store import api_keys, spend_alerts
from gateway.store.api_keys import api_key
from gateway.store.audit_log import audit_log
from gateway.store.notices import notice
from gateway.store.users import project_user, user

ERASED = "[erased]"


def erase(connection: Connection, user_id: str, now: int) -> None:
    """Forget a user, deleted or not, for good; their keys end. Raises NotFound. Doing it again changes nothing more."""
    address = connection.execute(select(user.c.email).where(user.c.id == user_id)).scalar_one_or_none()
    forgotten = (
        update(user)
        .where(user.c.id == user_id)
        .values(
            name=ERASED,
            email=f"{user_id}@erased.invalid",
            disabled=1,
            deleted_at=func.coalesce(user.c.deleted_at, now),
        )
    )
    if connection.execute(forgotten).rowcount == 0:
        raise NotFound(f"There is no user {user_id}.", code="not_found", param="user_id")
    connection.execute(delete(project_user).where(project_user.c.user_id == user_id))
    api_keys.delete_of_user(connection, user_id, now)
    keys = select(api_key.c.id).where(api_key.c.user_id == user_id)
    key_ids = frozenset(connection.execute(keys).scalars())
    connection.execute(update(api_key).where(api_key.c.user_id == user_id).values(name=ERASED))
    ids = frozenset((user_id, *key_ids))
    addresses = _emails_in_log(connection, user_id) | {str(address).lower()}
    _redact_log(connection, ids, key_ids, addresses)
    _forget_recipients(connection, addresses)
    _redact_notices(connection, ids, addresses)


def _emails_in_log(connection: Connection, user_id: str) -> frozenset[str]:
    """Return the addresses that the log knows of a user: the row of one who was deleted has none any more."""
    query = select(audit_log.c.detail).where(audit_log.c.resource_id == user_id)
    details = [msgspec.json.decode(detail) for detail in connection.execute(query).scalars()]
    values = [detail.get(moment) for detail in details for moment in ("before", "after")]
    found = [value["email"] for value in values if isinstance(value, dict) and isinstance(value.get("email"), str)]
    return frozenset(email.lower() for email in found if email != ERASED)


def _redact_log(
    connection: Connection, ids: Collection[str], key_ids: Collection[str], addresses: Collection[str]
) -> None:
    columns = audit_log.c
    told = [func.lower(columns.detail).contains(address, autoescape=True) for address in addresses]
    theirs = or_(columns.resource_id.in_(ids), columns.actor.in_(key_ids), *told)
    for row in connection.execute(select(columns.id, columns.actor, columns.detail).where(theirs)).all():
        detail = _redacted(msgspec.json.decode(row.detail), ids, addresses)
        values = {"detail": msgspec.json.encode(detail).decode()}
        change = update(audit_log).where(columns.id == row.id).values(values)
        connection.execute(change.values(actor_name=ERASED, address=None) if row.actor in key_ids else change)


def _forget_recipients(connection: Connection, addresses: Collection[str]) -> None:
    """Mail no alert to a person any more; one that nobody else would get ends."""
    for alert in spend_alerts.every(connection):
        left = tuple(one for one in alert.recipients if one.lower() not in addresses)
        if not left:
            spend_alerts.delete(connection, alert.id)
        elif left != alert.recipients:
            spend_alerts.update(connection, replace(alert, recipients=left))


def _redact_notices(connection: Connection, ids: Collection[str], addresses: Collection[str]) -> None:
    for row in connection.execute(select(notice.c.content).distinct()).all():
        content = msgspec.json.decode(row.content, type=Notice)
        recipients = tuple(one for one in content.recipients if one.lower() not in addresses)
        name = ERASED if content.scope_id in ids else content.name
        redacted = msgspec.structs.replace(content, recipients=recipients, name=name)
        if redacted != content:
            stored = msgspec.json.encode(redacted).decode()
            connection.execute(update(notice).where(notice.c.content == row.content).values(content=stored))


def _redacted(value: object, ids: Collection[str], addresses: Collection[str]) -> object:
    """Return a JSON value without the addresses, in which no object with one of these ids tells a name."""
    match value:
        case dict():
            told = {name: _redacted(part, ids, addresses) for name, part in value.items()}
            if value.get("id") in ids:
                told |= {name: ERASED for name in ("name", "email") if name in told}
            return told
        case list():
            return [_redacted(part, ids, addresses) for part in value]
        case str() if value.lower() in addresses:
            return ERASED
        case _:
            return value
