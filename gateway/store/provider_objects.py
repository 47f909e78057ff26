"""Things that live at a provider and belong to who made them: stored responses, later files and batches."""

from dataclasses import dataclass

from sqlalchemy import Connection, Index, PrimaryKeyConstraint, Table, delete, insert, select

from gateway.store.pages import AnyRow
from gateway.store.tables import integer, metadata, text

provider_object = Table(
    "provider_object",
    metadata,
    text("upstream"),
    text("external_id"),
    text("project_id"),
    text("api_key_id"),
    text("kind"),
    integer("created_at"),
    PrimaryKeyConstraint("upstream", "external_id"),
    Index(None, "external_id"),
)


@dataclass(frozen=True, slots=True)
class ProviderObject:
    """Something that a provider keeps for us. `upstream` is where it lies, so where every call about it goes."""

    upstream: str
    external_id: str
    project_id: str
    api_key_id: str
    kind: str
    created_at: int


def record(connection: Connection, made: ProviderObject) -> None:
    """Note who made it. Telling the same twice is once; the first maker keeps it."""
    present = connection.execute(
        select(provider_object.c.api_key_id).where(
            provider_object.c.upstream == made.upstream, provider_object.c.external_id == made.external_id
        )
    ).first()
    if present is None:
        connection.execute(
            insert(provider_object).values(
                upstream=made.upstream,
                external_id=made.external_id,
                project_id=made.project_id,
                api_key_id=made.api_key_id,
                kind=made.kind,
                created_at=made.created_at,
            )
        )


def owned(connection: Connection, external_id: str, api_key_id: str) -> ProviderObject | None:
    """Return what this key made under an id; None for what is unknown or another's, which the caller must not tell."""
    query = select(provider_object).where(
        provider_object.c.external_id == external_id, provider_object.c.api_key_id == api_key_id
    )
    row = connection.execute(query.limit(1)).first()
    return None if row is None else _provider_object(row)


def forget(connection: Connection, upstream: str, external_id: str) -> None:
    """Drop the note of something that the provider deleted."""
    connection.execute(
        delete(provider_object).where(
            provider_object.c.upstream == upstream, provider_object.c.external_id == external_id
        )
    )


def _provider_object(row: AnyRow) -> ProviderObject:
    return ProviderObject(row.upstream, row.external_id, row.project_id, row.api_key_id, row.kind, row.created_at)
