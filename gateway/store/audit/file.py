"""Whether SQLite finds its own file whole. PostgreSQL looks after its files itself (`amcheck`, checksums)."""

from sqlalchemy import Connection

from gateway.store.audit.findings import Check, Fault, check

PROMISE = "the database file is whole"
MOST = 100


def checks(connection: Connection) -> list[Check]:
    """Return the check of a SQLite file, none on PostgreSQL."""
    if connection.dialect.name == "postgresql":
        return []
    words = [str(word) for (word,) in connection.exec_driver_sql(f"PRAGMA quick_check({MOST})")]
    strays = [
        f"a row of {table} points to a row of {parent} that is not there"
        for table, _, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(MOST)
    ]
    faults = [Fault(word) for word in (*words, *strays) if word != "ok"]
    return [check("file", PROMISE, 1, faults)]
