"""`gateway rate-limits`: what a project may do with each model in a minute and a day, as OpenAI shows it."""

import argparse
from typing import Literal

from gateway.admin import rate_limits
from gateway.admin.rate_limits import UNLIMITED, RateLimitObject, rate_limit_id
from gateway.cli.arguments import add_command, commands_of
from gateway.cli.asking import Office
from gateway.cli.failures import CommandError, Exit
from gateway.cli.office import run
from gateway.cli.printing import print_done, print_list

FIELDS = {
    "max_requests_per_1_minute": "requests per minute",
    "max_tokens_per_1_minute": "tokens per minute",
    "max_requests_per_1_day": "requests per day",
}
COLUMNS = tuple(words.upper() for words in FIELDS.values())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's commands."""
    commands = commands_of(parser)
    listing = add_command(commands, "list", "list a row for every known model", _list)
    change = add_command(commands, "set", "change the limits of one model, from the next call on", _set)
    for command in (listing, change):
        command.add_argument("project", metavar="PROJECT", help="id or name")
    change.add_argument("model", metavar="MODEL")
    for field, words in FIELDS.items():
        change.add_argument(
            f"--{words.replace(' ', '-')}", dest=field, type=_amount, metavar="N", help="a number, or none"
        )


def _amount(text: str) -> int | Literal["none"]:
    if text == "none":
        return "none"
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"`{text}` is neither a whole number nor none")
    return int(text)


def _list(arguments: argparse.Namespace) -> int:
    async def work(office: Office) -> list[RateLimitObject]:
        project = await office.project(arguments.project)
        return await office.list_all(rate_limits.list_rate_limits, {"project_id": project.id})

    found = run(arguments, work)
    rows = [(row.model, *_amounts(row)) for row in found]
    return print_list(arguments, RateLimitObject, found, ("MODEL", *COLUMNS), rows, right=COLUMNS)


def _set(arguments: argparse.Namespace) -> int:
    given = {field: amount for field in FIELDS if (amount := getattr(arguments, field)) is not None}
    if not given:
        raise CommandError(
            "Say what to change: --requests-per-minute, --tokens-per-minute, --requests-per-day", Exit.WRONG_USAGE
        )

    async def work(office: Office) -> RateLimitObject:
        path = {
            "project_id": (await office.project(arguments.project)).id,
            "rate_limit_id": rate_limit_id(arguments.model),
        }
        body = {field: UNLIMITED if amount == "none" else amount for field, amount in given.items()}
        return await office.ask(rate_limits.update_rate_limit, path, body=body)

    changed = run(arguments, work)
    told = ", ".join(
        f"{'any' if amount is None else amount} {words}"
        for words, amount in zip(FIELDS.values(), _amounts(changed), strict=True)
    )
    return print_done(arguments, changed, f"{changed.model} in {arguments.project}: {told}.")


def _amounts(row: RateLimitObject) -> list[int | None]:
    found = (row.max_requests_per_1_minute, row.max_tokens_per_1_minute, row.max_requests_per_1_day)
    return [None if amount == UNLIMITED else amount for amount in found]
