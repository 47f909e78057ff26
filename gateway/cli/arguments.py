"""What the data commands' command lines have in common, and the values that people write in them."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
    """What `add_subparsers` returns; argparse has no public name for it."""
    Options = argparse.ArgumentParser | argparse._MutuallyExclusiveGroup
    """What options are added to."""

Run = Callable[[argparse.Namespace], int]

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def commands_of(parser: argparse.ArgumentParser) -> "Commands":
    """Let a command have commands of its own, of which one must be given."""
    return parser.add_subparsers(metavar="COMMAND", title="commands", required=True)


def add_command(commands: "Commands", name: str, summary: str, run: Run) -> argparse.ArgumentParser:
    """Add a data command. It prints for people, with --json for programs, with --csv for spreadsheets."""
    parser = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    add_data_options(parser)
    parser.set_defaults(run=run)
    return parser


def add_data_options(parser: argparse.ArgumentParser) -> "Options":
    """Add --json, --csv and --url. Returns the group of forms, of which one can be chosen."""
    forms = parser.add_mutually_exclusive_group()
    add_json(forms)
    forms.add_argument("--csv", action="store_true", help="print CSV, for spreadsheets")
    parser.add_argument(
        "--url", metavar="URL", help="ask this gateway, with the admin key in GATEWAY_ADMIN_KEY, not the database"
    )
    return forms


def add_json(parser: "Options") -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def seconds(text: str) -> int:
    """Read a duration: 90, 90s, 15m, 12h, 30d, 2w."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNIT_SECONDS else (text, "s")
    if not (number.isascii() and number.isdigit()):
        raise argparse.ArgumentTypeError(f"`{text}` is not a duration; write 90s, 15m, 12h, 30d or 2w")
    return int(number) * _UNIT_SECONDS[unit]


def limit_terms(text: str) -> dict[str, object]:
    """Read METRIC:INTERVAL:AMOUNT, or concurrency:AMOUNT, as the body of a limit has it."""
    parts = text.split(":")
    if len(parts) == 2 and parts[0] == "concurrency":
        parts.insert(1, "")
    if len(parts) != 3:
        raise argparse.ArgumentTypeError(
            f"`{text}` is not METRIC:INTERVAL:AMOUNT, such as cost:month:25 or requests:minute:60 (or concurrency:5)"
        )
    metric, interval, amount = parts
    return {"metric": metric, "interval": interval or None, "amount": limit_amount(metric, amount)}


def limit_amount(metric: str, text: str) -> int | str:
    """Return an amount as administration takes it: cost is a decimal string of USD, all else an integer."""
    if metric == "cost":
        return text.removeprefix("$")
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"`{text}` is not a whole number; only cost may have decimals")
    return int(text)


def patterns(text: str) -> list[str]:
    """Read model patterns that are separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]
