"""`gateway model-permissions`: which models a project's keys may call, beside each key's own list."""

import argparse

from gateway.admin import model_permissions
from gateway.admin.model_permissions import PermissionsObject
from gateway.cli.arguments import add_command, commands_of, patterns
from gateway.cli.asking import Office
from gateway.cli.office import run
from gateway.cli.printing import print_done
from gateway.core.model_policy import Mode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's commands."""
    commands = commands_of(parser)
    show = add_command(commands, "show", "show what a project permits", _show)
    allow = add_command(commands, "allow", "permit these models and no others, from the next call on", _allow)
    deny = add_command(commands, "deny", "permit all models but these, from the next call on", _deny)
    clear = add_command(commands, "clear", "permit every model again", _clear)
    for command in (show, allow, deny, clear):
        command.add_argument("project", metavar="PROJECT", help="id or name")
    for command in (allow, deny):
        command.add_argument("models", type=patterns, metavar="PATTERNS", help="such as 'gpt-4o*,o3'")


def _show(arguments: argparse.Namespace) -> int:
    async def work(office: Office) -> PermissionsObject:
        return await office.ask(model_permissions.retrieve_permissions, await _path(office, arguments))

    return _told(arguments, run(arguments, work))


def _allow(arguments: argparse.Namespace) -> int:
    return _put(arguments, "allow_list")


def _deny(arguments: argparse.Namespace) -> int:
    return _put(arguments, "deny_list")


def _put(arguments: argparse.Namespace, mode: Mode) -> int:
    async def work(office: Office) -> PermissionsObject:
        body = {"mode": mode, "model_ids": arguments.models}
        return await office.ask(model_permissions.update_permissions, await _path(office, arguments), body=body)

    return _told(arguments, run(arguments, work))


def _clear(arguments: argparse.Namespace) -> int:
    async def work(office: Office) -> model_permissions.DeletedPermissions:
        return await office.ask(model_permissions.delete_permissions, await _path(office, arguments))

    return print_done(arguments, run(arguments, work), f"{arguments.project} permits every model.")


async def _path(office: Office, arguments: argparse.Namespace) -> dict[str, str]:
    return {"project_id": (await office.project(arguments.project)).id}


def _told(arguments: argparse.Namespace, permitted: PermissionsObject) -> int:
    named = ", ".join(permitted.model_ids)
    if permitted.mode == "allow_list":
        words = f"only {named}" if named else "no model"
    else:
        words = f"every model but {named}" if named else "every model"
    return print_done(arguments, permitted, f"{arguments.project} permits {words}.")
