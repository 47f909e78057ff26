"""What `restore` and `copy` ask of a database before they read or fill it: that nobody serves, and that its books
balance.
"""

from collections.abc import Sequence

from gateway.cli.failures import CommandError
from gateway.sources import SystemClock
from gateway.store import audit, leases
from gateway.store.audit import Check
from gateway.store.engine import Database
from gateway.store.leases import FRESH_SECONDS

PATIENCE_SECONDS = 3_600
"""How long one statement may take on PostgreSQL: a ledger of years is added up."""


async def require_rest(database: Database, which: str) -> None:
    """Raises CommandError while a gateway serves on the database, by its lease."""
    now = int(SystemClock().now())
    age = await database.read(lambda connection: leases.youngest_age_seconds(connection, now))
    if age is not None and age < FRESH_SECONDS:
        raise CommandError(
            f"A gateway serves on {which}: its lease is {age:.0f} s old. Stop it and try again; if it was killed, its "
            f"lease ends in {FRESH_SECONDS - age:.0f} s."
        )


async def audited(database: Database) -> Sequence[Check]:
    """Audit a database."""
    now = int(SystemClock().now())
    return await database.read(lambda connection: audit.checks(connection, now))


def words_of_faults(checks: Sequence[Check]) -> list[str]:
    """Return what is off, in words."""
    return [f"{check.name}: {fault.words}" for check in checks for fault in check.faults]
