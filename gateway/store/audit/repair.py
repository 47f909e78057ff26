"""What of an audit's faults can be put right, each from what it is derived from, and written into the audit log.

A record of usage is never changed: a call that was charged twice gets a correction. Everything else is derived, so it
is worked out anew under the ledger's lock, whatever the audit read before: doing it twice changes nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, select, update

from gateway.core.limits import DAY_SECONDS, HOUR_SECONDS, Interval, Limit, period_end
from gateway.store import audit_log, limits
from gateway.store.audit import counters, rollups, used
from gateway.store.audit.findings import Check, Key, amount_text, limit_text, moment_text
from gateway.store.audit.records import OPEN, TWICE
from gateway.store.audit_log import COMMAND_LINE
from gateway.store.engine import Database
from gateway.store.holds import hold, hold_item
from gateway.store.limits import counter
from gateway.store.revision import revision
from gateway.store.usage import AMOUNTS, SUMS, figure, usage, usage_day, usage_hour

AT_ONCE = 50
"""Repairs in one transaction: calls wait meanwhile."""
MICROSECONDS = 1_000_000
OWNERS = ("project_id", "user_id", "service_account_id")

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Stamp:
    """What an event of the audit log says beside the repair: Unix seconds, and where its id comes from."""

    now: int
    random_base62: Callable[[int], str]


class Log:
    """Writes repairs into the audit log, and remembers their words."""

    def __init__(self, connection: Connection, stamp: Stamp) -> None:
        self.connection = connection
        self.now = stamp.now
        self.words: list[str] = []
        self._stamp = stamp

    def add(self, id: str, words: str, before: object, after: object) -> None:
        """Note one repair of the thing with this id, in the transaction that makes it."""
        event_id = audit_log.new_id(self.now, self._stamp.random_base62(audit_log.EVENT_ID_CHARACTERS))
        detail = audit_log.Detail(id, before, after)
        event = audit_log.Event(event_id, self.now, "organization.updated", None, COMMAND_LINE, None, detail)
        audit_log.append(self.connection, event)
        self.words.append(words)


def can_repair(check: Check) -> bool:
    """Tell whether any fault of the check can be put right here. Those of leases are the ledger's own to settle."""
    return check.name in _REPAIRS and any(fault.key for fault in check.faults)


async def mend(database: Database, checks: Iterable[Check], stamp: Stamp) -> list[str]:
    """Put right what can be, in the order of the checks; return in words what was done. Doing it twice does nothing."""
    words: list[str] = []
    for check in filter(can_repair, checks):
        keys = [fault.key for fault in check.faults if fault.key]
        for first in range(0, len(keys), AT_ONCE):
            work = partial(_mend_some, check.name, keys[first : first + AT_ONCE], stamp)
            words += await database.write(work)
    return words


def _mend_some(name: str, keys: Sequence[Key], stamp: Stamp, connection: Connection) -> list[str]:
    """Put some faults of one check right in one transaction, during which no batch of the ledger runs."""
    limits.exclude_batches(connection)
    log = Log(connection, stamp)
    for key in keys:
        _REPAIRS[name](log, key)
    return log.words


def _revision(log: Log, _: Key) -> None:
    present = [int(value) for value in log.connection.execute(select(revision.c.value)).scalars()]
    # Higher than any that a running process may know, so that each of them reads again.
    value = max([log.now, *present]) + 1
    log.connection.execute(delete(revision))
    log.connection.execute(insert(revision).values(id=1, value=value))
    log.add("revision", f"the revision is {value:,}", {"revisions": present}, {"revision": value})


def _call(log: Log, key: Key) -> None:
    what, request_id = key
    if what == TWICE:
        _charge_once(log, str(request_id))
    elif what == OPEN:
        _release(log, str(request_id), f"released what {request_id} held after it was charged")


def _charge_once(log: Log, request_id: str) -> None:
    """Take back each final record but one: the provider's own figures before ours, the first before others."""
    query = select(usage).where(usage.c.request_id == request_id)
    rows = [dict(row) for row in log.connection.execute(query).mappings()]
    corrected = {row["admitted_at_us"] for row in rows if row["entry"] != "final"}
    finals = [row for row in rows if row["entry"] == "final" and row["admitted_at_us"] not in corrected]
    finals.sort(key=lambda row: (("reported", "counted", "swept").index(row["source"]), row["admitted_at_us"]))
    for row in finals if corrected else finals[1:]:
        amounts = {name: None if row[name] is None else -row[name] for name in AMOUNTS}
        settled_at_us = max(log.now * MICROSECONDS, row["settled_at_us"])
        added = {**row, **amounts, "entry": "correction", "settled_at_us": settled_at_us}
        log.connection.execute(insert(usage).values(added))
        moment = moment_text(row["admitted_at_us"] // MICROSECONDS)
        log.add(request_id, f"took back the second charge of {request_id}, of {moment}", None, amounts)


def _release(log: Log, request_id: str, words: str) -> None:
    items = log.connection.execute(select(hold_item).where(hold_item.c.request_id == request_id)).all()
    gone = log.connection.execute(delete(hold).where(hold.c.request_id == request_id)).rowcount
    if not items and not gone:
        return
    log.connection.execute(delete(hold_item).where(hold_item.c.request_id == request_id))
    for item in items:
        _set_held(log, item.limit_id, item.period_start)
    log.add(request_id, words, {"items": [dict(item._mapping) for item in items]}, {"items": []})


def _orphan(log: Log, key: Key) -> None:
    (request_id,) = key
    open_call = log.connection.execute(select(hold.c.request_id).where(hold.c.request_id == request_id)).first()
    if open_call is None:
        _release(log, str(request_id), f"released what {request_id} held without being an open call")


def _set_held(log: Log, limit_id: str, start: int) -> None:
    due = counters.held_by_items(log.connection, (limit_id, start)).get((limit_id, start), 0)
    log.connection.execute(update(counter).where(*_at(limit_id, start)).values(held=due))


def _held(log: Log, key: Key) -> None:
    limit_id, start = str(key[0]), int(key[1])
    due = counters.held_by_items(log.connection, (limit_id, start)).get((limit_id, start), 0)
    _set_counter(log, limit_id, start, {"held": due})


def _used(log: Log, key: Key) -> None:
    limit_id, start = str(key[0]), int(key[1])
    limit = _limit(log.connection, limit_id)
    if limit is not None:
        due = used.of_counter(log.connection, limit, start, period_end(limit.interval, start))
        _set_counter(log, limit_id, start, {"used": due})


def _sign(log: Log, key: Key) -> None:
    """A negative amount is worked out anew. A minute's excess went elsewhere: there it is 0."""
    limit_id, start = str(key[0]), int(key[1])
    limit = _limit(log.connection, limit_id)
    row = log.connection.execute(select(counter.c.used, counter.c.held).where(*_at(limit_id, start))).first()
    if row is None or limit is None:
        return
    if row.held < 0:
        _held(log, key)
    if row.used < 0 and limit.interval is Interval.MINUTE:
        _set_counter(log, limit_id, start, {"used": 0})
    elif row.used < 0:
        _used(log, key)


def _limit(connection: Connection, id: str) -> Limit | None:
    """Return a limit, None if it was deleted meanwhile."""
    there = connection.execute(select(limits.limit.c.id).where(limits.limit.c.id == id)).first()
    return None if there is None else limits.get(connection, id)


def _set_counter(log: Log, limit_id: str, start: int, after: Mapping[str, int]) -> None:
    columns = [counter.c[name] for name in after]
    row = log.connection.execute(select(*columns).where(*_at(limit_id, start))).mappings().first()
    limit = _limit(log.connection, limit_id)
    before = None if row is None else dict(row)
    if limit is None or before == after:
        return
    if before is None:
        log.connection.execute(insert(counter).values(limit_id=limit_id, period_start=start, **after))
    else:
        log.connection.execute(update(counter).where(*_at(limit_id, start)).values(**after))
    changes = ", ".join(
        f"{name} is {amount_text(limit.metric, amount)} now" + ("" if before is None else f", not {before[name]:,}")
        for name, amount in after.items()
    )
    log.add(limit_id, f"{limit_text(limit, start)}: {changes}", before, after)


def _at(limit_id: str, start: int) -> tuple[Any, Any]:
    return counter.c.limit_id == limit_id, counter.c.period_start == start


def _hour(log: Log, key: Key) -> None:
    columns = rollups.recorded_key()
    where = [column == value for column, value in zip(columns, key, strict=True)]
    start = int(key[0]) * MICROSECONDS
    within = [usage.c.admitted_at_us >= start, usage.c.admitted_at_us < start + HOUR_SECONDS * MICROSECONDS]
    sums = {name: figure(name) for name in SUMS}
    _set_rollup(log, usage_hour, key, usage, sums, [*where, *within])


def _day(log: Log, key: Key) -> None:
    start = int(key[0])
    within = [usage_hour.c.start >= start, usage_hour.c.start < start + DAY_SECONDS]
    where = [usage_hour.c[name] == value for name, value in zip(rollups.KEY_COLUMNS[1:], key[1:], strict=True)]
    _set_rollup(log, usage_day, key, usage_hour, {name: usage_hour.c[name] for name in SUMS}, [*where, *within])


def _set_rollup(log: Log, table: Table, key: Key, source: Table, sums: Values, where: Sequence[Any]) -> None:
    totals = [func.coalesce(func.sum(column), 0).label(name) for name, column in sums.items()]
    owners = [func.max(source.c[name]).label(name) for name in OWNERS]
    counted = func.count().label("rows")
    due = dict(log.connection.execute(select(*totals, *owners, counted).where(*where)).mappings().one())
    rows = due.pop("rows")
    due = {name: int(value) if name in sums else value for name, value in due.items()}
    row = log.connection.execute(select(table).where(*rollups.at(table, key))).mappings().first()
    before = None if row is None else {name: row[name] for name in due}
    after = due if rows else None
    if before == after:
        return
    log.connection.execute(delete(table).where(*rollups.at(table, key)))
    if after is not None:
        log.connection.execute(insert(table).values(**dict(zip(rollups.KEY_COLUMNS, key, strict=True)), **after))
    start, operation, model, api_key_id, *_ = key
    where_it_is = f"{table.name} of {moment_text(int(start))}, {operation} of {model} by {api_key_id}"
    log.add("/".join((table.name, *map(str, key))), f"{where_it_is}: added up anew", before, after)


_REPAIRS: Mapping[str, Callable[[Log, Key], None]] = {
    "revision": _revision,
    "calls": _call,
    "usage_hour": _hour,
    "usage_day": _day,
    "holds": _orphan,
    "signs": _sign,
    "held": _held,
    "used": _used,
}
