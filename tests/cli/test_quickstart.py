"""The newcomer's first minutes: one command, a curl line that works, and the same again on the next day."""

import shlex
import socket
import stat

import httpx
import pytest

from tests.anthropic_events import message, text_block
from tests.cli.shell import Served, Shell
from tests.events import JSON
from tests.gemini_answers import MODEL, answers, piece
from tests.patience import PATIENCE_SECONDS
from tests.provider import Provider


async def pasted(served: Served) -> httpx.Response:
    """Do what the printed curl line would, without needing curl."""
    line = next(line for line in served.lines if line.startswith("curl "))
    words = shlex.split(line)
    headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
        return await client.post(words[1], headers=headers, content=words[words.index("-d") + 1])


def admin_keys(served: Served) -> list[str]:
    return [line.strip() for line in served.lines if line.strip().startswith("sk-gw-admin-")]


async def test_quickstart_run_twice_prints_a_line_that_works_and_the_admin_key_once(shell: Shell) -> None:
    async with shell.serving("quickstart") as first:
        answer = await pasted(first)
        assert answer.status_code == 200
        assert "demo upstream" in answer.json()["choices"][0]["message"]["content"]
        assert any("DEMO" in line for line in first.lines)
        (admin_key,) = admin_keys(first)
        listed = await first.get("/v1/organization/projects", admin_key)
        assert [project["name"] for project in listed.json()["data"]] == ["Quickstart"]
        assert (await first.stop()).strip() == ""

    key_file = shell.folder / "data" / "quickstart-key"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    async with shell.serving("quickstart") as second:
        assert (await pasted(second)).status_code == 200
        assert key_file.read_text().strip() in next(line for line in second.lines if line.startswith("curl "))
        assert admin_keys(second) == []
    assert [line for line in first.lines + second.lines if line.startswith("{")] == []


@pytest.mark.parametrize("prefix", ["/claude", "/google"])
async def test_quickstart_demo_answers_openais_clients_in_translation(shell: Shell, prefix: str) -> None:
    async with (
        shell.serving("quickstart") as served,
        httpx.AsyncClient(base_url=served.url, timeout=PATIENCE_SECONDS) as client,
    ):
        key = (shell.folder / "data" / "quickstart-key").read_text().strip()
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
        headers = {"authorization": f"Bearer {key}"}
        answer = await client.post(f"{prefix}/v1/chat/completions", json=body, headers=headers)
        assert answer.json()["choices"][0]["message"]["content"].endswith("You said: Hello")


async def test_quickstart_admin_key_is_printed_though_the_port_is_taken(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = await shell.run("quickstart", GATEWAY_PORT=str(taken.getsockname()[1]))
    assert done.exit_code == 3
    assert "GATEWAY_PORT" in done.errors
    (admin_key,) = (line.strip() for line in done.output.splitlines() if line.strip().startswith("sk-gw-admin-"))
    async with shell.serving("quickstart") as served:
        assert (await served.get("/v1/organization/projects", admin_key)).status_code == 200
        assert admin_keys(served) == []


async def test_quickstart_kept_key_that_opens_nothing_is_replaced(shell: Shell) -> None:
    async with shell.serving("quickstart"):
        (key,) = await shell.ask_list("keys", "list")
        await shell.ask("keys", "delete", str(key["id"]))
    async with shell.serving("quickstart") as again:
        assert (await pasted(again)).status_code == 200


async def test_quickstart_provider_key_set_calls_the_provider(shell: Shell, provider: Provider) -> None:
    provider.chat("Hello from the provider")
    variables = {"OPENAI_API_KEY": "sk-provider", "OPENAI_BASE_URL": provider.base_url}
    async with shell.serving("quickstart", **variables) as served:
        assert (await pasted(served)).json()["choices"][0]["message"]["content"] == "Hello from the provider"
        assert "Calls go to: openai." in served.lines
    assert (await provider.request()).header("authorization") == "Bearer sk-provider"


async def test_quickstart_with_anthropics_key_alone_asks_as_anthropics_clients_do(
    shell: Shell, provider: Provider
) -> None:
    provider.answer(200, JSON, message(text_block("Hello from Claude")))
    variables = {"ANTHROPIC_API_KEY": "sk-provider", "ANTHROPIC_BASE_URL": provider.url}
    async with shell.serving("quickstart", **variables) as served:
        assert (await pasted(served)).json()["content"][0]["text"] == "Hello from Claude"
        assert "Calls go to: anthropic." in served.lines
    asked = await provider.request()
    assert (asked.path, asked.header("x-api-key")) == ("/v1/messages", "sk-provider")


async def test_quickstart_with_googles_key_alone_works_as_it_is_printed(shell: Shell, provider: Provider) -> None:
    answers(provider, piece({"text": "Hello from Gemini"}, finish="STOP"))
    variables = {"GEMINI_API_KEY": "provider-key", "GEMINI_BASE_URL": provider.url}
    async with shell.serving("quickstart", **variables) as served:
        assert (await pasted(served)).json()["choices"][0]["message"]["content"] == "Hello from Gemini"
        assert "Calls go to: gemini." in served.lines
    asked = await provider.request()
    assert (asked.path, asked.header("x-goog-api-key")) == (f"/v1beta/models/{MODEL}:generateContent", "provider-key")


async def test_quickstart_configuration_without_upstreams_is_refused(shell: Shell) -> None:
    (shell.folder / "gateway.toml").write_text('[models]\nfast = "gpt-4o-mini"\n')
    done = await shell.run("quickstart", GATEWAY_CONFIG="gateway.toml")
    assert (done.exit_code, done.output) == (3, "")
    assert "[[upstreams]]" in done.errors
    assert "unset GATEWAY_CONFIG" in done.errors


async def test_quickstart_in_another_folder_prints_a_usage_command_that_finds_it(shell: Shell) -> None:
    async with shell.serving("quickstart", GATEWAY_DATA_DIR="my data") as served:
        assert "GATEWAY_DATA_DIR='my data' " in served.lines[-1]
