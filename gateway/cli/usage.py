"""`gateway usage`: what was used, from the rollups: a bar per day, and a table by whatever is asked for."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields

from gateway.admin import projects, users
from gateway.cli.arguments import add_data_options
from gateway.cli.asking import Office
from gateway.cli.failures import CommandError, Exit
from gateway.cli.office import run
from gateway.cli.printing import print_csv, print_json, print_table
from gateway.cli.tallies import Day, Figures, Share, Tally, buckets, date_of, tally, total
from gateway.core.limits import DAY_SECONDS

DIMENSIONS = {"model": "model", "project": "project_id", "user": "user_id", "key": "api_key_id"}
BAR_CHARACTERS = 30
MAX_DAYS = 3_660
FIGURES = ("REQUESTS", "INPUT", "CACHED", "OUTPUT", "COST USD")
EIGHTHS = " ▏▎▍▌▋▊▉"


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
    add_data_options(parser)
    parser.set_defaults(run=_run)


def _days(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_DAYS):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {MAX_DAYS}")
    return int(text)


def _run(arguments: argparse.Namespace) -> int:
    async def work(office: Office) -> tuple[Report, Sequence[int]]:
        return await _report(office, arguments)

    report, sizes = run(arguments, work)
    if arguments.json:
        print_json(report)
    elif arguments.csv:
        _print_csv(report)
    else:
        _print(report, sizes)
    return Exit.DONE


async def _report(office: Office, arguments: argparse.Namespace) -> tuple[Report, Sequence[int]]:
    """Return the report, and the days' lengths of bar: nano-USD, or tokens while nothing cost anything."""
    today = office.now // DAY_SECONDS * DAY_SECONDS
    start = today - (arguments.days - 1) * DAY_SECONDS
    dimension = DIMENSIONS.get(arguments.by)
    query = {"group_by": dimension, **await _filter(office, arguments)}
    by_day: dict[int, Tally] = {}
    groups: dict[str, Tally] = {}
    async for bucket in buckets(office, start, today + DAY_SECONDS, query):
        by_day[bucket.start_time] = total(map(tally, bucket.results))
        for result in bucket.results if dimension else ():
            name = getattr(result, dimension or "") or "(service accounts)"
            groups[name] = groups.get(name, Tally()) + tally(result)
    whole = total(by_day.values())
    if arguments.key and not whole.requests:
        await office.project_of_key(arguments.key)  # says so if there is no such key
    sizes = [day.cost_nano_usd if whole.cost_nano_usd else day.tokens for day in by_day.values()]
    shares = _shares(groups, await _names(office, arguments.by))
    days = [Day(date_of(day), used.figures) for day, used in by_day.items()]
    return Report(date_of(start), date_of(today), whole.figures, days, arguments.by, shares), sizes


async def _filter(office: Office, arguments: argparse.Namespace) -> Mapping[str, object]:
    if arguments.key and arguments.key.startswith("sk-"):
        raise CommandError("Give the key's id (key_...), not the key itself: gateway keys list", Exit.WRONG_USAGE)
    return {
        "project_ids": (await office.project(arguments.project)).id if arguments.project else None,
        "user_ids": (await office.user(arguments.user)).id if arguments.user else None,
        "api_key_ids": arguments.key,
    }


async def _names(office: Office, by: str | None) -> Mapping[str, str]:
    """Return what people call the projects or users that are there; everything else goes by its id."""
    if by == "project":
        found = await office.list_all(projects.list_projects, query={"include_archived": "true"})
        return {project.id: project.name for project in found}
    if by == "user":
        return {user.id: user.email for user in await office.list_all(users.list_users)}
    return {}


def _shares(groups: Mapping[str, Tally], names: Mapping[str, str]) -> list[Share]:
    """Return the groups, the dearest first."""
    ordered = sorted(groups.items(), key=lambda item: (-item[1].cost_nano_usd, -item[1].tokens, item[0]))
    return [Share(names.get(id, id), used.figures) for id, used in ordered]


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


def _print_csv(report: Report) -> None:
    """Print a row per day or, with --by, per share."""
    rows = [(share.name, share.usage) for share in report.shares]
    if report.by is None:
        rows = [(day.date, day.usage) for day in report.days]
    names = [field.name for field in fields(Figures)]
    print_csv([(report.by or "date", *names), *((name, *astuple(usage)) for name, usage in rows)])


def _cells(figures: Figures) -> tuple[object, ...]:
    tokens = (figures.input_tokens, figures.cached_tokens, figures.output_tokens)
    return (f"{figures.succeeded:,}", *(f"{count:,}" for count in tokens), figures.cost_usd)


def _bar(size: int, longest: int) -> str:
    if size <= 0 or longest <= 0:
        return ""
    whole, part = divmod(size * BAR_CHARACTERS * 8 // longest, 8)
    return "█" * whole + EIGHTHS[part].strip() or EIGHTHS[1]
