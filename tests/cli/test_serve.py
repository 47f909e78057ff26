"""What `serve` refuses, in words that say what to do, and what it takes."""

import asyncio
import socket
import sqlite3
import sys
from pathlib import Path

import pytest

from gateway.cli.opening import ensure_owner
from gateway.settings import Settings
from gateway.store import admin_api_keys
from gateway.store.engine import Database
from gateway.store.pages import Cursor
from tests.cli.shell import ADMIN_KEY, Shell

READY = {"OPENAI_API_KEY": "sk-provider", "GATEWAY_ADMIN_KEY": ADMIN_KEY}


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"GATEWAY_ADMIN_KEY": ADMIN_KEY}, ["OPENAI_API_KEY", "[[upstreams]]", "gateway quickstart"]),
        ({"OPENAI_API_KEY": "sk-provider"}, ["gateway admin-keys create", "GATEWAY_ADMIN_KEY"]),
        ({**READY, "GATEWAY_PROT": "80"}, ["GATEWAY_PROT", "Did you mean GATEWAY_PORT?"]),
        ({**READY, "GATEWAY_WORKERS": "2"}, ["need PostgreSQL", "GATEWAY_DATABASE_URL"]),
        ({**READY, "GATEWAY_MIGRATE": "off"}, ["gateway migrate"]),
        ({**READY, "GATEWAY_HOST": "host.invalid"}, ["GATEWAY_HOST"]),
        ({**READY, "GATEWAY_TLS_CERTIFICATE_FILE": "none.pem"}, ["GATEWAY_TLS_CERTIFICATE_FILE"]),
        ({**READY, "GATEWAY_DATABASE_URL": "postgresql+asyncpg://nobody@127.0.0.1:1/none"}, ["database is not"]),
    ],
)
async def test_serve_something_missing_or_wrong_is_refused_in_words(
    shell: Shell, variables: dict[str, str], words: list[str]
) -> None:
    done = await shell.run("serve", **variables)
    assert (done.exit_code, done.output) == (3, "")
    assert [word for word in words if word not in done.errors] == []
    assert "Traceback" not in done.errors


async def test_serve_price_that_cannot_be_is_refused_in_words(shell: Shell) -> None:
    (shell.folder / "gateway.toml").write_text('[prices."own-*"]\ninput = "1"\n')
    done = await shell.run("serve", **READY, GATEWAY_CONFIG="gateway.toml")
    assert (done.exit_code, done.output) == (3, "")
    assert 'gateway.toml: prices."own-*": output is missing; write "0"' in done.errors


async def test_serve_start_that_fails_late_leaves_its_reason_in_the_log(shell: Shell) -> None:
    (shell.folder / "data").mkdir()
    (shell.folder / "data" / "spool").write_text("not a folder")
    done = await shell.run("serve", **READY)
    assert done.exit_code == 3
    assert "the gateway cannot start" in done.output


async def test_serve_port_taken_is_refused_in_words(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = await shell.run("serve", **READY, GATEWAY_PORT=str(taken.getsockname()[1]))
    assert done.exit_code == 3
    assert "GATEWAY_PORT" in done.errors


async def test_serve_schema_of_a_newer_gateway_is_refused(shell: Shell) -> None:
    assert (await shell.run("migrate")).exit_code == 0
    connection = sqlite3.connect(shell.folder / "data" / "gateway.db")
    with connection:
        connection.executescript(
            "UPDATE compatibility SET oldest_code = '9999'; UPDATE alembic_version SET version_num = '9999'"
        )
    connection.close()
    done = await shell.run("serve", **READY)
    assert done.exit_code == 3
    assert "newer" in done.errors


async def test_serve_second_on_the_same_sqlite_file_is_refused(shell: Shell) -> None:
    async with shell.serving("serve", **READY) as first:
        done = await shell.run("serve", **READY, GATEWAY_PORT="0")
        assert done.exit_code == 3
        assert "Another gateway serves" in done.errors
        assert (await first.get("/readyz")).status_code == 200
        await first.stop()


async def test_serve_admin_key_of_the_environment_becomes_the_first_owner_only(shell: Shell) -> None:
    async with shell.serving("serve", **READY) as served:
        answer = await served.get("/v1/organization/admin_api_keys", ADMIN_KEY)
        assert [key["name"] for key in answer.json()["data"]] == ["GATEWAY_ADMIN_KEY"]
        assert await served.stop() != ""
    async with shell.serving("serve", **{**READY, "GATEWAY_ADMIN_KEY": ADMIN_KEY[::-1]}):
        assert len(await shell.ask_list("admin-keys", "list")) == 1


async def test_owner_key_taken_by_replicas_at_once_is_stored_once(database_url: str, tmp_path: Path) -> None:
    settings = Settings(database_url, tmp_path, admin_key=ADMIN_KEY)
    assert await asyncio.gather(*(ensure_owner(settings) for _ in range(4))) == [True] * 4
    database = Database(database_url)
    found = await database.read(lambda connection: admin_api_keys.page(connection, Cursor()))
    await database.close()
    assert [(key.role, key.redacted) for key in found.items] == [("owner", "...6789")]


async def test_serve_imports_nothing_that_only_others_need() -> None:
    """Alembic, the object-relational mapper, the demo and the commands' libraries are a third of a second together."""
    words = "import sys, gateway.cli.serve, gateway.app; print(*sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", words, stdout=asyncio.subprocess.PIPE)
    imported, _ = await process.communicate()
    others = {"alembic", "asyncpg", "gateway.upstream.demo", "gateway.cli.report", "rich", "smtplib", "sqlalchemy.orm"}
    assert "sqlalchemy" in imported.decode().split()
    assert others & set(imported.decode().split()) == set()
