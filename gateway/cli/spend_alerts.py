"""`gateway spend-alerts`: who is told when a month's cost reaches an amount, of the organization or a project."""

import argparse
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from gateway.admin import spend_alerts
from gateway.admin.lists import Deleted
from gateway.admin.spend_alerts import SpendAlertObject
from gateway.cli.arguments import add_command, commands_of, patterns
from gateway.cli.asking import Office
from gateway.cli.office import run
from gateway.cli.printing import print_done, print_list

CENTS = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's commands."""
    commands = commands_of(parser)
    listing = add_command(commands, "list", "list alerts of the organization, or of a project", _list)
    create = add_command(commands, "create", "tell people when a month's cost reaches an amount", _create)
    create.add_argument("amount", type=_cents, metavar="USD", help="such as 150 or 99.50")
    create.add_argument("--to", type=patterns, required=True, metavar="EMAILS", help="separated by commas")
    create.add_argument("--subject-prefix", metavar="TEXT", help="what the e-mail's subject begins with")
    delete = add_command(commands, "delete", "remove an alert", _delete)
    delete.add_argument("id", metavar="ALERT_ID")
    for command in (listing, create, delete):
        command.add_argument("--project", metavar="PROJECT", help="of this project, id or name; default: organization")


def _cents(text: str) -> int:
    try:
        cents = Decimal(text.removeprefix("$")) * CENTS
        if cents == cents.to_integral_value():
            return int(cents)
    except (InvalidOperation, ValueError, OverflowError):
        pass
    raise argparse.ArgumentTypeError(f"`{text}` is not an amount of USD in whole cents, such as 99.50")


def _list(arguments: argparse.Namespace) -> int:
    async def work(office: Office) -> list[SpendAlertObject]:
        return await office.list_all(spend_alerts.list_spend_alerts, await _path(office, arguments))

    found = run(arguments, work)
    rows = [(alert.id, _usd(alert), ", ".join(alert.notification_channel.recipients)) for alert in found]
    return print_list(arguments, SpendAlertObject, found, ("ID", "USD PER MONTH", "TO"), rows, right=("USD PER MONTH",))


def _create(arguments: argparse.Namespace) -> int:
    channel = {"type": "email", "recipients": arguments.to, "subject_prefix": arguments.subject_prefix}
    body = {
        "threshold_amount": arguments.amount, "currency": "USD", "interval": "month", "notification_channel": channel
    }  # fmt: skip

    async def work(office: Office) -> SpendAlertObject:
        return await office.ask(spend_alerts.create_spend_alert, await _path(office, arguments), body=body)

    made = run(arguments, work)
    to = ", ".join(made.notification_channel.recipients)
    return print_done(arguments, made, f"Created alert {made.id}: {_usd(made)} USD a month, told to {to}.")


def _delete(arguments: argparse.Namespace) -> int:
    async def work(office: Office) -> Deleted:
        path = {**await _path(office, arguments), "alert_id": arguments.id}
        return await office.ask(spend_alerts.delete_spend_alert, path)

    ended = run(arguments, work)
    return print_done(arguments, ended, f"Deleted alert {ended.id}.")


async def _path(office: Office, arguments: argparse.Namespace) -> Mapping[str, str]:
    return {"project_id": (await office.project(arguments.project)).id} if arguments.project else {}


def _usd(alert: SpendAlertObject) -> str:
    return f"{Decimal(alert.threshold_amount) / CENTS:.2f}"
