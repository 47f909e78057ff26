"""Notices and their way out: one row per notice and channel, so each is told once, and by one process at a time.

A row is made by whoever finds that a threshold was reached; that it is there already is no fault. Whoever wants to send
it claims it for a while. A claim that ends unsent, because its process was killed, is free for everybody again.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import msgspec
from sqlalchemy import ColumnElement, Connection, Index, PrimaryKeyConstraint, Table, and_, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from gateway.core.notices import Notice
from gateway.store.pages import AnyRow
from gateway.store.tables import integer, metadata, text

notice = Table(
    "notice",
    metadata,
    text("subject_id"),
    integer("step"),
    integer("period_start"),
    text("channel"),
    text("content"),
    integer("created_at"),
    integer("due_at"),
    integer("attempts"),
    integer("ended_at", null=True),
    text("failure", null=True),
    PrimaryKeyConstraint("subject_id", "step", "period_start", "channel"),
    Index(None, "ended_at", "due_at"),
)
"""`content` is the notice as JSON. Not before `due_at` it is tried (again); `ended_at` is when it was sent or given up,
`failure` says why the last try failed."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A notice that is to be sent on a channel; `attempts` were made before."""

    notice: Notice
    channel: str
    attempts: int
    due_at: int


def known(connection: Connection, subject_ids: Iterable[str]) -> set[tuple[str, int, int, str]]:
    """Return (subject, step, period, channel) of the notices there are about some subjects."""
    columns = notice.c.subject_id, notice.c.step, notice.c.period_start, notice.c.channel
    query = select(*columns).where(notice.c.subject_id.in_(list(subject_ids)))
    return {(row.subject_id, row.step, row.period_start, row.channel) for row in connection.execute(query)}


def add(connection: Connection, content: Notice, channel: str, now: int) -> None:
    """Have a notice told on a channel, unless it is there already."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    values = {
        "subject_id": content.subject_id,
        "step": content.step,
        "period_start": content.period_start,
        "channel": channel,
        "content": msgspec.json.encode(content).decode(),
        "created_at": now,
        "due_at": now,
        "attempts": 0,
    }
    connection.execute(insert(notice).values(values).on_conflict_do_nothing())


def due(connection: Connection, channels: Collection[str], now: int, most: int) -> list[Pending]:
    """Return notices that can be tried now on these channels, the longest due first."""
    query = select(notice).where(notice.c.ended_at.is_(None), notice.c.due_at <= now, notice.c.channel.in_(channels))
    return [_pending(row) for row in connection.execute(query.order_by(notice.c.due_at).limit(most))]


def claim(connection: Connection, pending: Pending, until: int) -> bool:
    """Take a notice for oneself until a time; False when somebody else was quicker."""
    still = and_(_is(pending), notice.c.ended_at.is_(None), notice.c.due_at == pending.due_at)
    taken = update(notice).where(still).values(due_at=until, attempts=pending.attempts + 1)
    return connection.execute(taken).rowcount == 1


def end(connection: Connection, pending: Pending, now: int, failure: str | None) -> None:
    """Note that a notice was sent, or given up because of a failure."""
    connection.execute(update(notice).where(_is(pending)).values(ended_at=now, failure=failure))


def put_off(connection: Connection, pending: Pending, due_at: int, failure: str) -> None:
    """Note that a try failed, and when to try again."""
    connection.execute(update(notice).where(_is(pending)).values(due_at=due_at, failure=failure))


def prune(connection: Connection, before: int) -> None:
    """Drop what was made before a time and belongs to a period that is over by then. A lifetime is never over."""
    connection.execute(delete(notice).where(notice.c.created_at < before, notice.c.period_start > 0))


def _is(pending: Pending) -> ColumnElement[bool]:
    content = pending.notice
    return and_(
        notice.c.subject_id == content.subject_id,
        notice.c.step == content.step,
        notice.c.period_start == content.period_start,
        notice.c.channel == pending.channel,
    )


def _pending(row: AnyRow) -> Pending:
    return Pending(msgspec.json.decode(row.content, type=Notice), row.channel, row.attempts, row.due_at)
