"""`gateway admin-keys`: keys that administer over HTTP. The first owner key is made here (or by GATEWAY_ADMIN_KEY)."""

import argparse

from gateway.admin import admin_api_keys
from gateway.cli.arguments import add_command, commands_of, seconds
from gateway.cli.office import run
from gateway.cli.printing import moment, print_done, print_list


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's commands."""
    commands = commands_of(parser)
    add_command(commands, "list", "list admin keys", _list)
    create = add_command(commands, "create", "make an admin key; its text is printed this once", _create)
    create.add_argument("--name", default="admin", help="what it is called; default: admin")
    create.add_argument(
        "--role",
        choices=("owner", "reader"),
        default="owner",
        help="owner does everything (default), reader only reads",
    )
    create.add_argument("--expires-in", type=seconds, metavar="TIME", help="such as 12h or 30d; default: never")
    delete = add_command(commands, "delete", "end an admin key (never the last owner)", _delete)
    delete.add_argument("id", metavar="ADMIN_KEY_ID")


def _list(arguments: argparse.Namespace) -> int:
    found = run(arguments, lambda office: office.list_all(admin_api_keys.list_admin_keys))
    rows = [
        (key.id, key.name, key.role, key.redacted_value, moment(key.created_at), moment(key.expires_at))
        for key in found
    ]
    columns = ("ID", "NAME", "ROLE", "KEY", "CREATED", "EXPIRES")
    return print_list(arguments, admin_api_keys.AdminKeyObject, found, columns, rows)


def _create(arguments: argparse.Namespace) -> int:
    body = {"name": arguments.name, "role": arguments.role, "expires_in_seconds": arguments.expires_in}
    made = run(arguments, lambda office: office.ask(admin_api_keys.create_admin_key, body=body))
    words = f"Created {made.role} key {made.id} ({made.name}). It is shown this once; keep it safe:\n\n  {made.value}\n"
    return print_done(arguments, made, words)


def _delete(arguments: argparse.Namespace) -> int:
    ended = run(arguments, lambda office: office.ask(admin_api_keys.delete_admin_key, {"key_id": arguments.id}))
    return print_done(arguments, ended, f"Deleted admin key {ended.id}.")
