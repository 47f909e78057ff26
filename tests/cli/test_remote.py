"""Data commands with --url: the same answers, from a running gateway and with an admin key."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.admin import admin_api_keys, api_keys, limits, projects, users
from gateway.cli.failures import CommandError
from gateway.cli.remote import KEY_VARIABLE, RemoteOffice
from gateway.cli.tallies import buckets, tally, total
from gateway.core.errors import Forbidden, GatewayError, InvalidRequest, NotFound
from tests.cli.shell import Shell
from tests.gateway import RunningGateway


async def office_of(gateway: RunningGateway) -> RemoteOffice:
    return RemoteOffice.at(f"{gateway.url}/v1", {KEY_VARIABLE: await gateway.admin_key()})


async def test_remote_office_answers_as_the_database_would(gateway: RunningGateway) -> None:
    office = await office_of(gateway)
    made = await office.ask(projects.create_project, body={"name": "Search & <co>"})
    assert await office.project("Search & <co>") == made
    user = await office.ask(users.create_user, body={"email": "Ann+1@example.com", "name": "Änn", "role": None})
    assert await office.user("ann+1@example.com") == user
    body = {"name": "k", "user_id": user.id, "limits": [{"metric": "cost", "interval": "month", "amount": "2.5"}]}
    key = await office.ask(api_keys.create_api_key, {"project_id": made.id}, body=body)
    assert (key.value[:6], key.limits[0].amount) == ("sk-gw-", "2.5")
    assert await office.project_of_key(key.id) == made.id
    found = await office.list_all(limits.list_limits, query={"scope": "api_key", "scope_id": key.id})
    assert [limit.amount for limit in found] == ["2.5"]
    await gateway.audit()


async def test_remote_office_lists_every_page(gateway: RunningGateway) -> None:
    office = await office_of(gateway)
    for number in range(103):
        await office.ask(users.create_user, body={"email": f"u{number}@example.com", "name": f"U {number}"})
    assert len(await office.list_all(users.list_users)) == 103


async def test_remote_tallies_are_exact(gateway: RunningGateway) -> None:
    office = await office_of(gateway)
    key = await gateway.key()
    for _ in range(3):
        gateway.provider.chat("Hello")
        assert (await gateway.chat(key)).status_code == 200
    rows = await gateway.usage(3)
    day = rows[0].admitted_at_us // 86_400_000_000 * 86_400
    found = [total(map(tally, one.results)) async for one in buckets(office, day - 40 * 86_400, day + 86_400, {})]
    assert len(found) == 41
    assert found[-1].cost_nano_usd == sum(row.cost_nano_usd for row in rows) > 0
    assert (found[-1].requests, found[-1].tokens) == (3, sum(row.input_tokens + row.output_tokens for row in rows))


async def test_remote_office_tells_what_the_gateway_refused(gateway: RunningGateway) -> None:
    office = await office_of(gateway)
    with pytest.raises(NotFound, match="There is no user user_none"):
        await office.user("user_none")
    with pytest.raises(InvalidRequest, match="e-mail") as wrong:
        await office.ask(users.create_user, body={"email": "nobody", "name": "x"})
    assert wrong.value.status == 400
    await office.ask(users.create_user, body={"email": "a@example.com", "name": "x"})
    with pytest.raises(GatewayError, match="already") as taken:
        await office.ask(users.create_user, body={"email": "a@example.com", "name": "x"})
    assert taken.value.status == 409
    with pytest.raises(NotFound):
        await office.project_of_key("key_none")
    member = RemoteOffice.at(gateway.url, {KEY_VARIABLE: await gateway.key()})
    with pytest.raises(GatewayError) as closed:
        await member.ask(admin_api_keys.list_admin_keys)
    assert (closed.value.status, closed.value.code) == (403, Forbidden("x", code="insufficient_permissions").code)


async def test_remote_office_follows_no_redirect_and_reads_no_strangers_page() -> None:
    for answer in (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
                   b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>",
                   b"SSH-2.0-OpenSSH_9.6\r\n"):  # fmt: skip
        async with listening(answer) as url:
            with pytest.raises(CommandError, match="answer"):
                await RemoteOffice.at(url, {KEY_VARIABLE: "k" * 40}).ask(projects.list_projects)


@pytest.mark.parametrize(
    ("url", "key", "words"),
    [
        ("gateway.example.com", "k", "is not like https://"),
        ("ftp://gateway.example.com", "k", "is not like https://"),
        ("http://", "k", "is not like https://"),
        ("https://user:password@gateway.example.com", "k", "is not like https://"),
        ("https://gateway.example.com", "", "GATEWAY_ADMIN_KEY"),
    ],
)
def test_remote_office_that_cannot_be_is_refused_in_words(url: str, key: str, words: str) -> None:
    with pytest.raises(CommandError, match=words) as refused:
        RemoteOffice.at(url, {KEY_VARIABLE: key})
    assert refused.value.exit_code == 2


async def test_command_with_a_url_needs_no_database(gateway: RunningGateway, shell: Shell) -> None:
    variables = {KEY_VARIABLE: await gateway.admin_key()}
    made = await shell.run("projects", "create", "=Team", "--json", "--url", gateway.url, **variables)
    assert json.loads(made.output)["name"] == "=Team"
    listed = await shell.run("projects", "list", "--csv", "--url", gateway.url, **variables)
    (row,) = csv.DictReader(io.StringIO(listed.output))
    assert (row["id"], row["name"]) == (json.loads(made.output)["id"], "'=Team")
    nobody = await shell.run("projects", "list", "--url", "http://127.0.0.1:9", **variables)
    assert (nobody.exit_code, nobody.output) == (1, "")
    assert "No gateway answers at 127.0.0.1:9" in nobody.errors
    assert not (shell.folder / "data").exists()


@asynccontextmanager
async def listening(answer: bytes) -> AsyncIterator[str]:
    """Somebody who says this to everybody, and a URL for it."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
