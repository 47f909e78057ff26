"""python -m bench.reports: fill a SQLite ledger with usage rows and time the reports that people ask for.

The rows are spread evenly over 90 days, keys and models, which is the worst that a ledger of this size can be: almost
every call has a rollup row of its own day, key and model. A million of them make about 339,000 rows in usage_day.
"""

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from gateway.store.engine import Database
from gateway.store.migrate import upgrade
from gateway.store.reports import Dimension, Filter, Query, Width, lines, windows
from gateway.store.usage import SUMS

KEYS, PROJECTS, USERS, MODELS, DAYS = 200, 10, 50, 20, 90
DAY = 86_400
END = 1_780_012_800
"""2026-05-29 00:00 UTC; any midnight would do."""
FIRST = END - DAYS * DAY
ROUNDS = 5

# Multiples of large primes scatter keys, models and tokens without chance: the same rows at each run.
FILL = f"""
    WITH RECURSIVE call (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM call WHERE n + 1 < :rows),
    drawn AS (
        SELECT n, n * 7919 % 1000003 % {KEYS} AS key, n * 104729 % 1299709 % {MODELS} AS model,
               n * 15485863 % 32452843 % 4000 AS input, n * 49979687 % 67867967 % 1000 AS output
        FROM call)
    INSERT INTO usage (
        admitted_at_us, request_id, entry, settled_at_us, api_key_id, project_id, user_id,
        operation, model, requested_model, upstream, service_tier, batch, requests, succeeded,
        input_tokens, cached_tokens, cache_write_tokens, cache_write_1h_tokens, input_audio_tokens, input_image_tokens,
        output_tokens, reasoning_tokens, output_audio_tokens, images, cost_nano_usd, rates, source, outcome, status,
        duration_ms)
    SELECT at, printf('req_%022d', n), 'final', at + 900000, printf('key_%022d', key),
        printf('proj_%022d', key % {PROJECTS}), printf('user_%022d', key % {USERS}),
        'chat', printf('model-of-the-year-%02d', model), printf('model-of-the-year-%02d', model), 'main', 'default', 0,
        1, 1, input, input / 2, 0, 0, 0, 0, output, 0, 0, 0, input * 150 + output * 600,
        '{{"input":150000,"output":600000}}', 'reported', 'completed', 200, 900
    FROM (SELECT *, {FIRST}000000 + n * ({DAYS * DAY}000000 / :rows) AS at FROM drawn)"""  # noqa: S608 - numbers and names of this file
_KEY = "api_key_id, operation, model, service_tier, batch, project_id, user_id"
_SPECIAL = {
    "cache_write_tokens": "sum(cache_write_tokens + cache_write_1h_tokens)",
    "unpriced_requests": "sum(cost_nano_usd IS NULL)",
}


@dataclass(frozen=True, slots=True)
class Report:
    """What is timed, and how long it may take with a million rows."""

    name: str
    most_ms: float
    work: Callable[[Connection], object]


def _reports() -> list[Report]:
    key = f"key_{7:022d}"
    one = Filter(api_key_ids=frozenset((key,)))
    by_model = frozenset((Dimension.MODEL,))
    chat = Filter(operations=frozenset(("chat", "responses")))
    unshown = {"requests", "reasoning_tokens", "images", "cost_nano_usd", "unpriced_requests"}
    shown = [name for name in SUMS if name not in unshown]
    day = END - 30 * DAY
    queries = {
        "one key by model and day, 90 days": (50, Query(Width.DAY, FIRST, END, by_model, one)),
        "organization by model and day, 90 days": (150, Query(Width.DAY, FIRST, END, by_model, chat, shown)),
        "organization by day, 90 days": (150, Query(Width.DAY, FIRST, END, filter=chat, columns=shown)),
        "organization by project and day, 31 days": (
            150, Query(Width.DAY, END - 31 * DAY, END, frozenset((Dimension.PROJECT_ID,)), chat, shown),
        ),
        "organization by model and hour, 24 hours": (50, Query(Width.HOUR, day, day + DAY, by_model, chat, shown)),
        "organization by model and minute, 1 hour": (50, Query(Width.MINUTE, day, day + 3600, by_model, chat, shown)),
    }  # fmt: skip
    spans = [(FIRST, END)]
    return [
        Report("credit_grants of one key, 90 days", 20, partial(windows, api_key_id=key, spans=spans)),
        *(Report(name, most_ms, partial(lines, query=query)) for name, (most_ms, query) in queries.items()),
    ]


def fill(path: Path, rows: int) -> None:
    """Write `rows` usage records and the rollups that the ledger would have made of them."""
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute(FILL, {"rows": rows})
        sums = ", ".join(_SPECIAL.get(name, f"sum({name})") for name in SUMS)
        for table, width in (("usage_hour", 3_600), ("usage_day", DAY)):
            connection.execute(
                f"INSERT INTO {table} (start, {_KEY}, {', '.join(SUMS)}) "  # noqa: S608 - as above
                f"SELECT admitted_at_us / {width}000000 * {width} AS start, {_KEY}, {sums} FROM usage "
                "GROUP BY start, operation, model, api_key_id, service_tier, batch"
            )
        connection.commit()
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


async def measure(path: Path) -> list[tuple[Report, float]]:
    """Return each report's median milliseconds, as administration runs it: in a reader's thread."""
    database = Database(f"sqlite+aiosqlite:///{path}")
    results = []
    try:
        for report in _reports():
            times = []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                await database.read(report.work)
                times.append(time.perf_counter() - began)
            results.append((report, statistics.median(times) * 1000))
    finally:
        await database.close()
    return results


async def main() -> None:
    """Fill a database in a folder of its own, time the reports, print them."""
    parser = argparse.ArgumentParser(prog="python -m bench.reports", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="usage rows to write (default: %(default)s)")
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory(prefix="bench-reports-") as folder:
        path = Path(folder) / "reports.sqlite"
        await upgrade(f"sqlite+aiosqlite:///{path}")
        began = time.perf_counter()
        await asyncio.to_thread(fill, path, rows)
        print(f"{rows:,} rows in {time.perf_counter() - began:.0f} s, {path.stat().st_size / 1e6:,.0f} MB")
        for report, median_ms in await measure(path):
            verdict = "ok" if median_ms < report.most_ms else "TOO SLOW"
            print(f"{report.name:<44} {median_ms:8.1f} ms   at most {report.most_ms:4.0f}   {verdict}")


if __name__ == "__main__":
    asyncio.run(main())
