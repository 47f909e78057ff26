"""python -m tests.proof.soak: mixed traffic under seeded faults, then the ledger against what the provider saw.

Gateways are killed and started again, connections to PostgreSQL are cut, the provider fails in every way and clients
leave, while an admin changes things. What was lost, charged twice or overrun is printed, and the exit code is 1 then.
"""

import argparse
import asyncio
import random
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx
import uvloop

from gateway.core.errors import GatewayError
from gateway.core.limits import Interval, Metric, Scope
from gateway.store import users
from gateway.store.engine import is_sqlite, postgres_dsn
from gateway.store.limits import set_amount
from tests import databases
from tests.ledger import books
from tests.ledger.books import Reader
from tests.ledger.running import running, until
from tests.ledger.test_recovery import sweep
from tests.proof.clients import entries
from tests.proof.site import CALL_SECONDS, Replica, Site
from tests.proof.traffic import FATES, GIVEN, WRITTEN, Crowd, Fickle
from tests.provider import Provider, running_provider

CLIENTS = 24
SHORTEST_PEACE_SECONDS, LONGEST_PEACE_SECONDS = 0.5, 2.0
"""How long nothing is done to the gateways, between two faults."""
DRAIN_SECONDS = "5"
BUDGET = 2_000_000
"""Nano-USD: some twenty calls."""
LIMITS: Sequence[tuple[tuple[Metric, Interval | None, int], ...]] = (
    ((Metric.TOKENS, Interval.MONTH, 10**12), (Metric.COST, Interval.DAY, 10**15)),
    ((Metric.COST, Interval.DAY, BUDGET),),
    ((Metric.REQUESTS, Interval.DAY, 150), (Metric.OUTPUT_TOKENS, Interval.HOUR, 5_000)),
    ((Metric.CONCURRENCY, None, 4),),
    ((Metric.TOKENS, Interval.MINUTE, 2_000), (Metric.REQUESTS, Interval.MINUTE, 60)),
    (),
)
"""Of each key: wide, a small budget that is raised, used up soon, few at once, by the minute, disabled now and then."""
CONFIG = """
[[upstreams]]
name = "openai-main"
provider = "openai"
base_url = "{url}/v1"
api_key_env = "OPENAI_API_KEY"
models = ["soak-*"]
[[upstreams]]
name = "claude"
provider = "anthropic"
base_url = "{url}"
api_key_env = "OPENAI_API_KEY"
models = ["claude-*"]
[[upstreams]]
name = "gemini"
provider = "gemini"
base_url = "{url}"
api_key_env = "OPENAI_API_KEY"
models = ["gemini-*"]
"""
PRICE = '[prices."{}soak-*"]\ninput = "1"\noutput = "4"\n'
CUT_SESSIONS = """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""
OVER = """SELECT l.id, c.used, l.amount FROM counter c JOIN "limit" l ON l.id = c.limit_id
    WHERE c.used > l.amount AND l.interval <> 'minute'"""


@dataclass
class Report:
    """What happened, and what is wrong; `wrong` is empty if the promise was kept."""

    seed: int
    calls: int = 0
    heard: int = 0
    whole: int = 0
    left: int = 0
    records: int = 0
    swept: int = 0
    corrections: int = 0
    kills: int = 0
    cuts: int = 0
    changes: int = 0
    overshoot: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(
            (
                f"seed {self.seed}; calls: {self.calls}, {self.heard} heard by the provider, "
                f"{self.whole} answered well, {self.left} clients left",
                f"faults: {self.kills} kills, {self.cuts} times all database connections cut, "
                f"{self.changes} changes by an admin, the provider's own {dict(self.faults)}",
                f"answers: {dict(sorted(self.answers.items()))}",
                f"ledger: {self.records} calls, {self.swept} of them swept, {self.corrections} corrections; "
                f"{len(self.lost)} lost, overshoot {self.overshoot}",
                *(self.wrong or ["All invariants hold."]),
            )
        )


class Fleet:
    """The gateways: each is killed and started again while the others serve."""

    def __init__(self, site: Site, size: int) -> None:
        self._site = site
        self._slots: list[Replica | None] = [None] * size
        self.ended = asyncio.Event()

    def one(self, luck: random.Random) -> Replica | None:
        """Any that serves."""
        serving = [replica for replica in self._slots if replica is not None]
        return luck.choice(serving) if serving else None

    async def begun(self) -> None:
        """Wait until all serve."""
        await until(lambda: all(self._slots), CALL_SECONDS)

    def lives(self) -> list[Coroutine[None, None, None]]:
        """What keeps each slot filled."""
        return [self._live(slot) for slot in range(len(self._slots))]

    async def _live(self, slot: int) -> None:
        """Keep a slot filled until the end, then stop its gateway in order."""
        while not self.ended.is_set():
            async with self._site.replica() as replica:
                self._slots[slot] = replica
                dying = asyncio.ensure_future(replica.process.wait())
                ending = asyncio.ensure_future(self.ended.wait())
                await asyncio.wait((dying, ending), return_when=asyncio.FIRST_COMPLETED)
                self._slots[slot] = None
                ending.cancel()
                if not dying.done():
                    await replica.stop()


async def soak(url: str, folder: Path, provider: Provider, seconds: float, seed: int) -> Report:
    """Run the traffic on a migrated, empty database; return what became of it."""
    luck, report = random.Random(seed), Report(seed)
    site = Site(folder, url, provider, {"GATEWAY_DRAIN_TIMEOUT_SECONDS": DRAIN_SECONDS, "GATEWAY_LOG_LEVEL": "info"})
    prices = "".join(PRICE.format(family) for family in ("", "claude-", "gemini-"))
    (folder / "gateway.toml").write_text(CONFIG.format(url=provider.url) + prices)
    fickle = Fickle(luck)
    provider.always(fickle)
    keys = [await site.key(limits, Scope.PROJECT) for limits in LIMITS]
    fleet = Fleet(site, 1 if is_sqlite(url) else 3)

    def address() -> str | None:
        replica = fleet.one(luck)
        return None if replica is None else replica.url

    crowd = Crowd(luck, keys, address)
    async with asyncio.TaskGroup() as tasks, httpx.AsyncClient(timeout=CALL_SECONDS) as http:
        lives = [tasks.create_task(life) for life in fleet.lives()]
        await fleet.begun()
        clients = [tasks.create_task(crowd.client(http)) for _ in range(CLIENTS)]
        await Trouble(site, fleet, luck, report).run(seconds)
        crowd.ended.set()
        await asyncio.gather(*clients)
        fleet.ended.set()
        await asyncio.gather(*lives)
    report.calls, report.whole, report.left = crowd.calls, len(crowd.whole), crowd.left
    report.answers, report.heard = crowd.answers, len(fickle.seen)
    report.faults = Counter({fate: fickle.fates[fate] for fate in list(FATES)[2:]})
    async with running(url, folder / "data" / "spool", owner="last") as desk:
        while await sweep(desk):
            pass
        await judge(desk.reader, crowd, fickle, report)
    if (audit := await site.shell.run("audit")).exit_code:
        report.wrong.append(audit.output)
    return report


@dataclass
class Trouble:
    """Does one bad thing after the other."""

    site: Site
    fleet: Fleet
    luck: random.Random
    report: Report
    budget: int = BUDGET

    async def run(self, seconds: float) -> None:
        """Go on for so long."""
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            await asyncio.sleep(self.luck.uniform(SHORTEST_PEACE_SECONDS, LONGEST_PEACE_SECONDS))
            # Who changes things may meet the same trouble as everybody.
            with suppress(GatewayError):
                await self.luck.choice((self._kill, self._cut, self._drop, self._switch, self._raise))()

    async def _kill(self) -> None:
        replica = self.fleet.one(self.luck)
        if replica is not None:
            replica.process.kill()
            self.report.kills += 1

    async def _cut(self) -> None:
        if is_sqlite(self.site.url):
            return
        connection = await asyncpg.connect(postgres_dsn(self.site.url))
        await connection.fetchval(CUT_SESSIONS)
        await connection.close()
        self.report.cuts += 1

    async def _drop(self) -> None:
        self.site.provider.drop_connections()

    async def _switch(self) -> None:
        is_disabled = self.luck.random() < 0.5
        await self.site.change(lambda connection: users.update(connection, "user_6", disabled=is_disabled))
        self.report.changes += 1

    async def _raise(self) -> None:
        self.budget += self.luck.randint(1, BUDGET)
        await self.site.change(lambda connection: set_amount(connection, "lim_2_0", self.budget))
        self.report.changes += 1


async def judge(reader: Reader, crowd: Crowd, fickle: Fickle, report: Report) -> None:
    """Hold the ledger against what the provider heard and what the clients saw."""
    found = await entries(reader)
    finals = {name: [row for row in rows if row.entry == "final"] for name, rows in found.items()}
    report.records = len(finals)
    report.swept = sum(row.source == "swept" for rows in finals.values() for row in rows)
    report.corrections = sum(len(rows) for rows in found.values()) - sum(map(len, finals.values()))
    report.lost = sorted(set(fickle.seen) - set(finals))
    wrong = [f"lost: {name}" for name in report.lost]
    wrong += [f"charged twice: {name}" for name, rows in finals.items() if len(rows) != 1]
    for name in sorted(crowd.whole):
        sums = [sum(row.input_tokens for row in found[name]), sum(row.output_tokens for row in found[name])]
        if sums != [GIVEN, WRITTEN]:
            wrong.append(f"{name} was answered well and is charged {sums}: {found[name]}")
    if await reader.one("SELECT count(*) FROM hold") or await reader.one("SELECT coalesce(sum(held), 0) FROM counter"):
        wrong.append("something is still held")
    for name, used, amount in await reader.rows(OVER):
        report.overshoot += used - amount
        wrong.append(f"{name} used {used} of {amount}")
    if crowd.answers["internal_error"]:
        wrong.append(f"{crowd.answers['internal_error']} answers were faults of the gateway's own")
    report.wrong += wrong + await books.differences(reader)


async def _run(url: str, folder: Path, seconds: float, seed: int) -> Report:
    async with running_provider() as provider:
        return await soak(url, folder, provider, seconds, seed)


def main() -> int:
    """Soak each database for so long; return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="how long, on each database (10)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="to have the same luck again")
    parser.add_argument("--database", nargs="+", choices=("sqlite", "postgres"), default=databases.kinds())
    given = parser.parse_args()
    is_wrong = False
    for kind in given.database:
        with tempfile.TemporaryDirectory(prefix="soak-") as name, databases.template(kind, Path(name)) as url:
            sys.stdout.write(f"{kind}, {given.minutes:g} minutes, seed {given.seed} ...\n")
            report = uvloop.run(_run(url, Path(name), given.minutes * 60, given.seed))
            sys.stdout.write(f"{report}\n")
            is_wrong = is_wrong or bool(report.wrong)
    return int(is_wrong)


if __name__ == "__main__":
    sys.exit(main())
