"""One connection to PostgreSQL that is made again when it broke, and what its errors mean."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from gateway.core.errors import ServiceUnavailable

T = TypeVar("T")

SESSION = {
    "application_name": "gateway-ledger",
    # A statement that waited for a lock has to see what was committed meanwhile, whatever the database does by default.
    "default_transaction_isolation": "read committed",
    # A process that was stopped in the middle of a batch must not keep the counters of the others for long.
    "idle_in_transaction_session_timeout": "5000",
    "synchronous_commit": "on",
    "jit": "off",
    # Statements are planned once, while hardly anything is held. Read from end to end, `hold` would cost ever more: of
    # the calls that have ended, what the next vacuum takes away still lies there.
    "enable_seqscan": "off",
}
WORK_SECONDS = 4.0
"""The most that a transaction may take, with connecting and all its attempts: nobody waits 5 s for a refusal.

A quarter of that it may wait for one lock, and seven eighths for one statement.
"""
CLOSE_SECONDS = 3.0
MESSAGE = "The gateway's database is not available; try again shortly."

VICTIMS = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
)
AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.TooManyConnectionsError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.QueryCanceledError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.DiskFullError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
"""What says that the database is in trouble, not that this batch is."""


LOCK = 7_251_961
"""Any number that nobody else uses as the first of two keys of an advisory lock on this database."""
# What a cut session was told before may still be waiting for it, and would be done behind our back: it ends first.
END_PREDECESSOR = """
    SELECT pg_terminate_backend(pid) FROM pg_locks
    WHERE locktype = 'advisory' AND classid = $1::bigint::oid AND objid = $2::bigint::oid AND objsubid = 2 AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid()"""
BE_THE_ONLY_ONE = "SELECT pg_advisory_lock($1::bigint::int, $2::bigint::int)"


class Line:
    """One connection to the database that is made again when it broke. Used by one task at a time.

    With `only_one_for` a new connection first ends the session of the one before it that had this name, and waits for
    that end: nothing that was sent on a connection happens after anything that is done on its successor.
    """

    def __init__(self, dsn: str, work_seconds: float = WORK_SECONDS, only_one_for: str | None = None) -> None:
        self._dsn = dsn
        self._work_seconds = work_seconds
        self._session = SESSION | {
            "lock_timeout": str(int(work_seconds / 4 * 1000)),
            "statement_timeout": str(int(work_seconds * 7 / 8 * 1000)),
        }
        self._name = None if only_one_for is None else zlib.crc32(only_one_for.encode()) & 0x7FFFFFFF
        self._turn = asyncio.Lock()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def run(
        self, work: Callable[["asyncpg.Connection[asyncpg.Record]"], Awaitable[T]], give_up: float | None = None
    ) -> T:
        """Run work on the connection. Raises ServiceUnavailable when the database cannot do it now.

        `give_up` is a moment of the loop's clock, `work_seconds` from the start of the work if it is None.
        """
        async with self._turn:
            try:
                async with asyncio.timeout_at(give_up or asyncio.get_running_loop().time() + self._work_seconds):
                    return await work(await self._connected())
            except AWAY as error:
                self._drop()
                raise ServiceUnavailable(MESSAGE) from error
            except BaseException:
                await self._roll_back()
                raise

    async def _connected(self) -> "asyncpg.Connection[asyncpg.Record]":
        if self._connection is None or self._connection.is_closed():
            try:
                self._connection = await self._connect()
            except asyncpg.PostgresError as error:
                # No statement of ours was run yet: starting up, full, a password changed, the database is not there.
                raise ServiceUnavailable(MESSAGE) from error
        return self._connection

    async def _connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        connection = await asyncpg.connect(
            self._dsn, timeout=self._work_seconds, command_timeout=self._work_seconds, server_settings=self._session
        )
        if self._name is not None:
            try:
                await connection.fetch(END_PREDECESSOR, LOCK, self._name)
                await connection.execute(BE_THE_ONLY_ONE, LOCK, self._name)
            except BaseException:
                connection.terminate()
                raise
        return connection

    async def _roll_back(self) -> None:
        if self._connection is None or not self._connection.is_in_transaction():
            return
        try:
            await self._connection.execute("ROLLBACK", timeout=CLOSE_SECONDS)
        except AWAY:
            self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Let the connection go. Idempotent."""
        async with self._turn:
            if self._connection is None:
                return
            try:
                await self._connection.close(timeout=CLOSE_SECONDS)
            except AWAY:
                self._connection.terminate()
            self._connection = None
