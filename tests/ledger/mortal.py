"""A process with a ledger that is killed: `python -m tests.ledger.mortal URL SPOOL_FOLDER WHAT REVISION`.

It takes three holds, notes progress on one, does WHAT, says READY on its standard output and waits for its end.

hold    nothing more
spool   has the database locked under it and lets a call end into the spool
answer  has a call that ended, and its commit has not begun
commit  has committed the end of a call and another hold, and told neither waiter
"""

import asyncio
import sqlite3
import sys
import time
from pathlib import Path

from gateway.core.limits import Interval, Metric
from gateway.ledger.entries import Grant
from gateway.ledger.ledger import Ledger
from gateway.store.engine import is_sqlite, sqlite_path
from tests.ledger import books
from tests.ledger.books import ending, limit, reservation
from tests.ledger.running import Gate, Seen

LIMITS = (limit(Metric.TOKENS, 1_000), limit(Metric.CONCURRENCY, 10), limit(Metric.COST, 10_000, Interval.MONTH))


async def main(url: str, folder: str, what: str, revision: str) -> None:
    transactions = books.transactions(url, "mortal", lambda: time.time_ns() // 1000)
    gate = Gate(transactions)
    ledger = Ledger(gate, Path(folder), Seen(), time.monotonic, sole_owner=is_sqlite(url))
    await ledger.open()
    calls = []
    for number in range(3):
        asked = reservation(f"req_{number}", LIMITS, int(revision))
        grant = await ledger.reserve(asked)
        assert isinstance(grant, Grant), grant
        calls.append((asked, grant))
    await transactions.beat({"req_1": (12, 7)})
    if what == "spool":
        foreign = sqlite3.connect(sqlite_path(url), isolation_level=None)
        foreign.execute("BEGIN EXCLUSIVE")
        await ledger.settle(ending(*calls[0]))
    if what == "answer":
        gate.reached.clear()
        gate.before.clear()
        ledger.settle(ending(*calls[0]))
        await gate.reached.wait()
    if what == "commit":
        gate.committed.clear()
        gate.after.clear()
        asking = asyncio.create_task(ledger.reserve(reservation("req_3", LIMITS, int(revision))))
        await asyncio.sleep(0)  # it has asked now, so one batch has both
        ledger.settle(ending(*calls[0]))
        await gate.committed.wait()
        assert not asking.done()
    sys.stdout.write(f"READY {calls[2][1].admitted_at_us}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
