"""The revision: one number that grows with every administrative change, read in every reserve."""

from sqlalchemy import Column, Connection, Integer, Table, select, update

from gateway.store.tables import integer, metadata

revision = Table("revision", metadata, Column("id", Integer, primary_key=True), integer("value"))
"""One row with id 1."""


def read(connection: Connection) -> int:
    """Return the present revision."""
    return int(connection.execute(select(revision.c.value)).scalar_one())


def bump(connection: Connection) -> None:
    """Tell every process that keys or limits changed. Part of each change's own transaction."""
    connection.execute(update(revision).values(value=revision.c.value + 1))
