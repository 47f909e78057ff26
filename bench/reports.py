"""python -m bench.reports: fill a ledger with many usage rows and time the reports and lists that people ask for.

`--calls` runs a gateway on that database too, sends it 500 calls a second, and says by how much each report lifts
their p99.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import uvloop
from sqlalchemy import Connection

from bench.databases import POSTGRES_DEFAULT_URL, postgres_database, sqlite_database
from bench.load import Load
from bench.many_rows import DAY, END, FIRST, KEY, fill
from bench.measure import percentile
from bench.servers import ROOT, Cores
from bench.targets import Installation, Target, governed_key, running_gateway, running_provider
from gateway.core.limits import Scope
from gateway.store import api_keys, limits, projects, standings, users
from gateway.store.engine import Database
from gateway.store.migrate import upgrade
from gateway.store.pages import Cursor
from gateway.store.reports import Dimension, Filter, Query, Width, lines, windows
from gateway.store.usage import SUMS

ROUNDS = 5
CALLS_PER_SECOND = 500
CLIENTS = 64
SECONDS = 6.0
ASK_EVERY_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Question:
    """What is timed, and the most milliseconds that it may take on SQLite and on PostgreSQL."""

    name: str
    most_ms: tuple[float, float]
    work: Callable[[Connection], object]
    path: str


def _questions() -> list[Question]:
    one = Filter(api_key_ids=frozenset((KEY,)))
    by_model = frozenset((Dimension.MODEL,))
    chat = Filter(operations=frozenset(("chat", "responses")))
    unshown = {"requests", "reasoning_tokens", "images", "audio_ms", "characters", "cost_nano_usd", "unpriced_requests"}
    shown = [name for name in SUMS if name not in unshown]
    month, now = END - 31 * DAY, int(time.time())

    def report(query: Query) -> Callable[[Connection], object]:
        return partial(lines, query=query)

    def usage(start: int, width: str, group: str, **more: object) -> str:
        asked = {"start_time": start, "end_time": END, "bucket_width": width, "group_by": group, "limit": 31, **more}
        return "/usage/completions?" + urlencode(asked)

    return [
        Question("organization by model and day, 31 days", (300, 150),
                 report(Query(Width.DAY, month, END, by_model, chat, shown)), usage(month, "1d", "model")),
        Question("organization by project and day, 31 days", (300, 150),
                 report(Query(Width.DAY, month, END, frozenset((Dimension.PROJECT_ID,)), chat, shown)),
                 usage(month, "1d", "project_id")),
        Question("one key by model and day, 31 days", (20, 20),
                 report(Query(Width.DAY, month, END, by_model, one, shown)),
                 usage(month, "1d", "model", api_key_ids=KEY)),
        Question("organization by model and hour, a day", (300, 150),
                 report(Query(Width.HOUR, END - DAY, END, by_model, chat, shown)), usage(END - DAY, "1h", "model")),
        Question("credit_grants of one key, 90 days", (20, 20),
                 partial(windows, api_key_id=KEY, spans=[(FIRST, END)]), ""),
        Question("list of projects", (20, 20), partial(projects.page, cursor=Cursor()), "/projects"),
        Question("list of users", (20, 20), partial(users.page, cursor=Cursor(limit=100)), "/users?limit=100"),
        Question("list of a project's keys", (20, 20),
                 partial(api_keys.page, project_id=f"proj_{0:022d}", cursor=Cursor(limit=100)),
                 f"/projects/proj_{0:022d}/api_keys?limit=100"),
        Question("list of a hundred limits", (20, 20), partial(_limits, now=now), "/limits?limit=100"),
    ]  # fmt: skip


def _limits(connection: Connection, now: int) -> object:
    found = limits.page(connection, Cursor(limit=100), scope=Scope.API_KEY)
    return standings.read(connection, found.items, now)


async def _time(url: str, question: Question) -> float:
    """Return the median milliseconds, as administration runs it."""
    database = Database(url)
    times = []
    try:
        for _ in range(ROUNDS + 1):
            began = time.perf_counter()
            await database.read(question.work)
            times.append(time.perf_counter() - began)
    finally:
        await database.close()
    return statistics.median(times[1:]) * 1000


async def _p99(target: Target, admin_key: str, path: str) -> tuple[float, list[float]]:
    """Return the p99 of calls while a report is asked for again and again, and how long the reports took; in ms."""
    asked: list[float] = []

    async def ask_on() -> None:
        while path:
            began = time.perf_counter()
            await _get(target.server.port, admin_key, path)
            asked.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(ASK_EVERY_SECONDS)

    async with await Load.connect(target.call(), CLIENTS) as load:
        await load.at_rate(CALLS_PER_SECOND, 1.0)
        asking = asyncio.create_task(ask_on())
        try:
            latencies = await load.at_rate(CALLS_PER_SECOND, SECONDS)
        finally:
            asking.cancel()
    return percentile(latencies, 0.99) * 1000, asked


async def _get(port: int, key: str, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    headers = f"Host: bench\r\nAuthorization: Bearer {key}\r\nConnection: close"
    writer.write(f"GET /v1/organization{path} HTTP/1.1\r\n{headers}\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"{path}: {answer[:500]!r}")


def _under_calls(name: str, url: str, folder: Path) -> None:
    """Print what each report does to the p99 of 500 calls a second."""
    cores = Cores.available()
    os.sched_setaffinity(0, {cores.load})
    installation = Installation.fresh(name, url, folder / name)
    questions = [question for question in _questions() if question.path]
    with running_provider(folder, cores) as provider, running_gateway(installation, provider, cores) as server:
        target = Target(name, server, governed_key(installation, server))
        plain = statistics.median(uvloop.run(_p99(target, installation.admin_key, ""))[0] for _ in range(3))
        print(f"{CALLS_PER_SECOND} calls a second alone: p99 {plain:.1f} ms", flush=True)
        for question in questions:
            p99, asked = uvloop.run(_p99(target, installation.admin_key, question.path))
            took, verdict = statistics.median(asked), "ok" if p99 - plain < 5 else "TOO MUCH"
            lifted = f"p99 {p99:6.1f} ms ({p99 - plain:+.1f})"
            print(f"  with {question.name:<42} {lifted}  it took {took:6.1f} ms  {verdict}", flush=True)


@contextlib.contextmanager
def _database(name: str, folder: Path) -> Iterator[str]:
    server = os.environ.get("GATEWAY_TEST_POSTGRES_URL", POSTGRES_DEFAULT_URL)
    with sqlite_database(folder) if name == "sqlite" else postgres_database(server) as url:
        yield url


def _measure(name: str, rows: int, calls: bool, folder: Path) -> None:
    with _database(name, folder) as url:
        uvloop.run(upgrade(url))
        began = time.perf_counter()
        uvloop.run(fill(url, rows))
        print(f"{name}: {rows:,} rows in {time.perf_counter() - began:.0f} s", flush=True)
        for question in _questions():
            median_ms = uvloop.run(_time(url, question))
            most_ms = question.most_ms[name == "postgres"]
            verdict = "ok" if median_ms < most_ms else "TOO SLOW"
            print(f"{question.name:<44} {median_ms:8.1f} ms   at most {most_ms:4.0f}   {verdict}", flush=True)
        if calls:
            _under_calls(name, url, folder)


def main() -> None:
    """Fill each database, time the questions, print what they took."""
    parser = argparse.ArgumentParser(prog="python -m bench.reports", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="usage rows to write (default: %(default)s)")
    parser.add_argument("--database", choices=("sqlite", "postgres"), nargs="+", default=("sqlite", "postgres"))
    parser.add_argument("--calls", action="store_true", help="also: the p99 of 500 calls a second meanwhile")
    given = parser.parse_args()
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    for name in given.database:
        with tempfile.TemporaryDirectory(prefix="bench-reports-", dir=build) as folder:
            _measure(name, given.rows, given.calls, Path(folder))


if __name__ == "__main__":
    main()
