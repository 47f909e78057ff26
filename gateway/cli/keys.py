"""`gateway keys`: what programs call with. A key's text is printed once, when it is made or rotated."""

import argparse
from collections.abc import Mapping
from functools import partial

from gateway.admin import api_keys, projects, service_accounts
from gateway.admin.api_keys import ApiKeyObject, CreatedApiKey
from gateway.admin.lists import Deleted
from gateway.cli import keys_import
from gateway.cli.arguments import add_command, commands_of, limit_terms, patterns, seconds
from gateway.cli.asking import Office
from gateway.cli.failures import CommandError, Exit
from gateway.cli.office import run
from gateway.cli.printing import moment, print_done, print_json, print_list
from gateway.sources import SystemClock


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's commands."""
    commands = commands_of(parser)
    listing = add_command(commands, "list", "list keys, of all projects or of one", _list)
    listing.add_argument("--project", metavar="PROJECT", help="id or name")
    _add_create(add_command(commands, "create", "make a key; its text is printed this once", _create))
    rotate = add_command(commands, "rotate", "give a key a new text, under the same id, limits and usage", _rotate)
    rotate.add_argument("--grace", type=seconds, default=0, metavar="TIME", help="how long the old text still opens")
    summary = "make a key for each person of a list, and keep their texts in a file of mode 600"
    keys_import.add_arguments(commands.add_parser("import", help=summary, description=f"M{summary[1:]}."))
    show = add_command(commands, "show", "show a key", _show)
    delete = add_command(commands, "delete", "end a key for good; what it used stays on record", _delete)
    disable = add_command(commands, "disable", "let a key open nothing until enabled again", partial(_set, True))
    enable = add_command(commands, "enable", "let a disabled key open again", partial(_set, False))
    for command in (rotate, show, delete, disable, enable):
        command.add_argument(
            "key", metavar="KEY_ID", help="key_... as `gateway keys list` shows it, not the key itself"
        )


def _add_create(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--project", required=True, metavar="PROJECT", help="id or name")
    holder = parser.add_mutually_exclusive_group(required=True)
    holder.add_argument("--user", metavar="USER", help="the person who holds it: e-mail or id")
    holder.add_argument(
        "--service-account", metavar="NAME", help="the program that holds it: id or name, made if the project has none"
    )
    parser.add_argument("--name", help="what the key is called; by default after its holder")
    parser.add_argument("--expires-in", type=seconds, metavar="TIME", help="such as 12h or 30d; default: never")
    parser.add_argument(
        "--models",
        type=patterns,
        metavar="PATTERNS",
        help="what it may call, such as 'gpt-4o*,o3'; default: everything",
    )
    parser.add_argument(
        "--limit", type=limit_terms, action="append", default=[], metavar="METRIC:INTERVAL:AMOUNT",
        help="such as cost:month:25 (USD), requests:minute:60, tokens:day:1000000, concurrency:5; may be repeated",
    )  # fmt: skip


def _list(arguments: argparse.Namespace) -> int:
    async def work(office: Office) -> list[tuple[str, ApiKeyObject]]:
        if arguments.project:
            wanted = [await office.project(arguments.project)]
        else:
            wanted = await office.list_all(projects.list_projects)
        return [
            (project.name, key)
            for project in wanted
            for key in await office.list_all(api_keys.list_api_keys, {"project_id": project.id})
        ]

    found = run(arguments, work)
    rows = [
        (key.id, key.name, project, _holder(key), key.redacted_value, _status(key), moment(key.expires_at))
        for project, key in found
    ]
    columns = ("ID", "NAME", "PROJECT", "HOLDER", "KEY", "STATUS", "EXPIRES")
    return print_list(arguments, ApiKeyObject, [key for _, key in found], columns, rows)


def _create(arguments: argparse.Namespace) -> int:
    async def work(office: Office) -> CreatedApiKey:
        project = await office.project(arguments.project)
        holder, name = await _find_holder(office, project.id, arguments)
        body = {
            **holder,
            "name": arguments.name or name,
            "expires_in_seconds": arguments.expires_in,
            "models": arguments.models,
            "limits": arguments.limit,
        }
        return await office.ask(api_keys.create_api_key, {"project_id": project.id}, body=body)

    return _reveal(arguments, run(arguments, work), "Created")


async def _find_holder(
    office: Office, project_id: str, arguments: argparse.Namespace
) -> tuple[Mapping[str, object], str]:
    """Return the holder as the body of a key has it, and what the key is called after."""
    if arguments.user:
        user = await office.user(arguments.user)
        return {"user_id": user.id}, user.name
    found = await office.service_account(project_id, arguments.service_account)
    if found is not None:
        return {"service_account_id": found.id}, found.name
    made = await office.ask(
        service_accounts.create_service_account,
        {"project_id": project_id},
        body={"name": arguments.service_account, "create_service_account_only": True},
    )
    return {"service_account_id": made.id}, made.name


def _rotate(arguments: argparse.Namespace) -> int:
    async def work(office: Office) -> CreatedApiKey:
        path = await _path(office, arguments)
        return await office.ask(api_keys.rotate_api_key, path, body={"grace_seconds": arguments.grace})

    return _reveal(arguments, run(arguments, work), "Rotated")


def _show(arguments: argparse.Namespace) -> int:
    async def work(office: Office) -> ApiKeyObject:
        return await office.ask(api_keys.retrieve_api_key, await _path(office, arguments))

    key = run(arguments, work)
    facts = (
        ("id", key.id),
        ("name", key.name),
        ("key", key.redacted_value),
        ("holder", _holder(key)),
        ("status", _status(key)),
        ("models", ", ".join(key.models) if key.models else "all"),
        ("created", moment(key.created_at)),
        ("last used", moment(key.last_used_at) or "never"),
        ("expires", moment(key.expires_at) or "never"),
    )
    if arguments.json:
        print_json(key)
        return Exit.DONE
    return print_list(arguments, ApiKeyObject, [key], ("FIELD", "VALUE"), facts)


def _set(disabled: bool, arguments: argparse.Namespace) -> int:
    async def work(office: Office) -> ApiKeyObject:
        return await office.ask(api_keys.update_api_key, await _path(office, arguments), body={"disabled": disabled})

    key = run(arguments, work)
    effect = "it opens nothing from the next call on" if disabled else "it opens again"
    return print_done(arguments, key, f"{'Disabled' if disabled else 'Enabled'} key {key.id} ({key.name}): {effect}.")


def _delete(arguments: argparse.Namespace) -> int:
    async def work(office: Office) -> Deleted:
        return await office.ask(api_keys.delete_api_key, await _path(office, arguments))

    ended = run(arguments, work)
    return print_done(arguments, ended, f"Deleted key {ended.id}: it opens nothing from the next call on.")


async def _path(office: Office, arguments: argparse.Namespace) -> Mapping[str, str]:
    if arguments.key.startswith("sk-"):
        raise CommandError("Give the key's id (key_...), not the key itself: gateway keys list", Exit.WRONG_USAGE)
    return {"project_id": await office.project_of_key(arguments.key), "api_key_id": arguments.key}


def _reveal(arguments: argparse.Namespace, key: CreatedApiKey, verb: str) -> int:
    words = f"{verb} key {key.id} ({key.name}). It is shown this once; keep it safe:\n\n  {key.value}\n"
    return print_done(arguments, key, words)


def _holder(key: ApiKeyObject) -> str:
    if key.owner.user is not None:
        return key.owner.user.email
    return key.owner.service_account.name if key.owner.service_account is not None else "-"


def _status(key: ApiKeyObject) -> str:
    """Return active, or why the key opens nothing: disabled, expired, inactive where its holder or project is."""
    if key.disabled:
        return "disabled"
    if key.expires_at is not None and key.expires_at <= SystemClock().now():
        return "expired"
    return key.owner_project_access
