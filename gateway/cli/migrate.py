"""`gateway migrate`: the database's schema, brought up to date. Safe to run at any time and from several machines."""

import argparse
import asyncio
import os

from gateway.cli.arguments import add_json
from gateway.cli.failures import CommandError, Exit
from gateway.cli.printing import print_json
from gateway.settings import load_settings
from gateway.store import migrate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    settings = load_settings(os.environ)
    before, after = bring_up_to_date(settings.database_url)
    if arguments.json:
        print_json({"before": before, "after": after})
    elif before == after:
        print(f"The database is up to date: schema {after}.")
    else:
        print(f"The database was {'empty' if before is None else f'at schema {before}'}; it is at schema {after} now.")
    return 0


def bring_up_to_date(url: str) -> tuple[str | None, str]:
    """Migrate; return the revisions before and after. Raises CommandError, ServiceUnavailable."""
    try:
        return asyncio.run(migrate.upgrade(url))
    except (migrate.UnknownSchema, OSError) as error:
        raise CommandError(str(error), Exit.CANNOT_START) from error
