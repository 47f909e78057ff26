"""A ledger of many rows, written in bulk: usage records, the rollups that the ledger would have made of them, people.

The rows are spread evenly over 90 days, keys and models, which is the worst that a ledger of this size can be: almost
every call has a rollup row of its own day, key and model. Ten million of them fill usage_day with 360,000 rows.
"""

# ruff: noqa: S608 - statements are put together from numbers and names of this file

import sqlite3
import time
from datetime import UTC, datetime

import asyncpg
from sqlalchemy import Connection

from gateway.store.engine import Database, is_sqlite, postgres_dsn, sqlite_path
from gateway.store.migrate import add_partitions
from gateway.store.usage import SUMS

KEYS, PROJECTS, USERS, MODELS, DAYS = 200, 10, 50, 20, 90
DAY = 86_400
END = int(time.time()) // DAY * DAY
"""This midnight: the server that is measured keeps these rows, because they are no older than its retention."""
FIRST = END - DAYS * DAY
KEY = f"key_{7:022d}"

_COLUMNS = """
    admitted_at_us, request_id, entry, settled_at_us, api_key_id, project_id, user_id,
    operation, model, requested_model, upstream, service_tier, batch, requests, succeeded,
    input_tokens, cached_tokens, cache_write_tokens, cache_write_1h_tokens, input_audio_tokens, input_image_tokens,
    output_tokens, reasoning_tokens, output_audio_tokens, images, cost_nano_usd, rates, source, outcome, status,
    duration_ms"""
# Multiples of large primes scatter keys, models and tokens without chance: the same rows at each run.
_DRAWN = f"""
    SELECT n, n * 7919 %% 1000003 %% {KEYS} AS key, n * 104729 %% 1299709 %% {MODELS} AS model,
           n * 15485863 %% 32452843 %% 4000 AS input, n * 49979687 %% 67867967 %% 1000 AS output,
           {FIRST}000000 + n * ({DAYS * DAY}000000 / %(rows)s) AS at
    FROM %(numbers)s"""
_RECORDS = f"""
    INSERT INTO usage ({_COLUMNS})
    SELECT at, %(request)s, 'final', at + 900000, %(key)s, %(project)s, %(user)s,
        'chat', %(model)s, %(model)s, 'main', '', 0, 1, 1, input, input / 2, 0, 0, 0, 0, output, 0, 0, 0,
        input * 150 + output * 600, '{{"input":150000,"output":600000}}', 'reported', 'completed', 200, 900
    FROM ({_DRAWN}) AS drawn"""
_ROLLUP_KEY = "api_key_id, operation, model, service_tier, batch, project_id, user_id"
_SPECIAL = {
    "cache_write_tokens": "sum(cache_write_tokens + cache_write_1h_tokens)",
    "unpriced_requests": "sum(CASE WHEN cost_nano_usd IS NULL THEN 1 ELSE 0 END)",
}


def _records(rows: int, numbers: str, text: str) -> str:
    """Return the statement that writes records; `text` is how a number becomes a name of 22 digits."""

    def name(prefix: str, number: str) -> str:
        return f"'{prefix}' || {text.format(number)}"

    return _RECORDS % {
        "rows": rows, "numbers": numbers, "request": name("req_", "n"), "key": name("key_", "key"),
        "project": name("proj_", f"key % {PROJECTS}"), "user": name("user_", f"key % {USERS}"),
        "model": name("model-", "model"),
    }  # fmt: skip


def _numbers(count: int) -> str:
    """Return a table expression of the numbers below `count`, on both databases."""
    return f"(WITH RECURSIVE t (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM t WHERE n + 1 < {count}) SELECT n FROM t)"


def _rollups() -> list[str]:
    sums = ", ".join(_SPECIAL.get(name, f"sum({name})") for name in SUMS)
    return [
        f"INSERT INTO {table} (start, {_ROLLUP_KEY}, {', '.join(SUMS)}) "
        f"SELECT admitted_at_us / {width}000000 * {width} AS begun, {_ROLLUP_KEY}, {sums} FROM usage "
        f"GROUP BY begun, {_ROLLUP_KEY} ORDER BY begun"  # as they come to be: PostgreSQL keeps rows where they began
        for table, width in (("usage_hour", 3_600), ("usage_day", DAY))
    ]


def _people(text: str) -> list[str]:
    """Return statements that make projects, users, keys and two limits on each key."""

    def name(prefix: str, number: str = "n") -> str:
        return f"'{prefix}' || {text.format(number)}"

    key = (
        f"SELECT {name('key_')}, {name('proj_', f'n % {PROJECTS}')}, {name('user_', f'n % {USERS}')}, {name('Key ')}, "
        f"{name('public')}, '0000', {FIRST} + n FROM {_numbers(KEYS)} AS numbers"
    )
    limits = [
        f"""INSERT INTO "limit" (id, scope, scope_id, metric, interval, amount, created_at)
        SELECT {name(f"lim_{metric}_")}, 'api_key', {name("key_")}, '{metric}', '{interval}', {10**15}, {FIRST} + n
        FROM {_numbers(KEYS)} AS numbers"""
        for metric, interval in (("cost", "month"), ("requests", "day"))
    ]
    return [
        f"INSERT INTO project (id, name, created_at) "
        f"SELECT {name('proj_')}, {name('Project ')}, {FIRST} + n FROM {_numbers(PROJECTS)} AS numbers",
        f"""INSERT INTO "user" (id, email, name, role, created_at)
        SELECT {name("user_")}, {name("user")} || '@example.com', {name("User ")}, 'reader', {FIRST} + n
        FROM {_numbers(USERS)} AS numbers""",
        f"INSERT INTO api_key (id, project_id, user_id, name, public_id, last_four, created_at) {key}",
        *limits,
    ]


async def fill(url: str, rows: int) -> None:
    """Write so many usage records, and what belongs to them, into a migrated database."""
    if is_sqlite(url):
        _fill_sqlite(url, rows)
        return
    database = Database(url)
    try:
        begin = datetime.fromtimestamp(FIRST, UTC)
        await database.write(lambda connection: _add_partitions(connection, begin))
    finally:
        await database.close()
    remote = await asyncpg.connect(postgres_dsn(url))
    try:
        await remote.execute("SET synchronous_commit = off; SET work_mem = '512MB'")
        text = "lpad(({})::text, 22, '0')"
        numbers = f"(SELECT generate_series(0, {rows - 1})::bigint AS n) AS call"
        for statement in (_records(rows, numbers, text), *_rollups(), *_people(text)):
            await remote.execute(statement)
        await remote.execute("VACUUM ANALYZE")
    finally:
        await remote.close()


def _add_partitions(connection: Connection, begin: datetime) -> None:
    add_partitions(connection, begin)


def _fill_sqlite(url: str, rows: int) -> None:
    connection = sqlite3.connect(sqlite_path(url))
    try:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA journal_mode=MEMORY")
        connection.execute("PRAGMA cache_size=-1000000")
        text = "printf('%022d', {})"
        numbers = f"{_numbers(rows)} AS call"
        for statement in (_records(rows, numbers, text), *_rollups(), *_people(text)):
            connection.execute(statement)
        connection.commit()
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
