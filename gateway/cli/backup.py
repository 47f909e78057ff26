"""`gateway backup`: the whole database in one file, while the gateway serves. One format for SQLite and PostgreSQL."""

import argparse
import asyncio
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from gateway.cli.arguments import add_json
from gateway.cli.failures import CommandError, Exit
from gateway.cli.office import require_schema
from gateway.cli.printing import print_json
from gateway.settings import Settings, load_settings
from gateway.store import backups, migrate
from gateway.store.engine import is_sqlite, sqlite_path
from gateway.store.transfer import TransferFailed


@dataclass(frozen=True, slots=True)
class Made:
    """What --json prints. `rows` are those of each table."""

    file: str
    bytes: int
    schema: str
    rows: dict[str, int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = (
        "The file is a SQLite database with all tables, as they were at one moment, and it holds no secret that could "
        "be used: keys are digests. `gateway restore` puts it back, into SQLite or PostgreSQL."
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="where to; it must not be there yet")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it is there")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    file: Path = arguments.file
    if file.exists() and not arguments.overwrite:
        raise CommandError(f"{file} is there already; choose another name, or add --overwrite.")
    made = asyncio.run(back_up(load_settings(os.environ), file))
    rows = made.rows
    words = f"{rows['usage']:,} usage records, {rows['api_key']:,} keys, {rows['hold']:,} open calls"
    if arguments.json:
        print_json(made)
    else:
        print(f"Backed up to {file}: {words}, {made.bytes:,} bytes, schema {made.schema}.")
    return Exit.DONE


async def back_up(settings: Settings, file: Path) -> Made:
    """Write the settings' database into a file, whole or not at all. Raises CommandError."""
    url = settings.database_url
    schema = await require_schema(settings)
    part = file.with_name(f"{file.name}.part")
    try:
        part.unlink(missing_ok=True)
        if is_sqlite(url):
            await asyncio.to_thread(backups.copy_file, sqlite_path(url), part)
        else:
            if schema != migrate.HEAD:
                raise CommandError(
                    f"The database has schema {schema} and this gateway knows {migrate.HEAD}: back up with the gateway "
                    "of that schema.",
                    Exit.CANNOT_START,
                )
            await backups.export(url, part)
        made = Made(str(file), part.stat().st_size, backups.check(part), backups.summary(part))
        part.replace(file)
        backups.sync(file)
    except (OSError, sqlite3.Error, TransferFailed, backups.NotABackup) as error:
        raise CommandError(f"The backup failed, {file} was not written: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return made
