"""The ways in which a database fails, and how long anybody may wait to hear of it."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import asyncpg
import httpx
from sqlalchemy import make_url

from gateway.store.engine import postgres_dsn
from tests.ledger import books
from tests.ledger.chaos import chaos
from tests.patience import QUARTER_SECONDS, in_quarters

MOST_SECONDS = 5.0


@dataclass
class Trouble:
    """One way in which a database fails. `url` is where the gateway finds it."""

    url: str
    begin: Callable[[], object]
    end: Callable[[], object]
    is_slow_only: bool = False
    can_read: bool = False


Troubling = Callable[[str], AbstractAsyncContextManager[Trouble]]


async def execute(url: str, *statements: str) -> None:
    """Run statements on a connection of its own."""
    connection = await asyncpg.connect(postgres_dsn(url))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


CAST_OUT = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""


@asynccontextmanager
async def unreachable(url: str) -> AsyncIterator[Trouble]:
    async with chaos(url) as relay:
        yield Trouble(relay.url, relay.cut, relay.mend)


@asynccontextmanager
async def silent(url: str) -> AsyncIterator[Trouble]:
    async with chaos(url) as relay:
        yield Trouble(relay.url, relay.blackhole, relay.mend)


@asynccontextmanager
async def slow(url: str) -> AsyncIterator[Trouble]:
    async with chaos(url) as relay:
        yield Trouble(relay.url, lambda: relay.slow(0.5), lambda: relay.slow(0.0), is_slow_only=True)


@asynccontextmanager
async def restarted(url: str) -> AsyncIterator[Trouble]:
    """As `pg_ctl restart -m immediate` looks from outside: all sessions end at once, none is made for a while."""
    async with chaos(url) as relay:

        async def begin() -> None:
            relay.refuse()
            await execute(url, CAST_OUT)

        yield Trouble(relay.url, begin, relay.mend)


@asynccontextmanager
async def read_only(url: str) -> AsyncIterator[Trouble]:
    """As a primary that was demoted: who is connected stays connected, and can only read."""
    name = make_url(url).database

    async def begin() -> None:
        await execute(url, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on', CAST_OUT)

    async def end() -> None:
        off = "SET default_transaction_read_only = off"
        await execute(url, off, f'ALTER DATABASE "{name}" RESET default_transaction_read_only')

    try:
        yield Trouble(url, begin, end, can_read=True)
    finally:
        await end()


@asynccontextmanager
async def exhausted(url: str) -> AsyncIterator[Trouble]:
    """As a server whose connections are all taken."""
    role = f"gateway_test_{os.getpid()}"
    await execute(url, f'CREATE ROLE "{role}" LOGIN', f'GRANT postgres TO "{role}"')
    own = make_url(url).set(username=role).render_as_string(hide_password=False)
    try:

        async def begin() -> None:
            await execute(url, f'ALTER ROLE "{role}" CONNECTION LIMIT 0', CAST_OUT)

        yield Trouble(own, begin, lambda: execute(url, f'ALTER ROLE "{role}" CONNECTION LIMIT -1'))
    finally:
        await execute(url, CAST_OUT, f'REASSIGN OWNED BY "{role}" TO postgres', f'DROP ROLE "{role}"')


WATCHED = """
    DO $$ DECLARE it regclass; BEGIN
        FOR it IN SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
            WHERE nspname = 'public' AND relkind IN ('r', 'p') AND NOT relispartition LOOP
            EXECUTE format(
                'CREATE TRIGGER room BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION room()', it);
        END LOOP;
    END $$"""
ROOM = "CREATE OR REPLACE FUNCTION room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$"
NO_ROOM = ROOM.replace(
    "RETURN new", "RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'"
)


@asynccontextmanager
async def full(url: str) -> AsyncIterator[Trouble]:
    """As a server whose disk is full: what is there can be read, and whatever is written ends with error 53100."""
    await execute(url, ROOM, WATCHED)  # before and after a gateway runs: it takes locks on all tables
    try:
        yield Trouble(url, lambda: execute(url, NO_ROOM), lambda: execute(url, ROOM), can_read=True)
    finally:
        await execute(url, "DROP FUNCTION room CASCADE")


@asynccontextmanager
async def locked(url: str) -> AsyncIterator[Trouble]:
    """As another process that writes to the file for long."""
    foreign = books.foreign(url)
    try:
        yield Trouble(url, lambda: books.lock(foreign), lambda: foreign.execute("ROLLBACK"), can_read=True)
    finally:
        foreign.close()


async def in_time(asking: Awaitable[httpx.Response]) -> httpx.Response:
    """Return the answer, and fail if it takes longer than anybody should wait for it."""
    answer, quarters = await in_quarters(asking)
    assert quarters * QUARTER_SECONDS < MOST_SECONDS, answer.text
    if answer.status_code == 503:
        assert answer.json()["error"]["code"] == "service_unavailable" and answer.headers["retry-after"]
    return answer
