"""The ledger on PostgreSQL: the same batch in one statement or in four round trips, its locks in one global order.

A batch is decided on what is known already, and one statement writes it if the database, under its locks, finds just
that. Else it goes the long way: lock, read, decide, write.

The order: the table lock on `hold` (shared among batches; making a limit excludes them all for a moment), counters by
(limit, period), holds by id, rollups by key. READ COMMITTED is enough: every figure that a decision rests on is read or
compared after its row was locked. Victims of a deadlock or a lock timeout run again.
"""

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
from gateway.ledger.postgres_statements import (
    ABANDONED,
    BEAT,
    BEGIN,
    COUNTER_COLUMNS,
    DISOWN,
    EXPECT_ALL,
    EXPECT_RESERVED,
    FORGET_MINUTES,
    FORGET_OWNERS,
    ITEMS_OF,
    LEAVE,
    LOCK_AND_RELEASE,
    OPEN_COUNTERS,
    PROGRESS,
    READ_FINALS,
    READ_KINDS,
    READ_LIMITS,
    ROLLUP_COLUMNS,
    WRITE_ALL,
    WRITE_RESERVED,
)
from gateway.ledger.rows import (
    HOLD_COLUMNS,
    ITEM_COLUMNS,
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
from gateway.ledger.sweep import gather

T = TypeVar("T")
Answers = list[Grant | Refused | Stale]

ATTEMPTS = 5
LEAVE_SECONDS = 3.0


class _Lost(Exception):
    """Another process settled one of these calls between our reading and our writing."""


class PostgresLedger:
    """The ledger's transactions on PostgreSQL. `clock` returns Unix microseconds and is only a guess at the database's.

    `retried` is told the cause of each transaction that had to run again, and none takes longer than `work_seconds`.
    """

    def __init__(
        self,
        dsn: str,
        owner: str,
        clock: Callable[[], int],
        retried: Callable[[str], None],
        work_seconds: float = WORK_SECONDS,
    ) -> None:
        self.owner = owner
        self._clock = clock
        self._retried = retried
        self._work_seconds = work_seconds
        self._batches = Line(dsn, work_seconds, only_one_for=owner)
        self._upkeep = Line(dsn, work_seconds)
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
        give_up = asyncio.get_running_loop().time() + self._work_seconds
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
        _json(ROLLUP_COLUMNS, hours),
        _json(ROLLUP_COLUMNS, days),
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
