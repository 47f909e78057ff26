"""Things that live at a provider and belong to who made them: responses, files, batches, vector stores and more."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from sqlalchemy import Connection, Index, PrimaryKeyConstraint, Table, and_, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from gateway.core.ids import is_object_id
from gateway.store.pages import AnyRow, Cursor, Page
from gateway.store.pages import page as page_of
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
    text("shown", null=True),
    PrimaryKeyConstraint("upstream", "external_id"),
    Index(None, "external_id"),
    Index(None, "api_key_id", "kind", "created_at", "external_id"),
)


ASKED_AT_ONCE = 500
MOST_ITEMS = 200
"""Of a response; nobody has seen half as many."""


@dataclass(frozen=True, slots=True)
class ProviderObject:
    """Something that a provider keeps for us. `upstream` is where it lies, so where every call about it goes.

    `kind` is that of `Call.makes`. `shown` is how the provider shows it, as JSON, None where that changes or is not
    known.
    """

    upstream: str
    external_id: str
    project_id: str
    api_key_id: str
    kind: str
    created_at: int
    shown: str | None = None


def with_items(made: ProviderObject, items: Sequence[str]) -> tuple[ProviderObject, ...]:
    """Return a response and what it is made of: ids that its maker may name in later calls."""
    possible = dict.fromkeys(item for item in items[:MOST_ITEMS] if is_object_id(item) and item != made.external_id)
    return made, *(replace(made, external_id=item, kind="items", shown=None) for item in possible)


def record(connection: Connection, made: Sequence[ProviderObject]) -> None:
    """Note who made these, one or more. Telling the same twice is once; the first maker keeps it."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    values = [asdict(one) for one in made]
    connection.execute(insert(provider_object).values(values).on_conflict_do_nothing())


def owned(connection: Connection, external_ids: Sequence[str], api_key_id: str) -> dict[str, ProviderObject]:
    """Return what this key made, by id; left out is what is unknown or another's, and nobody is to be told which."""
    found: dict[str, ProviderObject] = {}
    possible = [name for name in external_ids if "\0" not in name]  # PostgreSQL takes no NUL in a text
    for start in range(0, len(possible), ASKED_AT_ONCE):
        some = possible[start : start + ASKED_AT_ONCE]
        query = select(provider_object).where(
            provider_object.c.external_id.in_(some), provider_object.c.api_key_id == api_key_id
        )
        found.update((row.external_id, _provider_object(row)) for row in connection.execute(query))
    return found


def others(connection: Connection, external_ids: Sequence[str], api_key_id: str) -> set[str]:
    """Return those of these ids that another key made, and this one did not."""
    c = provider_object.c
    made = {True: set[str](), False: set[str]()}
    possible = [name for name in external_ids if "\0" not in name]
    for start in range(0, len(possible), ASKED_AT_ONCE):
        query = select(c.external_id, c.api_key_id).where(c.external_id.in_(possible[start : start + ASKED_AT_ONCE]))
        for row in connection.execute(query):
            made[row.api_key_id == api_key_id].add(row.external_id)
    return made[False] - made[True]


def page(connection: Connection, api_key_id: str, kind: str, cursor: Cursor) -> Page[ProviderObject]:
    """Return one page of what a key made of a kind. Raises InvalidRequest for a cursor that is nothing of it."""
    c = provider_object.c
    whose = and_(c.api_key_id == api_key_id, c.kind == kind)
    query = select(provider_object).where(whose)
    return page_of(connection, query, (c.created_at, c.external_id), cursor, _provider_object, whose)


def forget(connection: Connection, upstream: str, external_id: str) -> None:
    """Drop the note of something that the provider deleted."""
    connection.execute(
        delete(provider_object).where(
            provider_object.c.upstream == upstream, provider_object.c.external_id == external_id
        )
    )


def _provider_object(row: AnyRow) -> ProviderObject:
    return ProviderObject(
        row.upstream, row.external_id, row.project_id, row.api_key_id, row.kind, row.created_at, row.shown
    )
