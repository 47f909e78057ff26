"""The database as administration and reports use it: `read` and `change`, each given a plain function of a connection.

The functions of this shelf are synchronous and take the connection first, so that one text serves SQLite and
PostgreSQL, the server and the command line. On SQLite a server's changes run on the ledger's one writing connection;
reads have connections of their own, in threads, that cannot write. Every change bumps the revision in its transaction.

Drivers are asynchronous, SQLAlchemy is not: what talks to a database runs in a greenlet (`greenlet_spawn`), as it does
behind SQLAlchemy's own `ext.asyncio`, which would import its object-relational mapper, a tenth of a start.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection as Connection  # for the annotations of those who pass it on
from sqlalchemy import Engine, ExceptionContext, NullPool, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.util import greenlet_spawn

from gateway.core.errors import ServiceUnavailable
from gateway.store import revision
from gateway.store.aside import Aside

T = TypeVar("T")

READERS = 4
POOL_SECONDS = 3.0
STATEMENT_SECONDS = 60
LOCK_SECONDS = 5.0
BUSY = frozenset({"40001", "40P01", "55P03"})
"""PostgreSQL's codes for what may succeed later: serialization, deadlock, lock timeout."""
READ_ONLY = "25006"
"""And for a server that is a standby, or has become one."""
IN_TROUBLE = ("08", "53", "57")
"""PostgreSQL's classes of codes for connections lost, resources gone (connections, disk, memory), an operator."""
MESSAGE = "The gateway's database is not available; try again shortly."


class RunOnWriter(Protocol):
    """Runs work in a transaction on the one connection that writes to a SQLite file."""

    def __call__(self, work: Callable[[sqlite3.Connection], T], /) -> Awaitable[T]:
        """Return what the work returned, once it is durable."""


class Database:
    """`run_on_writer` is the ledger's on a SQLite server; without it a SQLite database opens a writer of its own.

    `statement_seconds` is how long PostgreSQL may work on one statement.
    """

    def __init__(
        self, url: str, run_on_writer: RunOnWriter | None = None, *, statement_seconds: int = STATEMENT_SECONDS
    ) -> None:
        self._url = url
        self._statement_seconds = statement_seconds
        self._aside: tuple[Aside, Database] | None = None
        self._readings: set[asyncio.Task[Any]] = set()
        self._sqlite = SqliteWriter(run_on_writer or own_writer(sqlite_path(url))) if is_sqlite(url) else None
        if self._sqlite is None:
            settings = {
                "application_name": "gateway",
                "lock_timeout": "5000",
                "statement_timeout": f"{statement_seconds}s",
                # To compile a report's many sums takes longer than to add them up.
                "jit": "off",
            }
            arguments = {"server_settings": settings, "timeout": POOL_SECONDS, "command_timeout": statement_seconds}
            self._engine = postgres_engine(
                url, arguments, pool_size=READERS, pool_timeout=POOL_SECONDS, pool_pre_ping=True
            )
            event.listen(self._engine, "handle_error", _leave_demoted)
        else:
            self._engine = create_engine(make_url(url), pool_size=READERS, pool_timeout=POOL_SECONDS)
            event.listen(self._engine, "connect", _make_reader)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run work that changes nothing. Raises ServiceUnavailable when the database is away."""
        async with self._connected() as connection:
            return await greenlet_spawn(work, connection)

    async def read_by(self, until: float, work: Callable[[Connection], T]) -> T:
        """Read for somebody who waits until that moment of the loop's clock and no longer; the read itself goes on.

        To cancel it would take as long as the database takes to answer. Raises as `read` does.
        """
        reading = asyncio.get_running_loop().create_task(self.read(work))
        self._readings.add(reading)
        reading.add_done_callback(self._retrieve)
        with unavailable_when_away():
            async with asyncio.timeout_at(until):
                return await asyncio.shield(reading)

    def _retrieve(self, reading: "asyncio.Task[Any]") -> None:
        """Take the exception of a read whose waiter has left, so that asyncio does not report it as lost."""
        self._readings.discard(reading)
        if not reading.cancelled():
            reading.exception()

    async def aside(self, work: Callable[["Database"], Awaitable[T]]) -> T:
        """Run work that reads much, and takes long over it, in a thread with a loop and connections of its own.

        It is given the database to read from. Raises as `read` does, and ServiceUnavailable while too many others wait.
        """
        if self._aside is None:
            self._aside = Aside(), Database(self._url, statement_seconds=self._statement_seconds)
        place, database = self._aside
        return await place.run(lambda: work(database))

    async def change(self, work: Callable[[Connection], T]) -> T:
        """Run work in one transaction and bump the revision with it; whatever it raises undoes all of it.

        Changes happen one after the other, on every replica: each sees what the one before left behind. Raises
        ServiceUnavailable when the database is away.
        """

        def bump_and_work(connection: Connection) -> T:
            # First, because on PostgreSQL it locks the one row that every change begins with.
            revision.bump(connection)
            return work(connection)

        return await self.write(bump_and_work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run work in one transaction without a new revision: what no cached key or limit depends on."""
        if self._sqlite is not None:
            with unavailable_when_away():
                return await self._sqlite.write(work)

        def transact(connection: Connection) -> T:
            with connection.begin():
                return work(connection)

        return await self.read(transact)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        with unavailable_when_away():
            try:
                async with asyncio.timeout(POOL_SECONDS):  # a connection that rested is asked first whether it lives
                    connection = await greenlet_spawn(self._engine.connect)
            except DBAPIError as error:
                # No statement of ours was run yet: starting up, full, a password changed, the database is not there.
                raise ServiceUnavailable(MESSAGE) from error
            try:
                yield connection
            finally:
                await greenlet_spawn(connection.close)

    async def close(self) -> None:
        """Let all connections go, also those of reads that nobody waits for any more."""
        for reading in self._readings:
            reading.cancel()
        if self._readings:
            await asyncio.wait(self._readings, timeout=POOL_SECONDS)
        if self._aside is not None:
            place, database = self._aside
            self._aside = None
            await place.close(database.close)
        await greenlet_spawn(self._engine.dispose)


@contextmanager
def unavailable_when_away() -> Iterator[None]:
    """Raise ServiceUnavailable for what says that the database is in trouble, not that our statement is."""
    try:
        yield
    except (OSError, TimeoutError, PoolTimeout, InterfaceError, OperationalError, sqlite3.OperationalError) as error:
        raise ServiceUnavailable(MESSAGE) from error
    except DBAPIError as error:
        code = str(getattr(error.orig, "sqlstate", ""))
        if error.connection_invalidated or code in BUSY or code.startswith(IN_TROUBLE):
            raise ServiceUnavailable(MESSAGE) from error
        raise


class SqliteWriter:
    """Runs SQLAlchemy work on the raw connection that the ledger (or `own_writer`) has begun a transaction on."""

    def __init__(self, run: RunOnWriter) -> None:
        self._run = run
        self._raw = sqlite3.connect(":memory:")
        self._engine = create_engine(
            "sqlite://", creator=lambda: self._raw, poolclass=NullPool, pool_reset_on_return=None
        )
        # An engine examines its first connection and rolls it back: that must not be one with work under way.
        self._engine.connect().close()
        self._wrapped: tuple[sqlite3.Connection, Connection] | None = None

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Return what the work returned, once it is durable."""
        return await self._run(lambda raw: work(self._wrap(raw)))

    def _wrap(self, raw: sqlite3.Connection) -> Connection:
        if self._wrapped is None or self._wrapped[0] is not raw:
            # Never committed nor closed here: begin, commit and rollback stay with the owner of the raw connection.
            self._raw = raw
            self._wrapped = raw, self._engine.connect()
        return self._wrapped[1]


def own_writer(path: Path) -> RunOnWriter:
    """Return a writer for a process without a ledger, such as the command line; it waits up to 5 s for the lock."""
    # Else all threads there are could wait for the lock, and none was left to commit what holds it.
    turn = asyncio.Lock()

    async def run(work: Callable[[sqlite3.Connection], T], /) -> T:
        async with turn:
            return await write(work)

    async def write(work: Callable[[sqlite3.Connection], T]) -> T:
        raw = await asyncio.to_thread(
            sqlite3.connect, path, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            raw.execute("PRAGMA foreign_keys=ON")
            # Only the server's writer checkpoints.
            raw.execute("PRAGMA wal_autocheckpoint=0")
            await asyncio.to_thread(raw.execute, "BEGIN IMMEDIATE")
            result = work(raw)
            await asyncio.to_thread(raw.execute, "COMMIT")
        except BaseException:
            raw.rollback()
            raise
        else:
            return result
        finally:
            raw.close()

    return run


def is_sqlite(url: str) -> bool:
    """Tell which of the two databases a URL means."""
    return make_url(url).get_backend_name() == "sqlite"


def sqlite_path(url: str) -> Path:
    """Return the file of a SQLite URL."""
    return Path(make_url(url).database or "")


def postgres_dsn(url: str) -> str:
    """Return the URL as asyncpg itself takes it. What stands behind its `?` is as libpq has it, `sslmode` above all;
    SQLAlchemy's own word for that is taken too.
    """
    parsed = make_url(url).set(drivername="postgresql")
    if "ssl" in parsed.query:
        parsed = parsed.difference_update_query(["ssl"]).update_query_dict({"sslmode": parsed.query["ssl"]})
    return parsed.render_as_string(hide_password=False)


def postgres_engine(url: str, arguments: Mapping[str, object], **pool: Any) -> Engine:
    """Return an engine whose connections asyncpg makes from the whole URL, as it makes the ledger's.

    SQLAlchemy would pass what stands behind the `?` on as arguments of a function, which knows them by other names.
    """
    return create_engine("postgresql+asyncpg://", connect_args={"dsn": postgres_dsn(url), **arguments}, **pool)


def _leave_demoted(context: ExceptionContext) -> None:
    """Give up the connections to a server that cannot be written to any more: the one that can may be another."""
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True


def _make_reader(raw: sqlite3.Connection, _record: object) -> None:
    cursor = raw.cursor()
    cursor.execute("PRAGMA query_only=ON")
    cursor.execute("PRAGMA wal_autocheckpoint=0")
    cursor.execute("PRAGMA busy_timeout=2000")
    cursor.close()
