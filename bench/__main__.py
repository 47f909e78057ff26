"""python -m bench: measure the gateway beside the bare relay, print the table. docs/bench.md says how to read it."""

import argparse
import asyncio
import compileall
import contextlib
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import uvloop

from bench import experiments, ledger
from bench.databases import POSTGRES_DEFAULT_URL, postgres_database, sqlite_database
from bench.experiments import FULL, QUICK, Bench, Effort, Experiment, TargetFailedError
from bench.servers import ROOT, Cores, ServerFailedError
from bench.starts import Starts, start_gateway, start_rows
from bench.table import Gap, Row, render
from bench.targets import Installation, Target, running_provider, running_relay

# The groups of rows, in the order of the table. "start" comes before all: it is measured while the gateways start.
START = "start"
EXPERIMENTS: dict[str, Experiment] = {
    "plain": experiments.plain_calls,
    "streams": experiments.streamed_calls,
    "dialects": experiments.dialects,
    "latency": experiments.latency,
    "burst": experiments.burst,
    "overload": experiments.overload,
    "memory": experiments.memory,
    "slow-streams": experiments.slow_streams,
    "ledger": ledger.one_project,
}
DATABASES = {"sqlite": ("sqlite",), "postgres": ("postgres",), "both": ("sqlite", "postgres"), "none": ()}
# 1,000 clients need 1,000 files here, and twice as many in a target, which inherits the limit.
OPEN_FILES = 8192


@dataclass(frozen=True, slots=True)
class Plan:
    """What the arguments ask for."""

    groups: Sequence[str]
    databases: Sequence[str]
    postgres_url: str
    effort: Effort


def main() -> None:
    """Measure what the arguments name and print the table."""
    plan = _plan(sys.argv[1:])
    # Ended from outside, the run still ends its servers and drops its database, as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    _raise_open_files()
    # As it is installed: a checkout under PYTHONDONTWRITEBYTECODE would be compiled anew at every start.
    compileall.compile_dir(ROOT / "gateway", quiet=1)
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=build) as folder:
        targets, rows = _measure(plan, Path(folder))
    print(render(rows, targets))


def _plan(arguments: Sequence[str]) -> Plan:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the gateway beside a bare relay.")
    groups = [START, *EXPERIMENTS]
    parser.add_argument("--rows", nargs="+", choices=groups, default=groups, help="groups of rows (all)")
    parser.add_argument("--quick", action="store_true", help="one short round: does it work? not a figure to quote")
    parser.add_argument("--rounds", type=int, help="rounds to take the median of (9, quick 1)")
    parser.add_argument("--database", choices=DATABASES, default="both", help="none: the relay alone")
    parser.add_argument(
        "--postgres-url",
        default=os.environ.get("GATEWAY_TEST_POSTGRES_URL", POSTGRES_DEFAULT_URL),
        help="where the bench may create a database of its own (GATEWAY_TEST_POSTGRES_URL, or 127.0.0.1:5432)",
    )
    given = parser.parse_args(arguments)
    effort = QUICK if given.quick else FULL
    effort = replace(effort, rounds=given.rounds or effort.rounds)
    return Plan(given.rows, DATABASES[given.database], given.postgres_url, effort)


def _raise_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def _measure(plan: Plan, folder: Path) -> tuple[list[str], list[Row | Gap]]:
    """Return the targets' names and the rows. What fails becomes a Gap; the rest goes on."""
    cores = Cores.available()
    os.sched_setaffinity(0, {cores.load})
    rows: list[Row | Gap] = []
    with contextlib.ExitStack() as stack:
        provider = stack.enter_context(running_provider(folder, cores))
        relay = stack.enter_context(running_relay(provider, folder, cores))
        targets, starts = [relay], {}
        for database in plan.databases:
            try:
                gateway, starts[database] = _start(stack, plan, database, provider, cores, folder)
            except (ServerFailedError, OSError, asyncpg.PostgresError) as error:
                rows.append(Gap(f"gateway on {database}", str(error)))
            else:
                targets.append(gateway)
        if START in plan.groups:
            rows += start_rows(relay, starts)
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        bench = Bench(runner, provider, targets, plan.effort, folder, cores, plan.postgres_url)
        for group in plan.groups:
            if group in EXPERIMENTS:
                rows += _rows(bench, group)
    return [target.name for target in targets], rows


def _start(
    stack: contextlib.ExitStack, plan: Plan, database: str, provider: Target, cores: Cores, folder: Path
) -> tuple[Target, Starts]:
    print(f"starting the gateway on {database} ...", file=sys.stderr)
    url = stack.enter_context(_database(database, plan.postgres_url, folder))
    installation = Installation.fresh(database, url, folder / database)
    return start_gateway(stack, installation, provider, cores, plan.effort.rounds if START in plan.groups else 1)


def _database(name: str, postgres_url: str, folder: Path) -> contextlib.AbstractContextManager[str]:
    return postgres_database(postgres_url) if name == "postgres" else sqlite_database(folder)


def _rows(bench: Bench, group: str) -> Iterator[Row | Gap]:
    print(f"measuring {group} ...", file=sys.stderr)
    try:
        yield from EXPERIMENTS[group](bench)
    except TargetFailedError as error:
        yield Gap(group, str(error))


if __name__ == "__main__":
    main()
