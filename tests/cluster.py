"""A PostgreSQL server of a test's own, to stop as hard as it can be stopped. It needs the server's programs."""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE_SECONDS

PROGRAMS = "initdb", "pg_ctl"
PORTS = range(21_000, 32_000)
"""None that the kernel gives to anybody who asks for any, as it did while the server's files are made or it is down."""
BECOMES: tuple[str, ...] = ("postgres", "nobody")
SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
shared_buffers = 16MB
"""
"""Nobody pulls the plug here: what is written outlives the server, synced or not."""


def installed() -> list[str]:
    """Return who can run a server here: one user, never root, or none where its programs or rights are missing."""
    if not all(map(shutil.which, PROGRAMS)):
        return []
    names = {entry.pw_name for entry in pwd.getpwall()}
    able = [name for name in BECOMES if name in names] if not os.geteuid() else [pwd.getpwuid(os.geteuid()).pw_name]
    return [name for name in able if _can_become(name)][:1]


def _can_become(user: str) -> bool:
    try:
        command = [shutil.which(PROGRAMS[0]) or "", "--version"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", **_as(user))  # noqa: S603 - nothing foreign in it
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _as(user: str) -> dict[str, Any]:
    """Return how a subprocess becomes that user, if it has to."""
    account = pwd.getpwnam(user)
    return {} if os.geteuid() else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


@dataclass
class Cluster:
    """One server. `url` is that of its only database."""

    user: str
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/postgres"

    async def make(self) -> None:
        """Make its files."""
        made = await self._run("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "-N")
        assert made.returncode == 0, made.stderr
        with (self.folder / "data" / "postgresql.conf").open("a") as settings:
            settings.write(f"{SETTINGS}port = {self.port}\n")

    async def start(self) -> None:
        """Return once it serves, after its recovery."""
        log = str(self.folder / "log")
        started = await self._run("pg_ctl", "start", "--wait", f"--timeout={PATIENCE_SECONDS}", f"--log={log}")
        assert started.returncode == 0, started.stderr

    async def stop(self) -> None:
        """End all its processes at once, without a checkpoint, as a crash does."""
        await self._run("pg_ctl", "stop", "--mode=immediate")

    async def _run(self, program: str, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
        command = [shutil.which(program) or program, *arguments, f"--pgdata={self.folder / 'data'}"]
        how = _as(self.user)
        # Files, not pipes: the server inherits them, and a pipe would be read until it ends.
        with tempfile.TemporaryFile() as printed:
            how |= {"stdout": printed, "stderr": printed, "stdin": subprocess.DEVNULL}
            how["env"] = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
            ran = await asyncio.to_thread(partial(subprocess.run, command, cwd=self.folder, **how))
            printed.seek(0)
            return subprocess.CompletedProcess(command, ran.returncode, b"", printed.read())


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@asynccontextmanager
async def cluster(user: str) -> AsyncIterator[Cluster]:
    """Run a server as that user; it is gone afterwards."""
    port = next(filter(_is_free, PORTS))
    with tempfile.TemporaryDirectory(prefix="gateway-cluster-", ignore_cleanup_errors=True) as name:
        if not os.geteuid():
            shutil.chown(name, user)
        made = Cluster(user, Path(name), port)
        await made.make()
        try:
            await made.start()
            yield made
        finally:
            await made.stop()
