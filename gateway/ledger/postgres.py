"""The ledger on PostgreSQL: the same batch in one statement or in four round trips, its locks in one global order.

A batch is decided on what is known already, and one statement writes it if the database, under its locks, finds just
that. Else it goes the long way: lock, read, decide, write.

The order: the table lock on `hold` (shared among batches; making a limit excludes them all for a moment), counters by
(limit, period), holds by id, rollups by key. READ COMMITTED is enough: every figure that a decision rests on is read or
compared after its row was locked. Victims of a deadlock or a lock timeout run again.
"""

# ruff: noqa: S608 - statements are put together from constant names of columns, values are bound

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import asyncpg
import msgspec
from msgspec.structs import astuple

from gateway.core.errors import ServiceUnavailable
from gateway.core.limits import Interval, Metric
from gateway.ledger.effects import (
    Batch,
    Counts,
    Effects,
    ReleasedItem,
    State,
    apply,
    plan,
    unknown_limits,
)
from gateway.ledger.entries import Grant, Item, OutcomeUnknown, Refused, Settlement, Stale
from gateway.ledger.known import Known, is_certain
from gateway.ledger.line import MESSAGE, VICTIMS, WORK_SECONDS, Line
from gateway.ledger.rows import (
    FINAL_COLUMNS,
    HOLD_COLUMNS,
    ITEM_COLUMNS,
    LIMIT_COLUMNS,
    ROLLUP_KEY_COLUMNS,
    ROLLUP_OWNER_COLUMNS,
    ROLLUP_SUM_COLUMNS,
    USAGE_COLUMNS,
    Row,
    final_of,
    hold_row,
    item_rows,
    limit_of,
    rollup_rows,
    scope_ids,
    usage_row,
)
from gateway.ledger.sweep import SWEPT_COLUMNS, gather

T = TypeVar("T")
Answers = list[Grant | Refused | Stale]

ATTEMPTS = 5
LEAVE_SECONDS = 1.0
MINUTE_US = 60_000_000
MOST_AHEAD_US = 1_000_000
"""A guess at the database's clock that is farther off than this is none."""

NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
BEGIN = "BEGIN; LOCK TABLE hold IN ROW EXCLUSIVE MODE"
# A minute opens with what the last one used beyond its amount, for each minute that passed; all others open at 0.
OPEN_COUNTERS = """
    INSERT INTO counter (limit_id, period_start, used, held)
    SELECT l.id, k.start, CASE WHEN l.interval = 'minute' THEN coalesce((
        SELECT greatest(0, c.used - l.amount * ((k.start - c.period_start) / 60)) FROM counter c
        WHERE c.limit_id = l.id AND c.period_start < k.start ORDER BY c.period_start DESC LIMIT 1), 0) ELSE 0 END, 0
    FROM unnest($1::text[], $2::bigint[]) AS k (id, start) JOIN "limit" l ON l.id = k.id
    ORDER BY 1, 2 ON CONFLICT DO NOTHING"""
LOCK_AND_RELEASE = f"""
    WITH locked AS (
        SELECT c.limit_id, c.period_start, c.used, c.held FROM counter c
        JOIN unnest($1::text[], $2::bigint[]) AS k (id, start) ON c.limit_id = k.id AND c.period_start = k.start
        ORDER BY 1, 2 FOR UPDATE OF c),
    gone AS (DELETE FROM hold WHERE request_id = ANY ($3::text[]) RETURNING request_id),
    items AS (
        DELETE FROM hold_item WHERE request_id = ANY ($3::text[])
        RETURNING request_id, limit_id, period_start, amount)
    SELECT 'counter' AS what, limit_id AS name, NULL::text AS other, period_start AS a, used AS b, held AS c FROM locked
    UNION ALL SELECT 'hold', request_id, NULL, 0, 0, 0 FROM gone
    UNION ALL SELECT 'item', request_id, limit_id, period_start, amount, 0 FROM items
    UNION ALL SELECT 'state', '', NULL, (SELECT value FROM revision), {NOW}, 0"""
READ_KINDS = 'SELECT id, metric, interval FROM "limit" WHERE id = ANY ($1::text[])'
READ_FINALS = f"""
    SELECT {", ".join(FINAL_COLUMNS)} FROM usage
    WHERE (admitted_at_us, request_id) IN (SELECT * FROM unnest($1::bigint[], $2::text[])) AND entry = 'final'"""
READ_LIMITS = f"""
    SELECT {", ".join(LIMIT_COLUMNS)} FROM "limit" WHERE scope = 'organization' OR scope_id = ANY ($1::text[])"""


def _insert(table: str, columns: Sequence[str], parameter: int) -> str:
    names = ", ".join(columns)
    return f"INSERT INTO {table} ({names}) SELECT {names} FROM json_populate_recordset(NULL::{table}, ${parameter})"


_ROLLUP_COLUMNS = (*ROLLUP_KEY_COLUMNS, *ROLLUP_OWNER_COLUMNS, *ROLLUP_SUM_COLUMNS)


def _add_rollup(table: str, parameter: int, only_if: str = "") -> str:
    inserted = _insert(table, _ROLLUP_COLUMNS, parameter) + only_if
    sums = ", ".join(f"{column} = {table}.{column} + excluded.{column}" for column in ROLLUP_SUM_COLUMNS)
    return f"{inserted} ON CONFLICT ({', '.join(ROLLUP_KEY_COLUMNS)}) DO UPDATE SET {sums}"


COUNTER_COLUMNS = ("limit_id", "period_start", "used", "held")
RESERVE_PARTS = f"""
    changed AS (
        INSERT INTO counter ({", ".join(COUNTER_COLUMNS)})
        SELECT d.limit_id, d.period_start, d.used, d.held FROM json_populate_recordset(NULL::counter, $1) d
        JOIN "limit" ON id = d.limit_id ORDER BY 1, 2
        ON CONFLICT (limit_id, period_start)
        DO UPDATE SET used = counter.used + excluded.used, held = counter.held + excluded.held),
    holds AS ({_insert("hold", HOLD_COLUMNS, 2)}),
    items AS ({_insert("hold_item", ITEM_COLUMNS, 3)})"""
WRITE_RESERVED = f"WITH {RESERVE_PARTS} SELECT 0"
WRITE_ALL = f"""
    WITH {RESERVE_PARTS},
    entries AS ({_insert("usage", USAGE_COLUMNS, 4)} ON CONFLICT DO NOTHING RETURNING 1),
    hours AS ({_add_rollup("usage_hour", 5)}),
    days AS ({_add_rollup("usage_day", 6)})
    SELECT count(*) FROM entries"""
# Planning takes the table lock on `hold`, the first of the order, before the statement sees any row.
# What another transaction changed while this one waited for a counter is compared as it is then, not as it was.
_EXPECTED = f"""
    WITH k AS MATERIALIZED (
        SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
        AS k (limit_id, period_start, used, held, more_used, more_held)),
    locked AS MATERIALIZED (
        SELECT c.limit_id, c.period_start, c.used = k.used AND c.held = k.held AS is_same
        FROM counter c JOIN k ON c.limit_id = k.limit_id AND c.period_start = k.period_start
        ORDER BY 1, 2 FOR UPDATE OF c),
    counters AS MATERIALIZED (SELECT count(*) FILTER (WHERE is_same) = cardinality($1::text[]) AS fit FROM locked),
    ours AS MATERIALIZED (
        SELECT h.request_id FROM hold h, counters WHERE counters.fit AND h.request_id = ANY ($7::text[])
        ORDER BY 1 FOR UPDATE OF h),
    clock AS MATERIALIZED (SELECT {NOW} AS now_us),
    sure AS MATERIALIZED (
        SELECT 1 FROM counters, clock WHERE counters.fit AND (SELECT value FROM revision) = $8::bigint
        AND abs(now_us - $9::bigint) < {MOST_AHEAD_US} AND now_us / {MINUTE_US} = $9::bigint / {MINUTE_US}
        AND (SELECT count(*) FROM ours) = cardinality($7::text[])
        AND NOT EXISTS (
            SELECT 1 FROM (SELECT * FROM hold_item WHERE request_id = ANY ($7::text[])) found
            FULL JOIN json_populate_recordset(NULL::hold_item, $10) expected
            USING (request_id, limit_id, period_start, amount)
            WHERE found IS NULL OR expected IS NULL)),
    gone AS (DELETE FROM hold USING sure WHERE request_id = ANY ($7::text[])),
    gone_items AS (DELETE FROM hold_item USING sure WHERE request_id = ANY ($7::text[])),
    changed AS (
        UPDATE counter c SET used = c.used + k.more_used, held = c.held + k.more_held FROM k, sure
        WHERE c.limit_id = k.limit_id AND c.period_start = k.period_start AND (k.more_used <> 0 OR k.more_held <> 0)),
    holds AS ({_insert("hold", HOLD_COLUMNS, 11)}, sure),
    items AS ({_insert("hold_item", ITEM_COLUMNS, 12)}, sure)"""
_ANSWER = " SELECT EXISTS (SELECT 1 FROM sure), now_us FROM clock"
EXPECT_RESERVED = _EXPECTED + _ANSWER
EXPECT_ALL = f"""{_EXPECTED},
    entries AS ({_insert("usage", USAGE_COLUMNS, 13)}, sure),
    hours AS ({_add_rollup("usage_hour", 14, ", sure")}),
    days AS ({_add_rollup("usage_day", 15, ", sure")}) {_ANSWER}"""
BEAT = f"""
    INSERT INTO owner (id, beat_at_us) VALUES ($1, {NOW})
    ON CONFLICT (id) DO UPDATE SET beat_at_us = excluded.beat_at_us"""
PROGRESS = """
    UPDATE hold SET input_tokens = d.input, delivered = d.output FROM (
        SELECT h.request_id, k.input, k.output FROM hold h
        JOIN unnest($1::text[], $2::bigint[], $3::bigint[]) AS k (id, input, output) ON h.request_id = k.id
        ORDER BY h.request_id FOR UPDATE OF h SKIP LOCKED) d
    WHERE hold.request_id = d.request_id"""
DISOWN = "UPDATE hold SET owner = '' WHERE request_id = $1"
ABANDONED = f"""
    SELECT {", ".join(SWEPT_COLUMNS)} FROM hold
    WHERE owner <> $1 AND owner NOT IN (SELECT id FROM owner WHERE beat_at_us >= {NOW} - $2::bigint)
    AND NOT EXISTS (SELECT 1 FROM job WHERE job.request_id = hold.request_id)
    ORDER BY request_id LIMIT $3"""
ITEMS_OF = """
    SELECT i.request_id, i.limit_id, l.metric, l.interval, i.period_start, i.amount
    FROM hold_item i JOIN "limit" l ON l.id = i.limit_id WHERE i.request_id = ANY ($1::text[])"""
FORGET_OWNERS = f"""
    DELETE FROM owner WHERE id <> $1 AND beat_at_us < {NOW} - $2::bigint AND id NOT IN (SELECT owner FROM hold)"""
LEAVE = "DELETE FROM owner WHERE id = $1 AND id NOT IN (SELECT owner FROM hold)"
# The newest row stays: the next minute opens from it.
FORGET_MINUTES = """
    DELETE FROM counter WHERE held = 0 AND period_start < extract(epoch FROM clock_timestamp()) - 3600
    AND limit_id IN (SELECT id FROM "limit" WHERE interval = 'minute')
    AND period_start < (SELECT max(period_start) FROM counter newer WHERE newer.limit_id = counter.limit_id)"""


class _Lost(Exception):
    """Another process settled one of these calls between our reading and our writing."""


class PostgresLedger:
    """The ledger's transactions on PostgreSQL. `clock` returns Unix microseconds and is only a guess at the database's.

    `retried` is told the cause of each transaction that had to run again.
    """

    def __init__(self, dsn: str, owner: str, clock: Callable[[], int], retried: Callable[[str], None]) -> None:
        self.owner = owner
        self._clock = clock
        self._retried = retried
        self._batches = Line(dsn, only_one_for=owner)
        self._upkeep = Line(dsn)
        self._known = Known()
        self._is_committing = False

    async def close(self) -> None:
        """Give the lease back and let both connections go."""
        with suppress(ServiceUnavailable, asyncpg.PostgresError):  # It ends by itself.
            give_up = asyncio.get_running_loop().time() + LEAVE_SECONDS
            await self._upkeep.run(lambda connection: connection.execute(LEAVE, self.owner), give_up)
        await self._batches.close()
        await self._upkeep.close()

    async def commit(self, batch: Batch) -> Answers:
        """Apply a batch in one transaction and return the reservations' answers once it is committed.

        Raises ServiceUnavailable when the database is in trouble, as OutcomeUnknown if that was at the commit. Other
        errors are the batch's own. Save for OutcomeUnknown nothing of the batch was applied.
        """
        give_up = asyncio.get_running_loop().time() + WORK_SECONDS
        for _ in range(ATTEMPTS):
            self._is_committing = False
            try:
                return await self._batches.run(lambda connection: self._transaction(connection, batch), give_up)
            except VICTIMS as error:
                self._retried(type(error).__name__)
            except _Lost:
                self._retried("lost_race")
            except ServiceUnavailable as error:
                if self._is_committing:
                    raise OutcomeUnknown(MESSAGE) from error.__cause__
                raise
            self._known.forget()
        raise ServiceUnavailable("The gateway's database is too busy; try again shortly.")

    async def _transaction(self, connection: "asyncpg.Connection[asyncpg.Record]", batch: Batch) -> Answers:
        if (expected := self._known.expect(batch, self._now_us())) is not None:
            effects = apply(batch, expected)
            if is_certain(effects, expected) and await self._write_expected(connection, batch, expected, effects):
                return effects.answers
        await connection.execute(BEGIN)
        state = await self._read(connection, batch)
        await self._read_rest(connection, batch, state)
        effects = apply(batch, state)
        if not effects.is_empty:
            await self._write(connection, state, effects)
        self._is_committing = True
        await connection.execute("COMMIT")
        self._known.remember(state, effects)
        return effects.answers

    def _now_us(self) -> int:
        """Return the database's clock, as far as it is known."""
        return self._clock() + self._known.ahead_us

    async def _write_expected(
        self, connection: "asyncpg.Connection[asyncpg.Record]", batch: Batch, state: State, effects: Effects
    ) -> bool:
        """Write what was decided on a guess and commit it, all in one statement. False: wrong, nothing was written."""
        settled = sorted(item.request_id for item in batch.settlements)
        counters = []
        for key, found in state.counters.items():
            change = effects.deltas.get(key) or Counts()
            counters.append((*key, found.used, found.held, change.used, change.held))
        arguments = (
            *_columns(counters, 6),
            settled,
            state.revision,
            state.now_us,
            _json(ITEM_COLUMNS, map(astuple, state.released_items)),
            _json(HOLD_COLUMNS, (hold_row(self.owner, *granted) for granted in effects.granted)),
            _json(ITEM_COLUMNS, item_rows(effects.granted)),
        )
        self._is_committing = True
        if effects.entries:
            answer = await connection.fetchrow(EXPECT_ALL, *arguments, *_entry_rows(effects))
        else:
            answer = await connection.fetchrow(EXPECT_RESERVED, *arguments)
        self._is_committing = False
        assert answer is not None  # noqa: S101 - it always has its one row
        is_sure, now_us = answer
        self._known.ahead_us = now_us - self._clock()
        if not is_sure:
            self._known.was_wrong()
            return False
        self._known.was_right()
        self._known.remember(state, effects)
        return True

    async def _read(self, connection: "asyncpg.Connection[asyncpg.Record]", batch: Batch) -> State:
        """Lock and read. The periods are a guess until the database's clock confirms them."""
        released = sorted({*(item.request_id for item in batch.settlements), *batch.voids})
        state = State(0, 0, {})
        keys = plan(batch, self._now_us())
        unknown = [key for key in keys if key not in self._known.counters]
        while True:
            if unknown:
                await connection.execute(OPEN_COUNTERS, *_columns(unknown, 2))
            rows = await connection.fetch(LOCK_AND_RELEASE, *_columns(keys, 2), released)
            _take(rows, state)
            self._known.ahead_us = state.now_us - self._clock()
            confirmed = plan(batch, state.now_us)
            missing = [key for key in confirmed if key not in state.counters]
            if not missing or missing == unknown:
                return state
            keys, unknown = confirmed, missing

    async def _read_rest(self, connection: "asyncpg.Connection[asyncpg.Record]", batch: Batch, state: State) -> None:
        """Read what is rarely there: calls whose hold is gone, and limits made while a call was in flight."""
        orphans = [item for item in batch.settlements if item.request_id not in state.released_holds]
        if orphans:
            times, names = [item.admitted_at_us for item in orphans], [item.request_id for item in orphans]
            for row in await connection.fetch(READ_FINALS, times, names):
                state.finals[row[0]] = final_of(row)
            ids = sorted({id for orphan in orphans for id in scope_ids(orphan)})
            state.limits.extend(map(limit_of, await connection.fetch(READ_LIMITS, ids)))
        if added := unknown_limits(batch, state):
            for name, metric, interval in await connection.fetch(READ_KINDS, added):
                state.kinds[name] = Metric(metric), interval and Interval(interval)

    async def _write(self, connection: "asyncpg.Connection[asyncpg.Record]", state: State, effects: Effects) -> None:
        if unplanned := sorted(key for key in effects.deltas if key not in state.counters):
            await connection.execute(OPEN_COUNTERS, *_columns(unplanned, 2))
        deltas = [(*key, change.used, change.held) for key, change in effects.deltas.items()]
        reserved = (
            _json(COUNTER_COLUMNS, deltas),
            _json(HOLD_COLUMNS, (hold_row(self.owner, *granted) for granted in effects.granted)),
            _json(ITEM_COLUMNS, item_rows(effects.granted)),
        )
        if not effects.entries:
            await connection.fetchval(WRITE_RESERVED, *reserved)
            return
        inserted = await connection.fetchval(
            WRITE_ALL,
            *reserved,
            *_entry_rows(effects),
        )
        if inserted != len(effects.entries):
            raise _Lost

    async def beat(self, progress: Mapping[str, tuple[int, int]]) -> None:
        """Renew this process's lease and note each call's input tokens and the output tokens delivered so far."""

        async def work(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
            await connection.execute(BEAT, self.owner)
            if progress:
                await connection.execute(PROGRESS, list(progress), *_columns(list(progress.values()), 2))

        await self._keep_up(work)

    async def disown(self, request_id: str) -> None:
        """Leave a call's hold to the next sweep."""

        async def work(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
            await connection.execute(DISOWN, request_id)

        await self._keep_up(work)

    async def abandoned(self, lease_us: int, most: int) -> list[Settlement]:
        """Return settlements for holds whose owner has no lease younger than `lease_us` and that no job keeps."""

        async def work(connection: "asyncpg.Connection[asyncpg.Record]") -> list[Settlement]:
            rows = [tuple(row) for row in await connection.fetch(ABANDONED, self.owner, lease_us, most)]
            items: dict[str, list[Item]] = {}
            for request_id, limit_id, metric, interval, start, amount in await connection.fetch(
                ITEMS_OF, [row[0] for row in rows]
            ):
                item = Item(limit_id, Metric(metric), interval and Interval(interval), start, amount)
                items.setdefault(request_id, []).append(item)
            return gather(rows, items)

        return await self._keep_up(work)

    async def tidy(self, lease_us: int) -> None:
        """Forget dead owners that hold nothing and minute counters that nothing can depend on any more."""

        async def work(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
            await connection.execute(FORGET_OWNERS, self.owner, lease_us)
            await connection.execute(FORGET_MINUTES)

        await self._keep_up(work)

    async def _keep_up(self, work: Callable[["asyncpg.Connection[asyncpg.Record]"], Awaitable[T]]) -> T:
        """Run upkeep on its own connection. Who had to make way for batches or an admin's change tries again later."""
        try:
            return await self._upkeep.run(work)
        except VICTIMS as error:
            self._retried(type(error).__name__)
            raise ServiceUnavailable(MESSAGE) from error


def _columns(keys: Sequence[tuple[Any, ...]], width: int) -> tuple[list[Any], ...]:
    """Turn rows into columns, for unnest."""
    return tuple([row[index] for row in keys] for index in range(width))


def _json(columns: Sequence[str], rows: Iterable[Row]) -> str:
    return msgspec.json.encode([dict(zip(columns, row, strict=True)) for row in rows]).decode()


def _entry_rows(effects: Effects) -> tuple[str, str, str]:
    """Return the rows of usage, usage_hour and usage_day."""
    hours, days = rollup_rows(effects.entries)
    return (
        _json(USAGE_COLUMNS, map(usage_row, effects.entries)),
        _json(_ROLLUP_COLUMNS, hours),
        _json(_ROLLUP_COLUMNS, days),
    )


def _take(rows: Iterable[asyncpg.Record], state: State) -> None:
    """Sort the rows of LOCK_AND_RELEASE into the state."""
    for what, name, other, a, b, c in rows:
        match what:
            case "counter":
                state.counters[name, a] = Counts(b, c)
            case "hold":
                state.released_holds.add(name)
            case "item":
                state.released_items.append(ReleasedItem(name, other, a, b))
            case "state":
                state.revision = a
                state.set_now(b)
