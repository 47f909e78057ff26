"""`gateway users`: the people."""

import argparse
from functools import partial

from gateway.admin import users
from gateway.admin.users import Erased, UserObject
from gateway.cli.arguments import add_command, commands_of
from gateway.cli.asking import Office
from gateway.cli.office import run
from gateway.cli.printing import moment, print_done, print_list


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's commands."""
    commands = commands_of(parser)
    add_command(commands, "list", "list users", _list)
    create = add_command(commands, "create", "make a user", _create)
    create.add_argument("email", metavar="EMAIL")
    create.add_argument("--name", help="by default the e-mail")
    create.add_argument("--role", choices=("owner", "reader"), default="reader", help="default: reader")
    for name, summary, disabled in (
        ("disable", "let a user's keys open nothing until enabled again", True),
        ("enable", "let a disabled user's keys open again", False),
    ):
        command = add_command(commands, name, summary, partial(_set_disabled, disabled=disabled))
        command.add_argument("user", metavar="USER", help="e-mail or id")
    erase = add_command(commands, "erase", "forget who a user was, for good; what they used stays", _erase)
    erase.add_argument("user", metavar="USER", help="e-mail, or id of a user who was deleted")


def _list(arguments: argparse.Namespace) -> int:
    found = run(arguments, lambda office: office.list_all(users.list_users))
    rows = [
        (user.id, user.email, user.name, user.role, "disabled" if user.disabled else "active", moment(user.created))
        for user in found
    ]
    return print_list(arguments, UserObject, found, ("ID", "E-MAIL", "NAME", "ROLE", "STATUS", "CREATED"), rows)


def _create(arguments: argparse.Namespace) -> int:
    body = {"email": arguments.email, "name": arguments.name or arguments.email, "role": arguments.role}
    made = run(arguments, lambda office: office.ask(users.create_user, body=body))
    return print_done(arguments, made, f"Created user {made.id} ({made.email}).")


def _erase(arguments: argparse.Namespace) -> int:
    async def work(office: Office) -> Erased:
        # An id is taken as it is: the user may be deleted, and then nothing else leads to them.
        id = (await office.user(arguments.user)).id if "@" in arguments.user else arguments.user
        return await office.ask(users.erase_user, {"user_id": id})

    gone = run(arguments, work)
    return print_done(arguments, gone, f"Erased user {gone.id}: nothing tells who it was; what they used stays.")


def _set_disabled(arguments: argparse.Namespace, *, disabled: bool) -> int:
    async def work(office: Office) -> UserObject:
        user = await office.user(arguments.user)
        return await office.ask(users.update_user, {"user_id": user.id}, body={"disabled": disabled})

    changed = run(arguments, work)
    effect = "their keys open nothing from the next call on" if disabled else "their keys open again"
    return print_done(arguments, changed, f"{'Disabled' if disabled else 'Enabled'} user {changed.email}: {effect}.")
