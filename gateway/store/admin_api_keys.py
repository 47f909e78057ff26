"""Admin API keys: owner does everything, reader only reads."""

from dataclasses import dataclass

from sqlalchemy import (
    Column,
    Connection,
    LargeBinary,
    Table,
    Text,
    insert,
    or_,
    select,
)
from sqlalchemy import (
    delete as delete_from,
)
from sqlalchemy import (
    update as update_of,
)

from gateway.core.errors import Conflict, NotFound
from gateway.store.pages import AnyRow, Cursor, Page
from gateway.store.pages import page as page_of
from gateway.store.tables import integer, metadata, text

admin_api_key = Table(
    "admin_api_key",
    metadata,
    Column("id", Text, primary_key=True),
    text("name"),
    text("role"),
    Column("digest", LargeBinary, nullable=False, unique=True),
    text("redacted"),
    integer("created_at"),
    integer("expires_at", null=True),
    integer("last_used_at", null=True),
)

USE_SECONDS = 60
"""How exactly the last use is known: not every question is worth a transaction."""


@dataclass(frozen=True, slots=True)
class AdminApiKey:
    """An admin key without its secret. `redacted` is what may be shown of the text.

    `last_used_at` is known to the minute, None for a key that was never used.
    """

    id: str
    name: str
    role: str
    redacted: str
    created_at: int
    expires_at: int | None
    last_used_at: int | None = None


def create(connection: Connection, made: AdminApiKey, digest: bytes) -> AdminApiKey:
    """Store a key by the SHA-256 of its text. Raises IntegrityError when this text is stored already."""
    connection.execute(
        insert(admin_api_key).values(
            id=made.id,
            name=made.name,
            role=made.role,
            digest=digest,
            redacted=made.redacted,
            created_at=made.created_at,
            expires_at=made.expires_at,
        )
    )
    return made


def get(connection: Connection, id: str) -> AdminApiKey:
    """Return an admin key. Raises NotFound."""
    row = connection.execute(select(admin_api_key).where(admin_api_key.c.id == id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no admin API key {id}.", code="not_found", param="key_id")
    return _admin_api_key(row)


def page(connection: Connection, cursor: Cursor) -> Page[AdminApiKey]:
    """Return one page of admin keys."""
    keys = (admin_api_key.c.created_at, admin_api_key.c.id)
    return page_of(connection, select(admin_api_key), keys, cursor, _admin_api_key)


def has_owner(connection: Connection, now: int) -> bool:
    """Tell whether some key can still administer."""
    unexpired = or_(admin_api_key.c.expires_at.is_(None), admin_api_key.c.expires_at > now)
    query = select(admin_api_key.c.id).where(admin_api_key.c.role == "owner", unexpired)
    return connection.execute(query.limit(1)).first() is not None


def delete(connection: Connection, id: str, now: int) -> AdminApiKey:
    """Remove an admin key. Raises NotFound, and Conflict for the last owner: nobody could administer any more."""
    present = get(connection, id)
    connection.execute(delete_from(admin_api_key).where(admin_api_key.c.id == id))
    if not has_owner(connection, now):
        raise Conflict("This is the last owner key. Create another one first.", code="last_owner", param="key_id")
    return present


def is_use_news(last_used_at: int | None, now: float) -> bool:
    """Tell whether a use at this time is to be noted."""
    return last_used_at is None or abs(now - last_used_at) >= USE_SECONDS


def note_use(connection: Connection, id: str, now: int) -> None:
    """Write down that a key is used."""
    connection.execute(update_of(admin_api_key).where(admin_api_key.c.id == id).values(last_used_at=now))


def _admin_api_key(row: AnyRow) -> AdminApiKey:
    return AdminApiKey(row.id, row.name, row.role, row.redacted, row.created_at, row.expires_at, row.last_used_at)
