"""`gateway copy`: this database carried into another one, such as from SQLite to PostgreSQL, and proved on both sides.

No gateway may serve on either meanwhile: a call that was charged after the copy would be charged nowhere.
"""

import argparse
import asyncio
import os
from dataclasses import dataclass

from gateway.cli.arguments import add_json
from gateway.cli.failures import CommandError, Exit, with_cause
from gateway.cli.office import require_schema
from gateway.cli.opening import sole_server
from gateway.cli.printing import print_json
from gateway.cli.targets import PATIENCE_SECONDS, audited, require_rest, words_of_faults
from gateway.core.errors import ServiceUnavailable
from gateway.settings import Settings, database_url, load_settings
from gateway.store import migrate, transfer
from gateway.store.engine import Database

MOST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Copied:
    """What --json prints: the schema of both, and the rows of each table."""

    schema: str
    rows: dict[str, int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = (
        "Everything is carried: people, keys, limits, the ledger with its rollups and open calls, what lies at the "
        "providers, the audit log. The target is filled in one transaction, whole or not at all. Both sides are "
        "audited. Afterwards set GATEWAY_DATABASE_URL to the copy, keep the data folder for its spool, and serve."
    )
    parser.add_argument("--to", required=True, metavar="URL", help="such as postgresql+asyncpg://user@host/name")
    parser.add_argument("--overwrite", action="store_true", help="replace a target that has data")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    settings = load_settings(os.environ)
    try:
        target = database_url(arguments.to)
    except ValueError as error:
        raise CommandError(f"--to {error}.", Exit.WRONG_USAGE) from None
    if target == settings.database_url:
        raise CommandError("--to is the database that GATEWAY_DATABASE_URL names.", Exit.WRONG_USAGE)
    with sole_server(settings):
        copied = asyncio.run(copy_database(settings, target, overwrite=arguments.overwrite))
    rows = copied.rows
    words = f"{rows['usage']:,} usage records, {rows['api_key']:,} keys, {rows['limit']:,} limits"
    if arguments.json:
        print_json(copied)
    else:
        print(f"Copied {words}. The ledger is in order on both sides.")
    return Exit.DONE


async def copy_database(settings: Settings, target: str, *, overwrite: bool = False) -> Copied:
    """Carry the settings' database into another. Raises CommandError; then the target is as it was."""
    schema = await require_schema(settings)
    if schema != migrate.HEAD:
        raise CommandError(f"The database has schema {schema}: copy it with the gateway of that schema.")
    await _require_order(settings.database_url, "the source", "gateway audit --repair")
    try:
        await migrate.upgrade(target)
        await _require_room(target, overwrite=overwrite)
        async with transfer.snapshot(settings.database_url) as source:
            rows = dict(await transfer.carry(source, target))
    except (ServiceUnavailable, OSError) as error:
        raise CommandError(f"Nothing was copied: {with_cause(error)}") from error
    except (transfer.TransferFailed, migrate.UnknownSchema) as error:
        raise CommandError(f"Nothing was copied: {error}") from error
    await _require_order(target, "the copy", "keep using the source, and report this")
    return Copied(schema, rows)


async def _require_order(url: str, which: str, way_out: str) -> None:
    """Raises CommandError while a gateway serves on the database, or when its ledger is not in order."""
    database = Database(url, statement_seconds=PATIENCE_SECONDS)
    try:
        if which == "the source":
            await require_rest(database, which)
        faults = words_of_faults(await audited(database))
    finally:
        await database.close()
    if faults:
        more = f" and {len(faults) - MOST_SHOWN:,} more" if len(faults) > MOST_SHOWN else ""
        shown = "; ".join(faults[:MOST_SHOWN])
        raise CommandError(f"The ledger of {which} is not in order: {shown}{more}. What to do: {way_out}.")


async def _require_room(url: str, *, overwrite: bool) -> None:
    """Raises CommandError when somebody serves on the target, or it has data and need not."""
    database = Database(url)
    try:
        await require_rest(database, "the target")
        if not overwrite and await database.read(transfer.has_data):
            raise CommandError("The target has data. Choose an empty one, or add --overwrite to replace it.")
    finally:
        await database.close()
