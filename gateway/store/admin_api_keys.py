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
)


@dataclass(frozen=True, slots=True)
class AdminApiKey:
    """An admin key without its secret. `redacted` is what may be shown of the text."""

    id: str
    name: str
    role: str
    redacted: str
    created_at: int
    expires_at: int | None


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


def _admin_api_key(row: AnyRow) -> AdminApiKey:
    return AdminApiKey(row.id, row.name, row.role, row.redacted, row.created_at, row.expires_at)
