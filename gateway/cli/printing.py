"""What data commands print: tables for people, JSON for programs, CSV for spreadsheets."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from gateway.admin.spreadsheets import sheet_of
from gateway.cli.failures import Exit
from gateway.core.csv_lines import csv_lines

UNWRAPPED_WIDTH = 1_000
"""Columns of a table that goes into a pipe or a file: whoever cuts or greps lines wants them whole."""


def print_json(value: object) -> None:
    """Print one JSON document, indented."""
    print(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode())


def print_csv(rows: Iterable[Sequence[object]]) -> None:
    """Print rows as CSV, the first of them names."""
    sys.stdout.write(csv_lines(rows))


def print_list(
    arguments: argparse.Namespace,
    kind: type[msgspec.Struct],
    found: Sequence[msgspec.Struct],
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Sequence[str] = (),
) -> int:
    """Print what was found: a table of rows, or the things themselves as JSON or CSV. Returns success's exit code."""
    if arguments.json:
        print_json(found)
    elif arguments.csv:
        sheet = sheet_of(kind)
        print_csv([[column.name for column in sheet.columns], *map(sheet.row, found)])
    else:
        print_table(columns, rows, right=right)
    return Exit.DONE


def print_done(arguments: argparse.Namespace, answer: msgspec.Struct, sentence: str) -> int:
    """Print what was done: a sentence, or the answer as JSON or CSV. Returns the exit code of success."""
    if arguments.json:
        print_json(answer)
    elif arguments.csv:
        print_list(arguments, type(answer), [answer], (), ())
    else:
        print(sentence)
    return Exit.DONE


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """Print rows under their columns' names, those in `right` aligned to the right. None prints as a dash."""
    from rich.console import Console  # noqa: PLC0415 - 50 ms that --json and the serving commands save
    from rich.table import Table  # noqa: PLC0415 - as above

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(cell, row))
    width = None if sys.stdout.isatty() else UNWRAPPED_WIDTH
    Console(width=width, markup=False, highlight=False, emoji=False).print(table)


def cell(value: object) -> str:
    """Return a value as a table has it. What could steer a terminal is shown as a question mark."""
    if value is None:
        return "-"
    return "".join(character if character.isprintable() else "?" for character in str(value))


def moment(unix_seconds: int | None) -> str | None:
    """Return a time for people, in UTC."""
    return None if unix_seconds is None else f"{datetime.fromtimestamp(unix_seconds, UTC):%Y-%m-%d %H:%M}"
