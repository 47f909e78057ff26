"""`gateway audit-log`: who changed what, and who was not let in, the newest first."""

import argparse

from gateway.admin import audit_logs
from gateway.admin.audit_logs import ActorObject, AuditEvent
from gateway.cli.arguments import add_data_options, seconds
from gateway.cli.asking import Office
from gateway.cli.office import run
from gateway.cli.printing import moment, print_list

DEFAULT_SECONDS = 30 * 86_400


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--last", type=seconds, default=DEFAULT_SECONDS, metavar="TIME", help="how far back, such as 12h; default: 30d"
    )
    parser.add_argument("--type", action="append", metavar="TYPE", help="such as api_key.created; may be repeated")
    parser.add_argument("--actor", metavar="ADMIN_KEY_ID", help="who did it; `cli` is the command line")
    parser.add_argument("--project", metavar="PROJECT", help="id or name")
    parser.add_argument("--resource", metavar="ID", help="what was changed")
    add_data_options(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    async def work(office: Office) -> list[AuditEvent]:
        query = {
            "effective_at[gte]": max(0, office.now - arguments.last),
            "event_types": arguments.type,
            "actor_ids": arguments.actor,
            "project_ids": (await office.project(arguments.project)).id if arguments.project else None,
            "resource_ids": arguments.resource,
        }
        return await office.list_all(audit_logs.list_events, query=query)

    found = run(arguments, work)
    rows = [
        (
            moment(event.effective_at), event.type, event.resource_id, _name(event.actor), event.ip_address,
            event.project and event.project.name,
        )
        for event in found
    ]  # fmt: skip
    return print_list(arguments, AuditEvent, found, ("TIME (UTC)", "TYPE", "WHAT", "WHO", "FROM", "PROJECT"), rows)


def _name(actor: ActorObject) -> str:
    if actor.api_key is not None:
        return actor.api_key.name or actor.api_key.id
    return "unknown" if actor.session and actor.session.ip_address else "command line"
