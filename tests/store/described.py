"""A whole schema as text that can be compared: what its tables, indexes and constraints are, and every row there is.

The order of a table's columns is left out: a column that a migration adds comes last, a declared one has its place.
"""

import re
from collections.abc import Iterable

from sqlalchemy import Connection, select, table, text

from gateway.store.metadata import TABLES

_COMMA = re.compile(r",(?![^(]*\))")
"""A comma that stands in no parentheses of its own."""
POSTGRES = (
    """SELECT 'column', c.relname, attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid)
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND attnum > 0""",
    """SELECT 'table', relname, relkind, pg_get_partkeydef(oid), pg_get_expr(relpartbound, oid)
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')""",
    "SELECT 'constraint', conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint "
    "WHERE connamespace = 'public'::regnamespace",
    "SELECT 'trigger', pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
)


def described(connection: Connection) -> list[str]:
    """Return a line for everything, in alphabetical order."""
    lines = _postgres(connection) if connection.dialect.name == "postgresql" else _sqlite(connection)
    return sorted([*lines, *_rows(connection)])


def _postgres(connection: Connection) -> Iterable[str]:
    for query in POSTGRES:
        yield from (" ".join(map(str, row)) for row in connection.execute(text(query)))


def _sqlite(connection: Connection) -> Iterable[str]:
    for name, statement in connection.execute(text("SELECT name, sql FROM sqlite_master")):
        head, opening, rest = (statement or "").partition("(")
        body, closing, tail = rest.rpartition(")")
        parts = [" ".join(part.split()) for part in _COMMA.split(body)]
        parts = sorted(parts) if head.startswith("CREATE TABLE") else parts
        yield " ".join((name, " ".join(head.split()), opening, ", ".join(parts), closing, tail))


def _rows(connection: Connection) -> Iterable[str]:
    for name in ("alembic_version", *(declared.name for declared in TABLES)):
        for row in connection.execute(select(text("*")).select_from(table(name))).mappings():
            yield f"row of {name}: {sorted(row.items())}"
