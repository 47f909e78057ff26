"""`gateway reconcile`: our ledger beside the provider's own usage and costs, per day, model and project."""

import argparse
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from pathlib import Path

from gateway.admin import projects, usage
from gateway.cli import exports
from gateway.cli.arguments import add_json, patterns
from gateway.cli.exports import COSTS, Entry, Export
from gateway.cli.failures import CommandError, Exit
from gateway.cli.office import DatabaseOffice, run_on_database
from gateway.cli.printing import cell, print_csv, print_json, print_table
from gateway.core.money import render_usd
from gateway.core.reconciliation import ALL, Difference, Place, added_up, compare, family
from gateway.store.daily_usage import Used, used
from gateway.store.retention import kept_since

FIGURES = {"usage": ("requests", "input_tokens", "cached_tokens", "output_tokens"), COSTS: ("cost",)}
COLUMNS = ("DATE", "MODEL", "PROJECT", "FIGURE", "OURS", "PROVIDER", "DIFFERENCE", "PERCENT", "WITHIN")
_OPERATIONS: Mapping[str, frozenset[str]] = {kind.name: kind.operations or frozenset() for kind in usage.KINDS}


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of both sides. Requests and tokens are whole numbers, cost is a decimal string of USD."""

    date: str
    model: str
    project_id: str
    figure: str
    ours: int | str
    provider: int | str
    difference: int | str
    percent: str
    within: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What --json prints. `ok` says that every line is within the tolerance."""

    ok: bool
    tolerance_percent: str
    notes: list[str]
    lines: list[Line]
    totals: list[Line]


@dataclass(frozen=True, slots=True)
class Terms:
    """How both sides are brought together. `mapping` has the provider's projects and ours."""

    models: tuple[str, ...] | None
    provider_projects: frozenset[str] | None
    mapping: Mapping[str, str]
    upstreams: tuple[str, ...] | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = (
        "FILE is what OpenAI exports: pages of /v1/organization/usage/... and /v1/organization/costs as JSON, or the "
        "CSV of its dashboard, usage or costs; several files belong together. Exit code 1 when a line is beyond the "
        "tolerance."
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument(
        "--tolerance", type=_percent, default=Decimal(1), metavar="PERCENT",
        help="how far a figure may be off, in percent of the larger side; default: 1",
    )  # fmt: skip
    parser.add_argument("--models", type=patterns, metavar="PATTERNS", help="only these models, such as 'gpt-*,o*'")
    parser.add_argument(
        "--upstream", action="append", metavar="NAME",
        help="only our calls through this upstream, as far back as records are kept; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--provider-project", action="append", metavar="ID", help="only this project of theirs; may be repeated"
    )
    parser.add_argument(
        "--project", type=_pair, action="append", default=[], metavar="THEIRS=OURS",
        help="which of our projects (id or name) one of theirs is; may be repeated",
    )  # fmt: skip
    parser.add_argument("--all", action="store_true", help="show what is within the tolerance too")
    forms = parser.add_mutually_exclusive_group()
    add_json(forms)
    forms.add_argument("--csv", action="store_true", help="print CSV, for spreadsheets")
    parser.set_defaults(run=_run)


def _percent(text: str) -> Decimal:
    try:
        percent = Decimal(text.removesuffix("%"))
    except InvalidOperation:
        percent = Decimal(-1)
    if not 0 <= percent <= 100:
        raise argparse.ArgumentTypeError(f"`{text}` is not a percentage from 0 to 100")
    return percent


def _pair(text: str) -> tuple[str, str]:
    found = re.fullmatch(r"([^=]+)=([^=]+)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"`{text}` is not THEIRS=OURS, such as proj_abc=Research")
    return found[1], found[2]


def _run(arguments: argparse.Namespace) -> int:
    export = exports.read(arguments.files)
    differences, notes = run_on_database(lambda office: _compared(office, export, arguments))
    tolerance: Decimal = arguments.tolerance
    lines = [_line(one, tolerance) for one in differences]
    totals = [_line(one, tolerance) for one in _totals(differences)]
    report = Report(all(line.within for line in lines), str(tolerance), notes, lines, totals)
    if arguments.json:
        print_json(report)
    elif arguments.csv:
        print_csv([[name.lower() for name in COLUMNS], *map(_cells, lines)])
    else:
        _print(report, shows_all=arguments.all)
    return Exit.DONE if report.ok else Exit.FAILED


async def _compared(
    office: DatabaseOffice, export: Export, arguments: argparse.Namespace
) -> tuple[list[Difference], list[str]]:
    terms = Terms(
        tuple(arguments.models) if arguments.models else None,
        frozenset(arguments.provider_project) if arguments.provider_project else None,
        {theirs: (await office.project(ours)).id for theirs, ours in arguments.project},
        tuple(arguments.upstream) if arguments.upstream else None,
    )
    own = {found.id for found in await office.list_all(projects.list_projects, query={"include_archived": "true"})}
    notes = [] if export.is_complete else ["the last page of the export says that there are more: it is not complete"]
    differences: list[Difference] = []
    for topic, (start, end) in sorted(export.spans.items(), reverse=True):
        entries = [entry for entry in exports.of_topic(export, topic) if _is_wanted(entry, terms)]
        rows = await office.read(lambda connection, s=start, e=end: used(connection, s, e, terms.upstreams))  # type: ignore[misc]
        if terms.upstreams is not None and await office.read(kept_since) > start:
            raise CommandError("Records of the export's first days were forgotten: compare without --upstream.")
        differences += _differences(topic, entries, rows, terms, own, notes)
        if end > office.now:
            notes.append(f"{_date(office.now)} is not over, and providers report late: its {topic} may still change")
    return differences, list(dict.fromkeys(notes))


def _is_wanted(entry: Entry, terms: Terms) -> bool:
    project, model = entry.place.project_id, entry.place.model
    if terms.provider_projects is not None and project not in terms.provider_projects:
        return False
    return terms.models is None or model is None or _matches(model, terms.models)


def _matches(model: str, wanted: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in (model, family(model)) for pattern in wanted)


def _differences(
    topic: str, entries: Sequence[Entry], rows: Sequence[Used], terms: Terms, own: set[str], notes: list[str]
) -> Iterator[Difference]:
    has_models = any(entry.place.model is not None for entry in entries)
    theirs_projects = {terms.mapping.get(id, id) for entry in entries if (id := entry.place.project_id) is not None}
    has_projects = bool(theirs_projects & own)
    if theirs_projects and not has_projects:
        notes.append(
            f"the provider's projects ({', '.join(sorted(theirs_projects))}) are none of ours and are added up; "
            "--project THEIRS=OURS tells them apart"
        )

    def keep(place: Place) -> Place:
        model = family(place.model or ALL) if has_models else None
        project = terms.mapping.get(place.project_id or "", place.project_id) if has_projects else None
        return Place(place.day, model, project)

    told = {name for entry in entries for name in entry.figures}
    theirs = added_up(((entry.place, entry.figures) for entry in entries), keep)
    ours = added_up(_ours(topic, entries, rows, terms), keep)
    return iter(compare(ours, theirs, [name for name in FIGURES[topic] if name in told or not entries]))


def _ours(
    topic: str, entries: Sequence[Entry], rows: Iterable[Used], terms: Terms
) -> Iterator[tuple[Place, Mapping[str, int]]]:
    """Return our side of what the export is about: its kinds of usage, or all of them for costs."""
    kinds = {entry.kind for entry in entries} or set(_OPERATIONS)
    wanted = None if topic == COSTS else frozenset(name for kind in kinds for name in _OPERATIONS[kind])
    for row in rows:
        if wanted is not None and row.operation not in wanted:
            continue
        if terms.models is not None and not _matches(row.model, terms.models):
            continue
        yield (
            Place(row.day, row.model, row.project_id),
            {
                "requests": row.succeeded,
                "input_tokens": row.input_tokens,
                "cached_tokens": row.cached_tokens,
                "output_tokens": row.output_tokens,
                "cost": row.cost_nano_usd,
            },
        )


def _totals(differences: Iterable[Difference]) -> list[Difference]:
    sums: dict[str, Difference] = {}
    for one in differences:
        before = sums.get(one.figure, Difference(Place(0, None, None), one.figure, 0, 0))
        sums[one.figure] = replace(before, ours=before.ours + one.ours, theirs=before.theirs + one.theirs)
    return list(sums.values())


def _line(one: Difference, tolerance: Decimal) -> Line:
    place, is_cost = one.place, one.figure == "cost"
    amounts = (one.ours, one.theirs, one.amount)
    ours, theirs, difference = map(render_usd, amounts) if is_cost else amounts
    return Line(
        _date(place.day) if place.day else "total",
        place.model or ALL,
        place.project_id or ALL,
        "cost_usd" if is_cost else one.figure,
        ours,
        theirs,
        difference,
        f"{one.percent:.2f}",
        not one.is_beyond(tolerance),
    )


def _cells(line: Line) -> tuple[object, ...]:
    words = (line.date, line.model, line.project_id, line.figure)
    return (*words, line.ours, line.provider, line.difference, line.percent, "yes" if line.within else "NO")


def _print(report: Report, *, shows_all: bool) -> None:
    shown = [line for line in report.lines if shows_all or not line.within]
    print_table(COLUMNS, [*map(_cells, shown), *map(_cells, report.totals)], right=COLUMNS[4:8])
    for note in report.notes:
        print(f"note: {cell(note)}")
    off = sum(not line.within for line in report.lines)
    if off:
        print(f"{off:,} of {len(report.lines):,} figures differ by more than {report.tolerance_percent} %.")
    else:
        print(f"All {len(report.lines):,} figures are within {report.tolerance_percent} %.")


def _date(unix_seconds: int) -> str:
    return f"{datetime.fromtimestamp(unix_seconds, UTC):%Y-%m-%d}"
