"""A ledger that runs on a real database, and a gate in front of that database where a test holds commits up."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from gateway.core.limits import Limit
from gateway.ledger.effects import Batch
from gateway.ledger.entries import Caller, Grant, Refused, Reservation, Settlement, Stale
from gateway.ledger.ledger import Ledger
from gateway.ledger.ledger import Transactions as LedgerTransactions
from gateway.ledger.standin import SPOOL_AFTER_SECONDS
from gateway.store.engine import Database, is_sqlite
from tests import databases
from tests.ledger import books
from tests.ledger.books import ALICE, Reader
from tests.patience import PATIENCE_SECONDS

_numbers = count(1)

on_sqlite = pytest.mark.parametrize("database_template", ["sqlite"], indirect=True)
"""For tests of what only SQLite does."""
on_postgres = pytest.mark.parametrize(
    "database_template", [kind for kind in databases.kinds() if kind == "postgres"], indirect=True
)
"""For tests of what only PostgreSQL does."""


@dataclass
class Seen:
    """What the metrics are told."""

    batches: list[int] = field(default_factory=list)
    spooled: int = 0
    retried: list[str] = field(default_factory=list)

    def ledger_batch(self, size: int, seconds: float) -> None:
        self.batches.append(size)

    def ledger_spooled(self, records: int) -> None:
        self.spooled = records

    def ledger_retried(self, cause: str) -> None:
        self.retried.append(cause)


class Gate:
    """Passes everything to the real transactions; commits wait while `before` or `after` is shut."""

    def __init__(self, inner: LedgerTransactions) -> None:
        self._inner = inner
        self.owner = inner.owner
        self.before = asyncio.Event()
        self.after = asyncio.Event()
        self.reached = asyncio.Event()
        self.committed = asyncio.Event()
        self.open()

    def open(self) -> None:
        """Let everything through."""
        self.before.set()
        self.after.set()

    async def commit(self, batch: Batch) -> list[Grant | Refused | Stale]:
        self.reached.set()
        await self.before.wait()
        answers = await self._inner.commit(batch)
        self.committed.set()
        await self.after.wait()
        return answers

    async def beat(self, progress: Mapping[str, tuple[int, int]]) -> None:
        await self._inner.beat(progress)

    async def disown(self, request_id: str) -> None:
        await self._inner.disown(request_id)

    async def abandoned(self, lease_us: int, most: int) -> list[Settlement]:
        return await self._inner.abandoned(lease_us, most)

    async def tidy(self, lease_us: int) -> None:
        await self._inner.tidy(lease_us)

    async def close(self) -> None:
        await self._inner.close()


@dataclass
class Desk:
    """A running ledger and all that a test wants around it."""

    url: str
    ledger: Ledger
    transactions: books.Transactions
    gate: Gate
    database: Database
    reader: Reader
    seen: Seen
    spool_folder: Path
    revision: int = 0
    limits: tuple[Limit, ...] = ()

    async def add_limits(self, *limits: Limit) -> None:
        """Create limits; later calls are bound by them."""
        for new in limits:
            await books.add_limit(self.database, new, int(time.time()))
        self.limits += limits
        self.revision = await self.reader.one("SELECT value FROM revision")

    def asked(self, *, caller: Caller = ALICE, model: str = "gpt-4o", output_tokens: int = 20) -> Reservation:
        """A new call, bound by all limits."""
        id = f"req_{next(_numbers):04d}"
        return books.reservation(
            id, self.limits, self.revision, caller=caller, model=model, output_tokens=output_tokens
        )

    async def admitted(self) -> tuple[Reservation, Grant]:
        """A new call that was granted."""
        asked = self.asked()
        answer = await self.ledger.reserve(asked)
        assert isinstance(answer, Grant), answer
        return asked, answer

    async def idle(self) -> None:
        """Wait until all that was handed in is through."""
        await until(lambda: self.ledger.is_idle)

    async def holds(self) -> int:
        """How many calls are open in the database."""
        return int(await self.reader.one("SELECT count(*) FROM hold"))

    async def entries(self) -> Sequence[tuple[str, str]]:
        """Request ids and kinds of all records."""
        return [(record.request_id, record.entry) for record in await books.records(self.reader)]

    def spools(self) -> list[str]:
        """The spool files on the disk."""
        return sorted(path.name for path in self.spool_folder.iterdir())


@asynccontextmanager
async def running(
    url: str,
    folder: Path,
    *,
    owner: str = "us",
    through: str | None = None,
    is_sole: bool | None = None,
    clock_ahead_seconds: int = 0,
    is_hasty: bool = False,
) -> AsyncIterator[Desk]:
    """Run a ledger; `through` is another URL of the same database, by way of a proxy.

    Only where `is_hasty` it spools as soon as one that serves does. Else a slow machine changes nothing: what was
    settled is in the database.
    """
    ahead_us, seen = clock_ahead_seconds * 1_000_000, Seen()
    transactions = books.transactions(
        through or url, owner, lambda: time.time_ns() // 1000 + ahead_us, seen.ledger_retried
    )
    gate = Gate(transactions)
    sole = is_sqlite(url) if is_sole is None else is_sole
    late = SPOOL_AFTER_SECONDS if is_hasty else 2.0 * PATIENCE_SECONDS
    ledger = Ledger(gate, folder, seen, time.monotonic, sole_owner=sole, late_seconds=late)
    await ledger.open()
    database = books.administration(url, transactions)
    try:
        async with books.reading(url) as reader:
            desk = Desk(url, ledger, transactions, gate, database, reader, seen, folder)
            desk.revision = await reader.one("SELECT value FROM revision")
            yield desk
    finally:
        gate.open()
        await ledger.close()
        await database.close()


async def until(
    condition: Callable[[], object], seconds: float = PATIENCE_SECONDS, state: Callable[[], object] = lambda: "no word"
) -> None:
    """Wait for something that tells nobody when it comes true; if it does not, say what the state was in the end."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - as the docstring says
                await asyncio.sleep(0.005)
    except TimeoutError as error:
        raise AssertionError(f"waited {seconds} s in vain: {state()}") from error
