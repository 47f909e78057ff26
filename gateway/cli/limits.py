"""`gateway limits`: limits and budgets, on the organization, projects, people, programs and keys."""

import argparse

from gateway.admin import limits
from gateway.admin.limits import LimitObject
from gateway.cli.arguments import add_command, commands_of, limit_amount, limit_terms, patterns
from gateway.cli.asking import Office
from gateway.cli.office import run
from gateway.cli.printing import moment, print_done, print_list
from gateway.core.limits import Scope

METRICS = """\
METRIC is requests, tokens, input_tokens, output_tokens, cost (USD, decimals allowed) or concurrency; INTERVAL is
minute, hour, day, week, month or lifetime (none for concurrency). 0 blocks. Examples: cost:month:25,
requests:minute:60, concurrency:5."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's commands."""
    commands = commands_of(parser)
    listing = add_command(commands, "list", "list limits with what is used, held and left", _list)
    _add_scope(listing, required=False)
    create = add_command(commands, "create", "make a limit; it counts what was used in its period before", _create)
    create.epilog = METRICS
    create.add_argument("limit", type=limit_terms, metavar="METRIC:INTERVAL:AMOUNT")
    _add_scope(create, required=True)
    create.add_argument("--models", type=patterns, metavar="PATTERNS", help="only for these models, such as 'gpt-4o*'")
    change = add_command(commands, "set", "change how much a limit allows, from the next call on", _set)
    delete = add_command(commands, "delete", "remove a limit", _delete)
    for command in (change, delete):
        command.add_argument("id", metavar="LIMIT_ID")
    change.add_argument("amount", metavar="AMOUNT", help="USD for cost, else a whole number")


def _add_scope(parser: argparse.ArgumentParser, *, required: bool) -> None:
    scope = parser.add_mutually_exclusive_group(required=required)
    scope.add_argument("--organization", action="store_true", help="everybody together")
    scope.add_argument("--project", metavar="PROJECT", help="id or name")
    scope.add_argument("--user", metavar="USER", help="e-mail or id")
    scope.add_argument("--service-account", metavar="ID")
    scope.add_argument("--key", metavar="KEY_ID")


async def _scope(office: Office, arguments: argparse.Namespace) -> dict[str, object]:
    """Return scope and scope id as administration takes them, nothing when none was given."""
    if arguments.organization:
        return {"scope": Scope.ORGANIZATION}
    if arguments.project:
        return {"scope": Scope.PROJECT, "scope_id": (await office.project(arguments.project)).id}
    if arguments.user:
        return {"scope": Scope.USER, "scope_id": (await office.user(arguments.user)).id}
    if arguments.service_account:
        return {"scope": Scope.SERVICE_ACCOUNT, "scope_id": arguments.service_account}
    return {"scope": Scope.API_KEY, "scope_id": arguments.key} if arguments.key else {}


def _list(arguments: argparse.Namespace) -> int:
    async def work(office: Office) -> list[LimitObject]:
        return await office.list_all(limits.list_limits, query=await _scope(office, arguments))

    found = run(arguments, work)
    columns = ("ID", "SCOPE", "OF", "LIMIT", "AMOUNT", "USED", "HELD", "LEFT", "RESETS", "MODELS")
    rows = [
        (
            limit.id, limit.scope, limit.scope_id, _kind(limit), limit.amount, limit.used, limit.held,
            limit.remaining, moment(limit.resets_at), ", ".join(limit.models) if limit.models else "all",
        )
        for limit in found
    ]  # fmt: skip
    return print_list(arguments, LimitObject, found, columns, rows, right=("AMOUNT", "USED", "HELD", "LEFT"))


def _create(arguments: argparse.Namespace) -> int:
    async def work(office: Office) -> LimitObject:
        body = {**arguments.limit, **await _scope(office, arguments), "models": arguments.models}
        return await office.ask(limits.create_limit, body=body)

    return _done(arguments, run(arguments, work), "Created")


def _set(arguments: argparse.Namespace) -> int:
    async def work(office: Office) -> LimitObject:
        path = {"limit_id": arguments.id}
        present = await office.ask(limits.retrieve_limit, path)
        amount = limit_amount(present.metric, arguments.amount)
        return await office.ask(limits.update_limit, path, body={"amount": amount})

    return _done(arguments, run(arguments, work), "Changed")


def _delete(arguments: argparse.Namespace) -> int:
    ended = run(arguments, lambda office: office.ask(limits.delete_limit, {"limit_id": arguments.id}))
    return print_done(arguments, ended, f"Deleted limit {ended.id}.")


def _done(arguments: argparse.Namespace, limit: LimitObject, verb: str) -> int:
    whose = f"{limit.scope} {limit.scope_id}"
    words = f"{verb} limit {limit.id}: {_kind(limit)} {limit.amount} on {whose}, {limit.used} used already."
    return print_done(arguments, limit, words)


def _kind(limit: LimitObject) -> str:
    unit = " (USD)" if limit.metric == "cost" else ""
    return f"{limit.metric}{unit}" + (f" per {limit.interval}" if limit.interval else "")
