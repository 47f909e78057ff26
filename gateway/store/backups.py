"""Backups: one file for both databases, a SQLite database with the gateway's own tables.

From SQLite it is made by SQLite's online backup, from PostgreSQL by carrying the rows of one snapshot; both while the
gateway serves. What is restored is prepared in a copy first, and only a whole one takes the place of what was there.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from sqlalchemy import Connection, delete, select, update

from gateway.store import audit_log, migrate
from gateway.store.audit import counters
from gateway.store.audit_log import COMMAND_LINE
from gateway.store.holds import hold, hold_item, owner
from gateway.store.jobs import job
from gateway.store.limits import counter
from gateway.store.revision import revision
from gateway.store.transfer import carry, snapshot

HEADER = b"SQLite format 3\0"
REASON = "restore"


class NotABackup(Exception):
    """The file is not what a backup makes."""


def url_of(path: Path) -> str:
    """Return the URL of a SQLite file."""
    return f"sqlite+aiosqlite:///{path.absolute()}"


def copy_file(source: Path, target: Path) -> None:
    """Copy a SQLite database that may be in use, as it is at one moment, into a new file for nobody but us.

    Raises sqlite3.Error, OSError.
    """
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(source, timeout=5)) as theirs, closing(sqlite3.connect(target)) as ours:
        # Only the server's own writer copies its log into the database.
        theirs.execute("PRAGMA wal_autocheckpoint=0")
        theirs.backup(ours)
        ours.execute("PRAGMA journal_mode=DELETE")
    sync(target)


async def export(url: str, target: Path) -> None:
    """Carry a database that may be in use, as it is at one moment, into a new SQLite file for nobody but us.

    Raises ServiceUnavailable, TransferFailed, OSError.
    """
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    await migrate.upgrade(url_of(target))
    async with snapshot(url) as source:
        await carry(source, url_of(target))
    sync(target)


def sync(path: Path) -> None:
    """See that a file, and its name, outlive a power cut."""
    for place in (path, path.parent):
        file = os.open(place, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def check(path: Path) -> str:
    """Return the schema of a backup. Raises NotABackup, OSError."""
    with path.open("rb") as file:
        if file.read(len(HEADER)) != HEADER:
            raise NotABackup(f"{path} is not a backup: it is not a SQLite database.")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
            faults = [word for (word,) in connection.execute("PRAGMA quick_check(3)") if word != "ok"]
    except sqlite3.DatabaseError as error:
        raise NotABackup(f"{path} is not a backup of a gateway: {error}.") from error
    if not rows:
        raise NotABackup(f"{path} is not a backup: it is empty.")
    if faults:
        raise NotABackup(f"{path} is damaged: {'; '.join(faults)}.")
    return str(rows[0][0])


def put_in_place(prepared: Path, path: Path, kept: Path | None) -> None:
    """Let a prepared file take the place of a database that nobody uses; the present one is kept under another name."""
    if path.exists():
        with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            connection.execute("PRAGMA journal_mode=DELETE").fetchall()
        if kept is not None:
            os.link(path, kept)
    # What a damaged database left beside itself must not be taken for the new one's.
    for rest in (path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        rest.unlink(missing_ok=True)
    prepared.replace(path)
    sync(path)


def settle_in(connection: Connection, now: int, new_event_id: Callable[[], str], least_revision: int) -> int:
    """Make a restored database one that a gateway can start on; return how many open calls were voided.

    What became of calls that were open is not known here: their holds are given back, each with its reason in the audit
    log. A settlement that a spool still has charges all the same. A call that a job watches over is left to that.
    """
    watched = select(job.c.request_id).where(job.c.request_id == hold.c.request_id).exists()
    lost = connection.execute(select(hold).where(~watched)).all()
    for row in lost:
        before = {name: row._mapping[name] for name in ("api_key_id", "model", "admitted_at_us", "delivered")}
        detail = audit_log.Detail(row.request_id, before, {"voided": REASON})
        event = audit_log.Event(new_event_id(), now, "organization.updated", row.project_id, COMMAND_LINE, None, detail)
        audit_log.append(connection, event)
        _void(connection, row.request_id)
    connection.execute(delete(owner))
    present = connection.execute(select(revision.c.value)).scalar() or 0
    connection.execute(update(revision).values(value=max(present, least_revision) + 1))
    detail = audit_log.Detail(REASON, None, {"voided_calls": len(lost)})
    audit_log.append(
        connection, audit_log.Event(new_event_id(), now, "organization.updated", None, COMMAND_LINE, None, detail)
    )
    return len(lost)


def _void(connection: Connection, request_id: str) -> None:
    items = connection.execute(select(hold_item).where(hold_item.c.request_id == request_id)).all()
    connection.execute(delete(hold_item).where(hold_item.c.request_id == request_id))
    connection.execute(delete(hold).where(hold.c.request_id == request_id))
    for item in items:
        key = item.limit_id, item.period_start
        due = counters.held_by_items(connection, key).get(key, 0)
        where = counter.c.limit_id == item.limit_id, counter.c.period_start == item.period_start
        connection.execute(update(counter).where(*where).values(held=due))


def summary(path: Path) -> dict[str, int]:
    """Return how many rows each table of a SQLite file has."""
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
        names = [name for (name,) in connection.execute(query)]
        return {
            name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]  # noqa: S608 - names it has itself
            for name in names
        }
