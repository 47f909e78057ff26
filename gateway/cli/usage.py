"""`gateway usage`: what was used, from the rollups: a bar per day, and a table by whatever is asked for."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.admin import projects, users
from gateway.cli.arguments import add_json
from gateway.cli.failures import CommandError, Exit
from gateway.cli.office import Office, run
from gateway.cli.printing import print_json, print_table
from gateway.core.limits import DAY_SECONDS
from gateway.core.money import render_usd
from gateway.store import reports
from gateway.store.engine import Connection
from gateway.store.reports import Dimension, Filter, Line, Query, Sums, Width

DIMENSIONS = {
    "model": Dimension.MODEL,
    "project": Dimension.PROJECT_ID,
    "user": Dimension.USER_ID,
    "key": Dimension.API_KEY_ID,
}
BAR_CHARACTERS = 30
MAX_DAYS = 3_660
FIGURES = ("REQUESTS", "INPUT", "CACHED", "OUTPUT", "COST USD")
EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True, slots=True)
class Figures:
    """One row of the report. Cost is a decimal string of USD; `unpriced_requests` had no price and count 0 there."""

    requests: int
    succeeded: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_usd: str
    unpriced_requests: int


@dataclass(frozen=True, slots=True)
class Day:
    """A UTC day as YYYY-MM-DD."""

    date: str
    usage: Figures


@dataclass(frozen=True, slots=True)
class Share:
    """One model, project, user or key."""

    name: str
    usage: Figures


@dataclass(frozen=True, slots=True)
class Report:
    """What --json prints. Both dates are inclusive; `by` names what `shares` are, None without --by."""

    start_date: str
    end_date: str
    total: Figures
    days: list[Day]
    by: str | None
    shares: list[Share]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--days", type=_days, default=30, metavar="N", help="how many UTC days, today last; default: 30"
    )
    parser.add_argument("--project", metavar="PROJECT", help="id or name")
    parser.add_argument("--user", metavar="USER", help="e-mail or id")
    parser.add_argument("--key", metavar="KEY_ID")
    parser.add_argument("--by", choices=tuple(DIMENSIONS), help="a table by this too")
    add_json(parser)
    parser.set_defaults(run=_run)


def _days(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_DAYS):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {MAX_DAYS}")
    return int(text)


def _run(arguments: argparse.Namespace) -> int:
    async def work(office: Office) -> tuple[Report, Sequence[int]]:
        return await _report(office, arguments)

    report, costs = run(work)
    if arguments.json:
        print_json(report)
    else:
        _print(report, costs)
    return Exit.DONE


async def _report(office: Office, arguments: argparse.Namespace) -> tuple[Report, Sequence[int]]:
    """Return the report, and the days' lengths of bar: nano-USD, or tokens while nothing cost anything."""
    today = office.now // DAY_SECONDS * DAY_SECONDS
    start = today - (arguments.days - 1) * DAY_SECONDS
    dimension = DIMENSIONS.get(arguments.by)
    query = Query(
        Width.DAY,
        start,
        today + DAY_SECONDS,
        frozenset((dimension,) if dimension else ()),
        await _filter(office, arguments),
    )
    lines = await office.read(_reading(query))
    by_day = {day: reports.total(line.sums for line in found) for day, found in reports.buckets(lines, query).items()}
    total = reports.total(by_day.values())
    sizes = [sums.cost_nano_usd if total.cost_nano_usd else _tokens(sums) for sums in by_day.values()]
    shares = _shares(lines, dimension, await _names(office, arguments.by)) if dimension else []
    days = [Day(_date(day), _figures(sums)) for day, sums in by_day.items()]
    return Report(_date(start), _date(today), _figures(total), days, arguments.by, shares), sizes


def _reading(query: Query) -> Callable[[Connection], list[Line]]:
    return lambda connection: reports.lines(connection, query)


async def _filter(office: Office, arguments: argparse.Namespace) -> Filter:
    project = (await office.project(arguments.project)).id if arguments.project else None
    user = (await office.user(arguments.user)).id if arguments.user else None
    if arguments.key and arguments.key.startswith("sk-"):
        raise CommandError("Give the key's id (key_...), not the key itself: gateway keys list", Exit.WRONG_USAGE)
    return Filter(project_ids=_one(project), user_ids=_one(user), api_key_ids=_one(arguments.key))


def _one(id: str | None) -> frozenset[str] | None:
    return None if id is None else frozenset((id,))


async def _names(office: Office, by: str | None) -> Mapping[str, str]:
    """Return what people call the projects or users that are there; everything else goes by its id."""
    if by == "project":
        found = await office.list_all(projects.list_projects, query={"include_archived": "true"})
        return {project.id: project.name for project in found}
    if by == "user":
        return {user.id: user.email for user in await office.list_all(users.list_users)}
    return {}


def _shares(lines: Sequence[Line], dimension: Dimension, names: Mapping[str, str]) -> list[Share]:
    """Return the groups, the dearest first."""
    groups: dict[str, list[Sums]] = {}
    for line in lines:
        groups.setdefault(getattr(line.group, dimension) or "(service accounts)", []).append(line.sums)
    totals = {name: reports.total(parts) for name, parts in groups.items()}
    ordered = sorted(totals.items(), key=lambda item: (-item[1].cost_nano_usd, -_tokens(item[1]), item[0]))
    return [Share(names.get(id, id), _figures(sums)) for id, sums in ordered]


def _tokens(sums: Sums) -> int:
    return sums.input_tokens + sums.output_tokens


def _figures(sums: Sums) -> Figures:
    return Figures(
        sums.requests,
        sums.succeeded,
        sums.input_tokens,
        sums.cached_tokens,
        sums.output_tokens,
        render_usd(sums.cost_nano_usd),
        sums.unpriced_requests,
    )


def _date(unix_seconds: int) -> str:
    return f"{datetime.fromtimestamp(unix_seconds, UTC):%Y-%m-%d}"


def _print(report: Report, sizes: Sequence[int]) -> None:
    longest = max(sizes)
    rows: list[tuple[object, ...]] = [
        (day.date, *_cells(day.usage), _bar(size, longest)) for day, size in zip(report.days, sizes, strict=True)
    ]
    print_table(("DAY", *FIGURES, ""), [*rows, ("total", *_cells(report.total), "")], right=FIGURES)
    if report.by is not None:
        print()
        print_table(
            (report.by.upper(), *FIGURES),
            [(share.name, *_cells(share.usage)) for share in report.shares],
            right=FIGURES,
        )
    if (count := report.total.unpriced_requests) > 0:
        print(f"\n{count} {'request' if count == 1 else 'requests'} to models without a price: counted as 0 USD.")


def _cells(figures: Figures) -> tuple[object, ...]:
    tokens = (figures.input_tokens, figures.cached_tokens, figures.output_tokens)
    return (f"{figures.succeeded:,}", *(f"{count:,}" for count in tokens), figures.cost_usd)


def _bar(size: int, longest: int) -> str:
    if size <= 0 or longest <= 0:
        return ""
    whole, part = divmod(size * BAR_CHARACTERS * 8 // longest, 8)
    return "█" * whole + EIGHTHS[part].strip() or EIGHTHS[1]
