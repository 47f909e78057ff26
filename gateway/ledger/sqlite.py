"""The ledger on SQLite: one connection writes, on the event loop, and never waits for a lock or for the disk there.

Statements take microseconds, so they run where the batch is; `busy_timeout` is 0 and a foreign lock (the command line)
is tried again after an await. Commits are made with `synchronous=NORMAL`, which does not sync the write-ahead log; the
log is synced in a thread and only then is the batch's commit told to anybody: durable, and the loop was free meanwhile.
Checkpoints run in that thread too, on the same connection, between batches: no second connection ever checkpoints.
"""

# ruff: noqa: S608 - statements are put together from constant names of columns, values are bound

import asyncio
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from gateway.core.errors import ServiceUnavailable
from gateway.core.limits import Interval, Metric
from gateway.ledger.disk import Disk
from gateway.ledger.effects import (
    MICROSECONDS,
    Batch,
    CounterKey,
    Counts,
    Effects,
    ReleasedItem,
    State,
    apply,
    plan,
    unknown_limits,
)
from gateway.ledger.entries import Grant, Item, OutcomeUnknown, Refused, Settlement, Stale
from gateway.ledger.rows import (
    FINAL_COLUMNS,
    HOLD_COLUMNS,
    ITEM_COLUMNS,
    LIMIT_COLUMNS,
    ROLLUP_KEY_COLUMNS,
    ROLLUP_OWNER_COLUMNS,
    ROLLUP_SUM_COLUMNS,
    USAGE_COLUMNS,
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

LOCK_RETRY_SECONDS = 0.005
LOCK_PATIENCE_SECONDS = 3.0
CHECKPOINT_COMMITS = 100
"""Some 2 MB of log: copied in about 2 ms (16 MB take 12), and a short log is read faster at every commit."""
MESSAGE = "The gateway's database is not available; try again shortly."
LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
AWAY = LOCKED | {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
}
"""What says that the file or the disk is in trouble, not that this work is."""


def _marks(columns: Sequence[str]) -> str:
    return ", ".join("?" * len(columns))


# A minute opens with what the last one used beyond its amount, for each minute that passed; all others open at 0.
OPEN_COUNTER = """
    INSERT INTO counter (limit_id, period_start, used, held)
    SELECT id, ?2, CASE WHEN interval = 'minute' THEN coalesce((
        SELECT max(0, used - "limit".amount * ((?2 - period_start) / 60)) FROM counter
        WHERE limit_id = ?1 AND period_start < ?2 ORDER BY period_start DESC LIMIT 1), 0) ELSE 0 END, 0
    FROM "limit" WHERE id = ?1 ON CONFLICT DO NOTHING"""
READ_COUNTER = "SELECT used, held FROM counter WHERE limit_id = ? AND period_start = ?"
CHANGE_COUNTER = "UPDATE counter SET used = used + ?, held = held + ? WHERE limit_id = ? AND period_start = ?"
INSERT_HOLD = f"INSERT INTO hold ({', '.join(HOLD_COLUMNS)}) VALUES ({_marks(HOLD_COLUMNS)})"
INSERT_ITEM = f"INSERT INTO hold_item ({', '.join(ITEM_COLUMNS)}) VALUES ({_marks(ITEM_COLUMNS)})"
# One statement for a whole batch, its request ids in JSON: half the price of one statement each.
DELETE_HOLDS = "DELETE FROM hold WHERE request_id IN (SELECT value FROM json_each(?)) RETURNING request_id"
DELETE_ITEMS = (
    f"DELETE FROM hold_item WHERE request_id IN (SELECT value FROM json_each(?)) RETURNING {', '.join(ITEM_COLUMNS)}"
)
READ_KIND = 'SELECT metric, interval FROM "limit" WHERE id = ?'
READ_FINAL = (
    f"SELECT {', '.join(FINAL_COLUMNS)} FROM usage WHERE admitted_at_us = ? AND request_id = ? AND entry = 'final'"
)
READ_LIMITS = f"""SELECT {", ".join(LIMIT_COLUMNS)} FROM "limit"
    WHERE scope = 'organization' OR scope_id IN (SELECT value FROM json_each(?))"""
INSERT_USAGE = f"INSERT INTO usage ({', '.join(USAGE_COLUMNS)}) VALUES ({_marks(USAGE_COLUMNS)}) ON CONFLICT DO NOTHING"
_ROLLUP_COLUMNS = (*ROLLUP_KEY_COLUMNS, *ROLLUP_OWNER_COLUMNS, *ROLLUP_SUM_COLUMNS)
ADD_ROLLUPS = tuple(
    f"INSERT INTO {table} ({', '.join(_ROLLUP_COLUMNS)}) VALUES ({_marks(_ROLLUP_COLUMNS)}) "
    f"ON CONFLICT ({', '.join(ROLLUP_KEY_COLUMNS)}) DO UPDATE SET "
    + ", ".join(f"{column} = {column} + excluded.{column}" for column in ROLLUP_SUM_COLUMNS)
    for table in ("usage_hour", "usage_day")
)
BEAT = (
    "INSERT INTO owner (id, beat_at_us) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET beat_at_us = excluded.beat_at_us"
)
PROGRESS = "UPDATE hold SET input_tokens = ?, delivered = ? WHERE request_id = ?"
DISOWN = "UPDATE hold SET owner = '' WHERE request_id = ?"
ABANDONED = (
    f"SELECT {', '.join(SWEPT_COLUMNS)} FROM hold "
    "WHERE owner <> ? AND owner NOT IN (SELECT id FROM owner WHERE beat_at_us >= ?) "
    "AND NOT EXISTS (SELECT 1 FROM job WHERE job.request_id = hold.request_id) LIMIT ?"
)
ITEMS_OF = (
    "SELECT limit_id, metric, interval, period_start, hold_item.amount "
    'FROM hold_item JOIN "limit" ON "limit".id = limit_id WHERE request_id = ?'
)
FORGET_OWNERS = "DELETE FROM owner WHERE id <> ? AND beat_at_us < ? AND id NOT IN (SELECT owner FROM hold)"
LEAVE = "DELETE FROM owner WHERE id = ? AND id NOT IN (SELECT owner FROM hold)"
# The newest row stays: the next minute opens from it.
FORGET_MINUTES = """
    DELETE FROM counter WHERE held = 0 AND period_start < ?1
    AND limit_id IN (SELECT id FROM "limit" WHERE interval = 'minute')
    AND period_start < (SELECT max(period_start) FROM counter AS newer WHERE newer.limit_id = counter.limit_id)"""
MINUTES_KEPT_SECONDS = 3_600

# None stays None; but without an adapter of its own the driver looks for two methods on every one that is bound, and
# raises and drops an error for each: a tenth of what a usage row costs.
sqlite3.register_adapter(type(None), {}.get)  # type: ignore[arg-type]


class SqliteLedger:
    """The ledger's transactions on a SQLite file. `clock` returns Unix microseconds; `owner` names this process.

    A foreign lock is waited for `lock_patience_seconds` before the database counts as away.
    """

    def __init__(
        self, path: Path, owner: str, clock: Callable[[], int], lock_patience_seconds: float = LOCK_PATIENCE_SECONDS
    ) -> None:
        self._lock_patience = lock_patience_seconds
        self._path = path
        self.owner = owner
        self._clock = clock
        self._turn = asyncio.Lock()
        self._disk = Disk("ledger-disk")
        self._log_file: int | None = None
        self._commits = 0
        self._is_closed = False
        self.connection = sqlite3.connect(
            path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=0", "foreign_keys=ON"):
            self.connection.execute(f"PRAGMA {pragma}")

    async def close(self) -> None:
        """Give the lease back, copy the log into the database and let the connection go. Idempotent."""
        async with self._turn:
            if not self._is_closed:
                self._is_closed = True
                await self._disk.run(self._close_now)
                self._disk.close()

    def _close_now(self) -> None:
        with suppress(sqlite3.Error):  # It ends by itself.
            self.connection.execute(LEAVE, (self.owner,))
        self.connection.close()
        if self._log_file is not None:
            os.close(self._log_file)
            self._log_file = None

    async def commit(self, batch: Batch) -> list[Grant | Refused | Stale]:
        """Apply a batch in one transaction and return the reservations' answers once it is on the disk.

        Raises ServiceUnavailable when another process keeps the file locked or the disk takes no more, OutcomeUnknown
        when the batch was applied but may not outlive a power cut, other errors for what the batch itself is to blame
        for; save for OutcomeUnknown nothing of it was applied.
        """
        return await self.run(lambda connection: self._apply(connection, batch))

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run one piece of work in a transaction of its own on the one writing connection, durably.

        Raises ServiceUnavailable when the database is away, whatever the work raises otherwise.
        """
        patience = asyncio.get_running_loop().time() + self._lock_patience
        async with self._turn:
            try:
                await self._begin(patience)
                result = self._transact(work)
            except sqlite3.Error as error:
                if error.sqlite_errorcode & 0xFF not in AWAY:
                    raise
                raise ServiceUnavailable(MESSAGE) from error
        try:
            await self._disk.run(self._sync)
        except OSError as error:
            raise OutcomeUnknown(MESSAGE) from error
        if self._commits >= CHECKPOINT_COMMITS:
            await self._checkpoint()
        return result

    async def _begin(self, patience: float) -> None:
        """Take the write lock. A foreign holder is waited for with awaits, never inside SQLite.

        The wait for our own turn counts too: `patience` is a moment of the loop's clock.
        """
        while True:
            try:
                self.connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                is_locked = error.sqlite_errorcode & 0xFF in LOCKED
                if not is_locked or asyncio.get_running_loop().time() >= patience:
                    raise
                await asyncio.sleep(LOCK_RETRY_SECONDS)
            else:
                return

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            result = work(self.connection)
            self.connection.execute("COMMIT")
        except BaseException:
            self.connection.rollback()
            raise
        self._commits += 1
        return result

    def _sync(self) -> None:
        if self._log_file is None:
            self._log_file = os.open(f"{self._path}-wal", os.O_RDONLY)
            _sync_folder(self._path.parent)
        os.fdatasync(self._log_file)

    async def _checkpoint(self) -> None:
        """Copy the log into the database. What cannot be copied now stays in the log and is copied later."""
        async with self._turn:
            self._commits = 0
            await self._disk.run(self._checkpoint_now)

    def _checkpoint_now(self) -> None:
        with suppress(sqlite3.OperationalError):
            self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _apply(self, connection: sqlite3.Connection, batch: Batch) -> list[Grant | Refused | Stale]:
        now_us = self._clock()
        state = State(now_us, connection.execute("SELECT value FROM revision").fetchone()[0], {})
        for key in plan(batch, now_us):
            self._read_counter(connection, key, state)
        self._release(connection, batch, state)
        effects = apply(batch, state)
        if not effects.is_empty:
            self._write(connection, effects)
        return effects.answers

    def _read_counter(self, connection: sqlite3.Connection, key: CounterKey, state: State) -> None:
        row = connection.execute(READ_COUNTER, key).fetchone()
        if row is None:
            connection.execute(OPEN_COUNTER, key)
            row = connection.execute(READ_COUNTER, key).fetchone()
        if row is not None:
            state.counters[key] = Counts(*row)

    def _release(self, connection: sqlite3.Connection, batch: Batch, state: State) -> None:
        released = [*(item.request_id for item in batch.settlements), *batch.voids]
        if not released:
            return
        names = _json(released)
        state.released_holds.update(name for (name,) in connection.execute(DELETE_HOLDS, (names,)).fetchall())
        state.released_items.extend(ReleasedItem(*row) for row in connection.execute(DELETE_ITEMS, (names,)).fetchall())
        if orphans := [item for item in batch.settlements if item.request_id not in state.released_holds]:
            self._read_for_orphans(connection, orphans, state)
        for name in unknown_limits(batch, state):
            for metric, interval in connection.execute(READ_KIND, (name,)):
                state.kinds[name] = Metric(metric), interval and Interval(interval)

    def _read_for_orphans(self, connection: sqlite3.Connection, orphans: Sequence[Settlement], state: State) -> None:
        """Read what is there of calls whose holds are gone, and the limits that bind their callers now."""
        for orphan in orphans:
            row = connection.execute(READ_FINAL, (orphan.admitted_at_us, orphan.request_id)).fetchone()
            if row is not None:
                state.finals[orphan.request_id] = final_of(row)
        ids = sorted({id for orphan in orphans for id in scope_ids(orphan)})
        state.limits.extend(map(limit_of, connection.execute(READ_LIMITS, (_json(ids),))))

    def _write(self, connection: sqlite3.Connection, effects: Effects) -> None:
        for key, change in effects.deltas.items():
            if change.used or change.held:
                done = connection.execute(CHANGE_COUNTER, (change.used, change.held, *key))
                if not done.rowcount:
                    connection.execute(OPEN_COUNTER, key)
                    connection.execute(CHANGE_COUNTER, (change.used, change.held, *key))
        if effects.granted:
            connection.executemany(INSERT_HOLD, [hold_row(self.owner, *granted) for granted in effects.granted])
            connection.executemany(INSERT_ITEM, item_rows(effects.granted))
        if effects.entries:
            connection.executemany(INSERT_USAGE, map(usage_row, effects.entries))
            for statement, rows in zip(ADD_ROLLUPS, rollup_rows(effects.entries), strict=True):
                connection.executemany(statement, rows)

    async def beat(self, progress: Mapping[str, tuple[int, int]]) -> None:
        """Renew this process's lease and note each call's input tokens and the output tokens delivered so far."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(BEAT, (self.owner, self._clock()))
            connection.executemany(PROGRESS, [(*tokens, request_id) for request_id, tokens in progress.items()])

        await self.run(work)

    async def disown(self, request_id: str) -> None:
        """Leave a call's hold to the next sweep."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(DISOWN, (request_id,))

        await self.run(work)

    async def abandoned(self, lease_us: int, most: int) -> list[Settlement]:
        """Return settlements for holds whose owner has no lease younger than `lease_us` and that no job keeps."""

        def work(connection: sqlite3.Connection) -> list[Settlement]:
            rows = connection.execute(ABANDONED, (self.owner, self._clock() - lease_us, most)).fetchall()
            items: dict[str, list[Item]] = {}
            for row in rows:
                for limit_id, metric, interval, start, amount in connection.execute(ITEMS_OF, (row[0],)):
                    item = Item(limit_id, Metric(metric), interval and Interval(interval), start, amount)
                    items.setdefault(row[0], []).append(item)
            return gather(rows, items)

        return await self.run(work)

    async def tidy(self, lease_us: int) -> None:
        """Forget dead owners that hold nothing and minute counters that nothing can depend on any more."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(FORGET_OWNERS, (self.owner, self._clock() - lease_us))
            connection.execute(FORGET_MINUTES, (self._clock() // MICROSECONDS - MINUTES_KEPT_SECONDS,))

        await self.run(work)


def _json(names: Sequence[str]) -> str:
    return msgspec.json.encode(names).decode()


def _sync_folder(folder: Path) -> None:
    """See that the log's name outlives a power cut, as its bytes do."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
