"""`gateway audit`: whether the ledger's books balance, and with --repair, what is derived and off worked out anew.

A server may run meanwhile. Without --repair nothing is changed.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.cli.arguments import add_json
from gateway.cli.failures import Exit
from gateway.cli.office import DatabaseOffice, run_on_database
from gateway.cli.printing import cell, print_json
from gateway.ledger.effects import Batch
from gateway.ledger.ledger import Transactions
from gateway.ledger.sqlite import SqliteLedger
from gateway.sources import random_base62
from gateway.store import audit
from gateway.store.audit import Check
from gateway.store.audit.holds import OVERDUE_SECONDS
from gateway.store.audit.repair import Log, Stamp, can_repair, mend
from gateway.store.engine import Connection, is_sqlite, postgres_dsn, sqlite_path

MOST_SHOWN = 20
"""Faults of one check that are printed for people; --json has all that were kept."""
PATIENCE_SECONDS = 3_600
"""How long one statement may take on PostgreSQL: a ledger of years is added up."""
SWEPT_AT_ONCE = 200
MOST_ROUNDS = 1_000
"""Each puts as many faults right as a check keeps."""


@dataclass(frozen=True, slots=True)
class ShownCheck:
    """A check in --json."""

    name: str
    promise: str
    ok: bool
    examined: int
    faults: list[str]
    has_more_faults: bool
    notes: list[str]


@dataclass(frozen=True, slots=True)
class Report:
    """What --json prints. `repaired` says what --repair did; `checks` are those after it."""

    ok: bool
    checks: list[ShownCheck]
    repaired: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = (
        "Exit code 1 when something is off, with --repair when something still is. A repair works out anew what is "
        "derived from the usage records and the open calls, and writes into the audit log; it never changes a usage "
        "record, a call that was charged twice gets a correction."
    )
    parser.add_argument("--repair", action="store_true", help="put right what can be put right")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    async def work(office: DatabaseOffice) -> tuple[Sequence[Check], list[str]]:
        checks = await _checks(office)
        return await _repair(office, checks) if arguments.repair else (checks, [])

    checks, repaired = run_on_database(work, statement_seconds=PATIENCE_SECONDS)
    balanced = not any(check.faults for check in checks)
    if arguments.json:
        print_json(Report(balanced, [_shown(check) for check in checks], repaired))
    else:
        _print(checks, repaired, may_repair=not arguments.repair)
    return Exit.DONE if balanced else Exit.FAILED


async def _checks(office: DatabaseOffice) -> Sequence[Check]:
    return await office.read(lambda connection: audit.checks(connection, office.now))


async def _repair(office: DatabaseOffice, checks: Sequence[Check]) -> tuple[Sequence[Check], list[str]]:
    """Repair and look again, until nothing is left that can be repaired. Returns the last checks and what was done."""
    stamp = Stamp(office.now, random_base62)
    done: list[str] = []
    for _ in range(MOST_ROUNDS):
        news = await _settle_abandoned(office, stamp) if _is_abandoned(checks) else []
        news += await mend(office.services.database, checks, stamp)
        if not news:
            break
        done += news
        checks = await _checks(office)
    return checks, done


def _is_abandoned(checks: Sequence[Check]) -> bool:
    return any(check.name == "leases" and check.faults for check in checks)


async def _settle_abandoned(office: DatabaseOffice, stamp: Stamp) -> list[str]:
    """Let the ledger itself settle the calls of processes that ended long ago, as every process does with others'."""
    transactions = _transactions(office)
    settled = 0
    try:
        while swept := await transactions.abandoned(OVERDUE_SECONDS * 1_000_000, SWEPT_AT_ONCE):
            await transactions.commit(Batch(settlements=swept))
            settled += len(swept)
    finally:
        await transactions.close()
    if not settled:
        return []

    def note(connection: Connection) -> list[str]:
        log = Log(connection, stamp)
        log.add("leases", f"settled {settled:,} calls of processes that ended", None, {"swept": settled})
        return log.words

    return await office.services.database.write(note)


def _transactions(office: DatabaseOffice) -> Transactions:
    url, owner = office.settings.database_url, random_base62(16)
    clock = office.services.clock

    def now_us() -> int:
        return int(clock.now() * 1_000_000)

    if is_sqlite(url):
        return SqliteLedger(sqlite_path(url), owner, now_us)
    from gateway.ledger.postgres import PostgresLedger  # noqa: PLC0415 - a driver that SQLite has no use for

    return PostgresLedger(postgres_dsn(url), owner, now_us, lambda _cause: None)


def _shown(check: Check) -> ShownCheck:
    faults = [fault.words for fault in check.faults]
    return ShownCheck(check.name, check.promise, not faults, check.examined, faults, check.has_more, list(check.notes))


def _print(checks: Sequence[Check], repaired: Sequence[str], *, may_repair: bool) -> None:
    for words in repaired:
        print(f"repaired  {cell(words)}")
    for check in checks:
        print(f"{'ok    ' if not check.faults else 'NOT OK'}  {check.promise} ({check.examined:,} examined)")
        for fault in check.faults[:MOST_SHOWN]:
            print(f"          {cell(fault.words)}")
        if (more := len(check.faults) - MOST_SHOWN) > 0:
            print(f"          and {more:,} more{' at least' if check.has_more else ''} (--json has them)")
        for note in check.notes:
            print(f"          note: {cell(note)}")
    if not any(check.faults for check in checks):
        print("The ledger is in order.")
        return
    print("The ledger is NOT in order.")
    if may_repair and (names := [check.name for check in checks if can_repair(check) or _is_abandoned([check])]):
        print(f"gateway audit --repair can put right: {', '.join(names)}.")
