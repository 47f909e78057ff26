"""`gateway restore`: a backup put back, into SQLite or PostgreSQL, whole or not at all, while no gateway serves."""

import argparse
import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway.cli.arguments import add_json
from gateway.cli.failures import CommandError, Exit
from gateway.cli.opening import sole_server
from gateway.cli.printing import cell, print_json
from gateway.cli.targets import PATIENCE_SECONDS, audited, require_rest, words_of_faults
from gateway.core.errors import GatewayError
from gateway.settings import Settings, load_settings
from gateway.sources import SystemClock, random_base62
from gateway.store import audit_log, backups, migrate, revision, transfer
from gateway.store.engine import Database, is_sqlite, sqlite_path


@dataclass(frozen=True, slots=True)
class Restored:
    """What --json prints. `kept` is the file that was there before; `faults` are what the audit finds afterwards."""

    schema: str
    voided_calls: int
    rows: dict[str, int]
    kept: str | None
    ok: bool
    faults: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = (
        "An older backup is migrated. Calls that were open in it are voided, each with its reason in the audit log; "
        "what the spool still has of them is charged at the next start. The ledger is audited at the end. Exit code 1 "
        "when something is off."
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="what `gateway backup` made")
    parser.add_argument(
        "--overwrite", action="store_true",
        help="replace a database that has data (a SQLite file is kept beside it, under another name)",
    )  # fmt: skip
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    settings = load_settings(os.environ)
    with sole_server(settings):
        restored = asyncio.run(restore(settings, arguments.file, overwrite=arguments.overwrite))
    if arguments.json:
        print_json(restored)
    else:
        rows = restored.rows
        print(f"Restored {rows['usage']:,} usage records and {rows['api_key']:,} keys from {arguments.file}.")
        if restored.voided_calls:
            print(f"{restored.voided_calls:,} calls that were open in the backup are voided.")
        if restored.kept:
            print(f"What was there before is kept in {restored.kept}.")
        for words in restored.faults:
            print(f"NOT OK  {cell(words)}")
        print("The ledger is in order." if restored.ok else "The ledger is NOT in order: gateway audit --repair")
    return Exit.DONE if restored.ok else Exit.FAILED


async def restore(settings: Settings, file: Path, *, overwrite: bool = False) -> Restored:
    """Put a backup into the settings' database, whole or not at all. Raises CommandError."""
    url = settings.database_url
    try:
        backups.check(file)
        async with _workplace(settings) as folder:
            prepared = folder / "prepared.db"
            await asyncio.to_thread(backups.copy_file, file, prepared)
            await migrate.upgrade(backups.url_of(prepared))
            place = _place_sqlite if is_sqlite(url) else _place_postgres
            voided, kept = await place(url, prepared, overwrite)
    except (OSError, sqlite3.Error, transfer.TransferFailed, backups.NotABackup) as error:
        raise CommandError(f"Nothing was restored: {error}") from error
    except migrate.UnknownSchema as error:
        raise CommandError(str(error), Exit.CANNOT_START) from error
    database = Database(url, statement_seconds=PATIENCE_SECONDS)
    try:
        faults = words_of_faults(await audited(database))
        rows = await database.read(transfer.counts)
    finally:
        await database.close()
    return Restored(migrate.HEAD, voided, rows, None if kept is None else str(kept), not faults, faults)


@asynccontextmanager
async def _workplace(settings: Settings) -> AsyncIterator[Path]:
    """Give a folder on the disk of the database, or of the data folder; it is gone afterwards."""
    url = settings.database_url
    parent = sqlite_path(url).parent if is_sqlite(url) else settings.data_folder
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".restore-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _place_sqlite(url: str, prepared: Path, overwrite: bool) -> tuple[int, Path | None]:
    path, least, kept = sqlite_path(url), 0, None
    if path.exists():
        try:
            least = await _least_revision(url, overwrite=overwrite)
        except (GatewayError, sqlite3.Error) as error:
            # A database that cannot be read is the best reason to restore one.
            if not overwrite:
                raise CommandError(f"{path} is there and cannot be read ({error}); add --overwrite.") from error
        kept = path.with_name(f"{path.name}.before-restore-{datetime.now(UTC):%Y%m%dT%H%M%S}") if overwrite else None
    voided = await _settle_in(prepared, least)
    await asyncio.to_thread(backups.put_in_place, prepared, path, kept)
    return voided, kept


async def _place_postgres(url: str, prepared: Path, overwrite: bool) -> tuple[int, Path | None]:
    await migrate.upgrade(url)
    voided = await _settle_in(prepared, await _least_revision(url, overwrite=overwrite))
    async with transfer.snapshot(backups.url_of(prepared)) as source:
        await transfer.carry(source, url)
    return voided, None


async def _least_revision(url: str, *, overwrite: bool) -> int:
    """Return the target's revision, once it is clear that the target may be replaced. Raises CommandError."""
    present = await migrate.current(url)
    if present.revision is None:
        return 0
    database = Database(url)
    try:
        await require_rest(database, "the database")
        if not overwrite and await database.read(transfer.has_data):
            raise CommandError("The database has data. Add --overwrite to replace it by the backup.")
        return await database.read(revision.read)
    finally:
        await database.close()


async def _settle_in(prepared: Path, least_revision: int) -> int:
    now = SystemClock().now()

    def event_id() -> str:
        return audit_log.new_id(now, random_base62(audit_log.EVENT_ID_CHARACTERS))

    database = Database(backups.url_of(prepared))
    try:
        return await database.write(
            lambda connection: backups.settle_in(connection, int(now), event_id, least_revision)
        )
    finally:
        await database.close()
