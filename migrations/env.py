"""How Alembic finds the tables and the database. `gateway migrate` passes its own connection."""

import re
from typing import Any

from alembic import context
from sqlalchemy import Connection, engine_from_config, pool

from gateway.store.metadata import metadata

PARTITION = re.compile(r"usage_(default|\d{4}_\d{2})")


def include_name(name: str | None, kind: str, _parents: Any) -> bool:
    """Leave the monthly partitions of `usage` out of comparisons: they are made at run time."""
    return kind != "table" or name is None or PARTITION.fullmatch(name) is None


def run(connection: Connection) -> None:
    """Run the migrations in one transaction."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_name=include_name,
        render_as_batch=connection.dialect.name == "sqlite",
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    engine = engine_from_config(context.config.get_section("alembic") or {}, poolclass=pool.NullPool)
    with engine.connect() as opened:
        run(opened)
