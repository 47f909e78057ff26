"""What a database says of its own schema: which migration it is at, and the oldest gateway that this still serves.

Migrations only add, so a gateway of the version before works on the schema of the next while replicas are replaced one
by one. The migration that ends this, because it takes something away, sets `oldest_code` to the first head that can do
without; a gateway that knows no such migration refuses to start. A migration that only adds leaves the row alone.
"""

from dataclasses import dataclass

from sqlalchemy import Column, Connection, Integer, Table, inspect, select
from sqlalchemy import text as sql

from gateway.store.tables import metadata, text

compatibility = Table("compatibility", metadata, Column("id", Integer, primary_key=True), text("oldest_code"))
"""One row with id 1."""
OLDEST_CODE = "0002"
"""What the newest migration leaves in that row; a test holds it to the migrations."""


@dataclass(frozen=True, slots=True)
class Schema:
    """Both are revisions of migrations, whose order is that of their text; None for an empty database.

    `oldest_code` is the head of the oldest gateway that the schema serves.
    """

    revision: str | None
    oldest_code: str | None

    def is_behind(self, head: str) -> bool:
        """Tell whether the gateway of this head has something to migrate."""
        return self.revision is None or self.revision < head

    def is_ahead(self, head: str) -> bool:
        """Tell whether a newer gateway migrated the database."""
        return self.revision is not None and self.revision > head

    def serves(self, head: str) -> bool:
        """Tell whether a gateway of this head can work on the schema as it is."""
        if self.is_ahead(head):
            return self.oldest_code is not None and self.oldest_code <= head
        return not self.is_behind(head)


def read(connection: Connection) -> Schema:
    """Return what the database says. A schema without the word serves its own gateway only."""
    inspector = inspect(connection)
    if not inspector.has_table("alembic_version"):
        return Schema(None, None)
    revision = connection.execute(sql("SELECT version_num FROM alembic_version")).scalar()
    if not inspector.has_table(compatibility.name):
        return Schema(revision, revision)
    return Schema(revision, connection.execute(select(compatibility.c.oldest_code)).scalar())


def stamp(connection: Connection, revision: str) -> None:
    """Note the migration that a database without any is at, where and as Alembic notes it."""
    connection.execute(
        sql(
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
            "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
        )
    )
    connection.execute(sql("INSERT INTO alembic_version (version_num) VALUES (:revision)"), {"revision": revision})
