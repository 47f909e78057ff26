"""`gateway users`: the people."""

import argparse
from functools import partial

from gateway.admin import users
from gateway.admin.users import UserObject
from gateway.cli.arguments import add_command, commands_of
from gateway.cli.office import Office, run
from gateway.cli.printing import moment, print_done, print_json, print_table


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


def _list(arguments: argparse.Namespace) -> int:
    found = run(lambda office: office.list_all(users.list_users))
    if arguments.json:
        print_json(found)
    else:
        rows = [
            (user.id, user.email, user.name, user.role, "disabled" if user.disabled else "active", moment(user.created))
            for user in found
        ]
        print_table(("ID", "E-MAIL", "NAME", "ROLE", "STATUS", "CREATED"), rows)
    return 0


def _create(arguments: argparse.Namespace) -> int:
    body = {"email": arguments.email, "name": arguments.name or arguments.email, "role": arguments.role}
    made = run(lambda office: office.ask(users.create_user, body=body))
    return print_done(arguments, made, f"Created user {made.id} ({made.email}).")


def _set_disabled(arguments: argparse.Namespace, *, disabled: bool) -> int:
    async def work(office: Office) -> UserObject:
        user = await office.user(arguments.user)
        return await office.ask(users.update_user, {"user_id": user.id}, body={"disabled": disabled})

    changed = run(work)
    effect = "their keys open nothing from the next call on" if disabled else "their keys open again"
    return print_done(arguments, changed, f"{'Disabled' if disabled else 'Enabled'} user {changed.email}: {effect}.")
