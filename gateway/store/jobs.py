"""Jobs: what goes on at a provider after the call that began it was answered, such as a background response.

A job's row keeps the call's hold from being swept, whoever dies, until somebody has settled it. Any process may look at
a job that is due; the one that pushes `due_at_us` on has it to itself until then. Times are Unix microseconds of
`clock_us`: what one process notes, another with a clock that is off finds due at the same moment.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Column, Connection, Index, Table, Text, delete, func, insert, select, update
from sqlalchemy import text as sql

from gateway.store.pages import AnyRow
from gateway.store.tables import integer, metadata, text

job = Table(
    "job",
    metadata,
    Column("request_id", Text, primary_key=True),
    text("kind"),
    text("upstream"),
    text("external_id"),
    text("record"),
    integer("looks", default=0),
    integer("due_at_us"),
    integer("ends_at_us"),
    Index(None, "upstream", "external_id"),
    Index(None, "due_at_us"),
)


@dataclass(frozen=True, slots=True)
class Job:
    """One job. `request_id` is that of the call whose hold it keeps.

    kind         what it is at the provider: "responses" or "batches"
    record       the settlement to make if nothing more comes to light, as JSON
    looks        how often somebody has asked the provider about it
    due_at_us    when to ask next
    ends_at_us   from when on it is cancelled and charged by what is known
    """

    request_id: str
    kind: str
    upstream: str
    external_id: str
    record: str
    looks: int
    due_at_us: int
    ends_at_us: int


def clock_us(connection: Connection, own_us: int) -> int:
    """Return the time that jobs go by: PostgreSQL's own, on SQLite the only process's, which is given."""
    if connection.dialect.name != "postgresql":
        return own_us
    return int(connection.execute(_CLOCK).scalar_one())


_CLOCK = sql("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")


def record(connection: Connection, made: Job) -> None:
    """Note a job. Noting it again only sets when it is due."""
    if not _postpone(connection, made.request_id, made.due_at_us):
        values = {name: getattr(made, name) for name in made.__slots__}
        connection.execute(insert(job).values(values))


def due(connection: Connection, now_us: int, most: int) -> list[Job]:
    """Return jobs that are to be looked at, the longest overdue first."""
    query = select(job).where(job.c.due_at_us <= now_us).order_by(job.c.due_at_us).limit(most)
    return [_job(row) for row in connection.execute(query)]


def outlook(connection: Connection) -> tuple[int, int | None]:
    """Return how many jobs there are, and when the next is due."""
    count, due_at_us = connection.execute(select(func.count(), func.min(job.c.due_at_us)).select_from(job)).one()
    return count, due_at_us


def claim(connection: Connection, found: Iterable[Job], until_us: int) -> list[Job]:
    """Push on when these jobs are due; return those that nobody else has claimed since they were read."""
    claimed = []
    for one in found:
        mine = update(job).where(job.c.request_id == one.request_id, job.c.due_at_us == one.due_at_us)
        if connection.execute(mine.values(due_at_us=until_us, looks=job.c.looks + 1)).rowcount:
            claimed.append(one)
    return claimed


def postpone(connection: Connection, request_id: str, due_at_us: int) -> None:
    """Set when a job is due; nothing happens if it is over."""
    _postpone(connection, request_id, due_at_us)


def find(connection: Connection, upstream: str, external_id: str) -> Job | None:
    """Return the job that is known by this id at its upstream."""
    query = select(job).where(job.c.upstream == upstream, job.c.external_id == external_id)
    row = connection.execute(query.limit(1)).first()
    return None if row is None else _job(row)


def forget(connection: Connection, request_id: str) -> bool:
    """Drop a job that is settled; tell whether it was still there."""
    return bool(connection.execute(delete(job).where(job.c.request_id == request_id)).rowcount)


def _postpone(connection: Connection, request_id: str, due_at_us: int) -> bool:
    change = update(job).where(job.c.request_id == request_id).values(due_at_us=due_at_us)
    return bool(connection.execute(change).rowcount)


def _job(row: AnyRow) -> Job:
    return Job(
        row.request_id,
        row.kind,
        row.upstream,
        row.external_id,
        row.record,
        row.looks,
        row.due_at_us,
        row.ends_at_us,
    )
