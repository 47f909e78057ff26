"""`gateway report`: a month's statement per project and person, as a table, JSON, CSV or a page to print."""

import argparse
import re
from dataclasses import astuple, fields
from datetime import UTC, datetime, timedelta

from gateway.cli.arguments import add_data_options
from gateway.cli.asking import Office
from gateway.cli.failures import Exit
from gateway.cli.office import run
from gateway.cli.printing import print_csv, print_json, print_table
from gateway.cli.statement import Statement, make_statement
from gateway.cli.statement_page import page
from gateway.cli.tallies import Figures

_MONTH = re.compile(r"([12][0-9]{3})-(0[1-9]|1[0-2])")
FIGURES = ("REQUESTS", "INPUT", "CACHED", "OUTPUT", "COST USD")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--month", type=_month, metavar="YYYY-MM", help="a UTC month; default: the last whole one")
    parser.add_argument("--project", metavar="PROJECT", help="of this project alone: id or name")
    forms = add_data_options(parser)
    forms.add_argument("--html", action="store_true", help="print a page with charts that needs no network")
    parser.set_defaults(run=_run)


def _month(text: str) -> datetime:
    found = _MONTH.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"`{text}` is not a month; write it like 2026-11")
    return datetime(int(found[1]), int(found[2]), 1, tzinfo=UTC)


def _run(arguments: argparse.Namespace) -> int:
    async def work(office: Office) -> Statement:
        this_month = datetime.fromtimestamp(office.now, UTC).replace(day=1, hour=0, minute=0, second=0)
        month = arguments.month or (this_month - timedelta(days=1)).replace(day=1)
        project = await office.project(arguments.project) if arguments.project else None
        return await make_statement(office, month, None if project is None else project.id)

    statement = run(arguments, work)
    if arguments.json:
        print_json(statement)
    elif arguments.csv:
        _print_csv(statement)
    elif arguments.html:
        print(page(statement))
    else:
        _print(statement)
    return Exit.DONE


def _print_csv(statement: Statement) -> None:
    """Print a row per project and holder."""
    names = ("month", "project_id", "project", "holder_type", "holder_id", "holder")
    rows = [
        (statement.month, project.id, project.name, holder.type, holder.id, holder.name, *astuple(holder.usage))
        for project in statement.projects
        for holder in project.holders
    ]
    print_csv([(*names, *(field.name for field in fields(Figures))), *rows])


def _print(statement: Statement) -> None:
    rows: list[tuple[object, ...]] = []
    for project in statement.projects:
        rows += [(project.name, holder.name, *_cells(holder.usage)) for holder in project.holders]
        rows.append((project.name, "all", *_cells(project.usage)))
    print(f"Statement of {statement.month} (UTC)\n")
    print_table(("PROJECT", "HOLDER", *FIGURES), [*rows, ("total", "", *_cells(statement.usage))], right=FIGURES)
    if (count := statement.usage.unpriced_requests) > 0:
        print(f"\n{count} {'request' if count == 1 else 'requests'} to models without a price: counted as 0 USD.")


def _cells(figures: Figures) -> tuple[object, ...]:
    tokens = (figures.input_tokens, figures.cached_tokens, figures.output_tokens)
    return (f"{figures.succeeded:,}", *(f"{count:,}" for count in tokens), figures.cost_usd)
