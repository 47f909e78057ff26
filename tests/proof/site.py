"""Gateways as they run in the field: `gateway serve` in processes of their own, on one database, one provider.

site = Site(folder, database_url, provider)
key = await site.key([(Metric.REQUESTS, Interval.DAY, 100)])
async with site.replica() as replica:
    ...
    await replica.kill()
"""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TypeVar

import httpx

from gateway.core.keys import make_key
from gateway.core.limits import Scope
from gateway.store.engine import Connection, Database
from tests.cli.shell import ADMIN_KEY, Shell
from tests.gateway import MODEL, PROVIDER_KEY, LimitSpec, issue
from tests.ledger.running import until
from tests.patience import PATIENCE_SECONDS
from tests.provider import Provider

START_SECONDS = CALL_SECONDS = float(PATIENCE_SECONDS)
READY = re.compile(r"ready on (http://[^,\s]+),")

T = TypeVar("T")


@dataclass
class Replica:
    """One process that serves."""

    process: asyncio.subprocess.Process
    url: str
    http: httpx.AsyncClient

    async def kill(self) -> None:
        """Kill it as nothing can be prepared for."""
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        """Ask it to end and see that it does so in order."""
        self.process.terminate()
        assert await asyncio.wait_for(self.process.wait(), START_SECONDS) == 0


@dataclass
class Site:
    """A folder with the configuration and the data volume, a migrated database, and the provider."""

    folder: Path
    url: str
    provider: Provider
    variables: dict[str, str] = field(default_factory=dict)
    _keys: "count[int]" = field(default_factory=lambda: count(1))
    _replicas: "count[int]" = field(default_factory=lambda: count(1))

    @property
    def shell(self) -> Shell:
        """The command line there."""
        settings = {
            "GATEWAY_DATABASE_URL": self.url,
            "GATEWAY_ADMIN_KEY": ADMIN_KEY,
            "GATEWAY_CONFIG": "gateway.toml",
            "GATEWAY_LOG_LEVEL": "info",
            "GATEWAY_PORT": "0",
            "GATEWAY_DRAIN_DELAY_SECONDS": "0",
            "GATEWAY_DATABASE_WAIT_SECONDS": str(2 * PATIENCE_SECONDS),  # a busy machine refuses nobody
            "OPENAI_API_KEY": PROVIDER_KEY,
            "OPENAI_BASE_URL": self.provider.base_url,
        }
        return Shell(self.folder, settings | self.variables)

    def name_calls(self, names: Iterable[str]) -> None:
        """Make each name an alias of one model: the ledger has it, so a call is known there even if it was swept."""
        aliases = "".join(f'"{name}" = "{MODEL}"\n' for name in names)
        (self.folder / "gateway.toml").write_text(f"[models]\n{aliases}")

    async def key(self, limits: Sequence[LimitSpec] = (), scope: Scope = Scope.API_KEY) -> str:
        """Make a project, a user and a key with these limits; return its text. They are numbered in the order made."""
        number = next(self._keys)
        secret = make_key(f"{number:010d}", f"{number:032d}")
        await self.change(lambda connection: issue(connection, number, secret, limits, scope))
        return secret.text

    async def change(self, work: Callable[[Connection], T]) -> T:
        """Change the database as an admin does, with a new revision."""
        database = Database(self.url)
        try:
            return await database.change(work)
        finally:
            await database.close()

    async def audit(self) -> None:
        """Run `gateway audit`, which must find nothing."""
        done = await self.shell.run("audit")
        assert done.exit_code == 0, done.output

    @asynccontextmanager
    async def replica(self, **variables: str) -> AsyncIterator[Replica]:
        """Run `gateway serve`. It is killed if the test leaves it running."""
        if not (self.folder / "gateway.toml").exists():
            self.name_calls(())
        log = self.folder / f"replica-{next(self._replicas)}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway", "serve",
                stdout=output, stderr=output, cwd=self.folder, env=self.shell.environment(variables),
            )  # fmt: skip
        try:
            await until(lambda: READY.search(log.read_text()) or process.returncode is not None, START_SECONDS)
            found = READY.search(log.read_text())
            assert found is not None, log.read_text()
            url, unbounded = found[1], httpx.Limits(max_connections=None)
            async with httpx.AsyncClient(base_url=url, timeout=CALL_SECONDS, limits=unbounded) as client:
                yield Replica(process, url, client)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
