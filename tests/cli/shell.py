"""The command line as a person has it: processes with an environment of their own, their output read line by line."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.patience import PATIENCE_SECONDS

ROOT = Path(__file__).parent.parent.parent
ADMIN_KEY = "an-admin-key-of-the-environment-0123456789"


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    exit_code: int
    output: str
    errors: str


@dataclass
class Served:
    """A server that runs. `lines` is what it printed until it was ready."""

    process: asyncio.subprocess.Process
    lines: list[str]
    url: str

    async def get(self, path: str, key: str = "") -> httpx.Response:
        """Send a request with a key."""
        async with httpx.AsyncClient(base_url=self.url, timeout=PATIENCE_SECONDS) as client:
            return await client.get(path, headers={"authorization": f"Bearer {key}"} if key else {})

    async def stop(self) -> str:
        """Ask it to end, see that it does so in order, return what else it printed."""
        self.process.terminate()
        output, _ = await asyncio.wait_for(self.process.communicate(), PATIENCE_SECONDS)
        assert self.process.returncode == 0
        return output.decode()


@dataclass
class Shell:
    """Runs `gateway` in a folder of its own, with these variables and no other settings of the developer's."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    async def run(self, *words: str, **variables: str) -> Done:
        """Run a command to its end."""
        process = await self._start(words, variables, asyncio.subprocess.PIPE)
        output, errors = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
        assert process.returncode is not None
        return Done(process.returncode, output.decode(), errors.decode())

    async def ask(self, *words: str) -> dict[str, object]:
        """Run a command that must do what is asked, with --json; return the object that it prints."""
        answer = await self._answer(words)
        assert isinstance(answer, dict)
        return answer

    async def ask_list(self, *words: str) -> list[dict[str, object]]:
        """Run a command that lists, with --json; return the array that it prints."""
        answer = await self._answer(words)
        assert isinstance(answer, list)
        return answer

    @asynccontextmanager
    async def serving(self, command: str, **variables: str) -> AsyncIterator[Served]:
        """Run `serve` or `quickstart` on a free port. It is killed if the test leaves it running."""
        patience = {"GATEWAY_DRAIN_DELAY_SECONDS": "0", "GATEWAY_DATABASE_WAIT_SECONDS": str(PATIENCE_SECONDS)}
        variables = {"GATEWAY_PORT": "0", **patience, **variables}
        process = await self._start((command,), variables, None)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                lines, url = await _ready(process)
            yield Served(process, lines, url)
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def _answer(self, words: tuple[str, ...]) -> object:
        done = await self.run(*words, "--json")
        assert done.exit_code == 0, done.errors
        return json.loads(done.output)

    async def _start(
        self, words: tuple[str, ...], variables: Mapping[str, str], errors: int | None
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", *words,
            stdout=asyncio.subprocess.PIPE, stderr=errors, cwd=self.folder, env=self.environment(variables),
        )  # fmt: skip

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """All variables that a command gets, with these beside the shell's own."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("GATEWAY_", "OPENAI_", "ANTHROPIC_", "GEMINI_"))
        }
        return {**inherited, "PYTHONPATH": str(ROOT), **self.variables, **variables}


async def _ready(process: asyncio.subprocess.Process) -> tuple[list[str], str]:
    """Read until the server says that it is ready and has said all that it says then; return that and its URL."""
    assert process.stdout is not None
    lines: list[str] = []
    url = ""
    async for raw in process.stdout:
        line = raw.decode().rstrip("\n")
        lines.append(line)
        if "ready on http" in line:
            url = line.split("ready on ")[1].split(",")[0].strip()
        if url and (line.startswith("{") or "Ctrl-C" in line):
            return lines, url
    raise AssertionError(f"it ended before it was ready: {lines}")
