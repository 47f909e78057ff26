"""A change made on the command line binds a running server's next call, also while others hold SQLite's lock."""

import asyncio
import sqlite3
from pathlib import Path

import httpx

from gateway.store.engine import is_sqlite, sqlite_path
from tests.cli.shell import ADMIN_KEY, Shell
from tests.ledger.books import reading
from tests.patience import PATIENCE_SECONDS
from tests.provider import Provider

LOCKED_SECONDS = 0.7


async def call(client: httpx.AsyncClient, key: str) -> httpx.Response:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"authorization": f"Bearer {key}"}
    return await client.post("/v1/chat/completions", json=body, headers=headers)


async def booked(shell: Shell) -> None:
    """Wait until a call is on the books."""
    async with reading(shell.variables["GATEWAY_DATABASE_URL"]) as reader, asyncio.timeout(PATIENCE_SECONDS):
        while not await reader.one("SELECT count(*) FROM usage"):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.01)


async def test_change_on_the_command_line_binds_the_next_call(team_shell: Shell, provider: Provider) -> None:
    provider.chat("Hello")
    variables = {
        "OPENAI_API_KEY": "sk-provider",
        "OPENAI_BASE_URL": provider.base_url,
        "GATEWAY_ADMIN_KEY": ADMIN_KEY,
        "GATEWAY_WORKERS": "1" if is_sqlite(team_shell.variables["GATEWAY_DATABASE_URL"]) else "2",
    }
    await team_shell.ask("projects", "create", "Team")
    made = await team_shell.ask("keys", "create", "--project", "Team", "--service-account", "bot")
    key, id = str(made["value"]), str(made["id"])
    async with (
        team_shell.serving("serve", **variables) as served,
        httpx.AsyncClient(base_url=served.url, timeout=PATIENCE_SECONDS) as client,
    ):
        assert (await call(client, key)).status_code == 200
        await booked(team_shell)  # a limit opens with what is in the database, and the spool may be quicker
        await team_shell.ask("limits", "create", "requests:day:1", "--key", id)
        refused = await call(client, key)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_exhausted")
        await team_shell.ask("keys", "disable", id)
        assert (await call(client, key)).status_code == 401
        await team_shell.ask("keys", "enable", id)
        rotated = await team_shell.ask("keys", "rotate", id)
        assert (await call(client, key)).status_code == 401
        assert (await call(client, str(rotated["value"]))).status_code == 429
        assert (await team_shell.ask("audit"))["ok"] is True
        usage = await team_shell.ask("usage", "--days", "2", "--key", id, "--by", "model")
        assert usage["total"] == usage["shares"][0]["usage"]  # type: ignore[index]  # of one model
        await served.stop()


async def test_change_while_the_database_is_locked_waits_and_is_made(team_shell: Shell) -> None:
    url = team_shell.variables["GATEWAY_DATABASE_URL"]
    await team_shell.ask("projects", "create", "Team")
    made = await team_shell.ask("keys", "create", "--project", "Team", "--service-account", "bot")
    locked = Locked(sqlite_path(url) if is_sqlite(url) else None)
    asyncio.get_running_loop().call_later(LOCKED_SECONDS, locked.release)
    assert (await team_shell.ask("keys", "disable", str(made["id"])))["disabled"] is True
    assert (await team_shell.ask("keys", "show", str(made["id"])))["disabled"] is True


class Locked:
    """SQLite's write lock, held by a process that is neither server nor command line. Nothing without a file."""

    def __init__(self, path: Path | None) -> None:
        self._connection = sqlite3.connect(path or ":memory:", isolation_level=None)
        self._connection.execute("BEGIN IMMEDIATE")

    def release(self) -> None:
        """Let others write."""
        self._connection.execute("ROLLBACK")
        self._connection.close()


async def test_doctor_tells_what_a_running_gateway_has_learned(team_shell: Shell, provider: Provider) -> None:
    provider.chat("Hello", input_tokens=900)
    variables = {"OPENAI_API_KEY": "sk-provider", "OPENAI_BASE_URL": provider.base_url, "GATEWAY_ADMIN_KEY": ADMIN_KEY}
    await team_shell.ask("projects", "create", "Team")
    made = await team_shell.ask("keys", "create", "--project", "Team", "--service-account", "bot")
    # Near the end of a budget prompts are counted.
    await team_shell.ask("limits", "create", "input_tokens:day:5000", "--key", str(made["id"]))
    text = "The quick brown fox jumps over the lazy dog. " * 60
    body = {"model": "mistral-small-latest", "messages": [{"role": "user", "content": text}]}
    async with (
        team_shell.serving("serve", **variables) as served,
        httpx.AsyncClient(
            base_url=served.url, headers={"authorization": f"Bearer {made['value']}"}, timeout=PATIENCE_SECONDS
        ) as client,
    ):
        assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
        port = served.url.rpartition(":")[2]
        done = await team_shell.run("doctor", **variables | {"GATEWAY_PORT": port})
        assert "estimates: mistral-small-latest x1.0" in done.output
    done = await team_shell.run("doctor", **variables | {"GATEWAY_PORT": port})
    assert "estimates: no gateway runs here" in done.output
