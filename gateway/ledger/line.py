"""One connection to PostgreSQL that is made again when it broke, and what its errors mean."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from gateway.core.errors import ServiceUnavailable

T = TypeVar("T")

SESSION = {
    "application_name": "gateway-ledger",
    "lock_timeout": "1000",
    "statement_timeout": "3500",
    # A process that was stopped in the middle of a batch must not keep the counters of the others for long.
    "idle_in_transaction_session_timeout": "5000",
    "synchronous_commit": "on",
    "jit": "off",
}
WORK_SECONDS = 4.0
"""The most that a transaction may take, with connecting and all its attempts: nobody waits 5 s for a refusal."""
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


class Line:
    """One connection to the database that is made again when it broke. Used by one task at a time."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._turn = asyncio.Lock()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def run(
        self, work: Callable[["asyncpg.Connection[asyncpg.Record]"], Awaitable[T]], give_up: float | None = None
    ) -> T:
        """Run work on the connection. Raises ServiceUnavailable when the database cannot do it now.

        `give_up` is a moment of the loop's clock, 4 s from the start of the work if it is None.
        """
        async with self._turn:
            try:
                async with asyncio.timeout_at(give_up or asyncio.get_running_loop().time() + WORK_SECONDS):
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
                self._connection = await asyncpg.connect(
                    self._dsn, timeout=WORK_SECONDS, command_timeout=WORK_SECONDS, server_settings=SESSION
                )
            except asyncpg.PostgresError as error:
                # No statement of ours was run yet: starting up, full, a password changed, the database is not there.
                raise ServiceUnavailable(MESSAGE) from error
        return self._connection

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
