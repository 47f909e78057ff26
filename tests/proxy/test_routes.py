"""What is served and what is not, and what is true of every URL of the data plane."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import openai
import pytest

from gateway.core.upstreams import Upstream
from gateway.settings import CatalogSettings
from tests.events import JSON
from tests.gateway import MODEL, RunningGateway, bearer, chat_body, running_gateway
from tests.patience import PATIENCE_SECONDS
from tests.provider import Provider

MODELS = json.dumps(
    {"object": "list", "data": [{"id": name, "object": "model", "created": 1, "owned_by": "them"} for name in
                                ("gpt-4o", "gpt-4o-mini", "o3", "org/own-model")]}
).encode()  # fmt: skip


NOT_SERVED = [
    ("GET", "/"),
    ("GET", "/v1/chat/completions"),
    ("PUT", "/v1/chat/completions"),
    ("DELETE", "/v1/chat/completions"),
    ("POST", "/v1/chat/completions/"),
    ("POST", "/v1/chat/completions/x"),
    ("POST", "/chat/completions"),
    ("POST", "/openai/openai/v1/chat/completions"),
    ("POST", "//v1/chat/completions"),
    ("POST", "/v1/../v1/chat/completions"),
    ("POST", "/v1%2fchat%2Fcompletions"),
    ("POST", "/v1/chat/complet%69ons"),
    ("GET", "/v1%2Fmodels"),
    ("GET", "/v1/responses/resp_1%2finput_items"),
    ("GET", "/v1/organization%2Fprojects"),
    ("POST", "/v1/models"),
    ("POST", "/v1/responses/resp_1"),
    ("GET", "/v1/responses"),
    ("GET", "/v1/responses/resp_1/cancel"),
    ("GET", "/v1/responses/resp_1/nothing"),
    ("PUT", "/v1/files"),
    ("GET", "/v1/conversations"),
    ("POST", "/v1/fine_tuning/jobs"),
    ("POST", "/v1/assistants"),
    ("GET", "/openai/v1/containers"),
    ("POST", "/v1/realtime/sessions"),
    ("OPTIONS", "/v1/chat/completions"),
]


async def test_route_that_is_not_in_the_table_is_not_served(gateway: RunningGateway) -> None:
    key = await gateway.key()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    for method, path in NOT_SERVED:
        head = f"{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: 2\r\n\r\n"
        writer.write(head.encode() + b"{}")
        answer = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)).decode()
        assert answer.startswith("HTTP/1.1 404"), (method, path)
        length = int(next(line for line in answer.splitlines() if line.startswith("content-length")).split(":")[1])
        error = json.loads(await reader.readexactly(length))["error"]
        assert (error["code"], error["type"]) == ("route_not_served", "invalid_request_error"), (method, path)
        assert "x-request-id" in answer
    writer.close()


@pytest.mark.parametrize("path", ["/v1/files", "/v1/files/file_1", "/v1/files/file_1/content", "/v1/batches"])
async def test_files_and_batches_of_openais_are_not_served_to_clients_of_other_dialects(
    gateway: RunningGateway, path: str
) -> None:
    key = await gateway.key()
    claude = await gateway.http.get(path, headers=bearer(key) | {"anthropic-version": "2023-06-01"})
    assert (claude.status_code, claude.json()["error"]["type"]) == (404, "not_found_error")
    gemini = await gateway.http.get(path, headers={"x-goog-api-key": key})
    assert (gemini.status_code, gemini.json()["error"]["status"]) == (404, "NOT_FOUND")
    assert all("is not served" in answer.json()["error"]["message"] for answer in (claude, gemini))


async def test_websocket_upgrade_is_not_served(gateway: RunningGateway) -> None:
    key = await gateway.key()
    headers = bearer(key) | {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    refused = await gateway.http.get("/v1/realtime?model=gpt-4o-realtime", headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "route_not_served")


CLIMBING = [
    ("GET", "/v1/responses/%2e%2e"),
    ("GET", "/v1/responses/..%2fmodels"),
    ("GET", "/v1/responses/%2e%2e%2fmodels"),
    ("DELETE", "/v1/responses/resp_1%3Fx"),
    ("DELETE", "/v1/responses/resp_1%00"),
    ("GET", "/v1/responses/resp_1%0d%0aX:%20y"),
    ("GET", "/v1/responses/resp_1%252f.."),
]


async def test_path_that_tries_to_climb_reaches_no_provider(gateway: RunningGateway) -> None:
    key = await gateway.key()
    for method, path in CLIMBING:
        refused = await gateway.http.request(method, path, headers=bearer(key))
        assert refused.status_code == 404, path
        assert refused.json()["error"]["code"] in ("route_not_served", "not_found", None)
    assert gateway.provider.requests == []


async def test_query_that_tries_to_split_the_request_is_refused(gateway: RunningGateway) -> None:
    key = await gateway.key()
    refused = await gateway.http.get("/v1/responses/resp_1?a=%0d%0ab<>", headers=bearer(key))
    assert refused.status_code in (400, 404)
    assert gateway.provider.requests == []


async def test_host_header_never_decides_who_may_administer(gateway: RunningGateway) -> None:
    key = await gateway.key()
    for host in ("x/?", "x/v1/organization", "x#", "x@y", "[::1", ""):
        refused = await gateway.http.get("/v1/organization/projects", headers={"host": host, **bearer(key)})
        assert refused.status_code == 403, host


async def test_models_are_those_the_key_may_call(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, JSON, MODELS)
    client = gateway.openai(await gateway.key(models=["gpt-4o*", "org/*"]))
    listed = [model.id async for model in await client.models.list()]
    assert listed == ["gpt-4o", "gpt-4o-mini", "org/own-model"]
    assert (await client.models.retrieve("gpt-4o")).owned_by == "them"
    assert (await client.models.retrieve("org/own-model")).id == "org/own-model"
    with pytest.raises(openai.NotFoundError) as raised:
        await client.models.retrieve("o3")
    assert raised.value.code == "model_not_found"
    under_prefix = gateway.openai(await gateway.key(), prefix="/openai")
    assert len((await under_prefix.models.list()).data) == 4


async def test_models_of_an_upstream_without_a_list_are_those_it_names(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    def named(main: Upstream) -> Upstream:
        return replace(main, models=("own-model", "gpt-*"))

    provider.answer(404, JSON, b"{}")
    catalog = CatalogSettings(aliases={"fast": "own-model"})
    async with running_gateway(sqlite_url, provider, tmp_path, upstream=named, catalog=catalog) as gateway:
        client = gateway.openai(await gateway.key())
        assert [model.id async for model in await client.models.list()] == ["fast", "own-model"]


async def test_models_that_nobody_can_list_are_an_error(gateway: RunningGateway) -> None:
    gateway.provider.answer(500, JSON, b"{}")
    refused = await gateway.http.get("/v1/models", headers=bearer(await gateway.key()))
    assert (refused.status_code, refused.json()["error"]["code"]) == (502, "upstream_unreachable")


async def test_models_without_a_key_are_refused(gateway: RunningGateway) -> None:
    refused = await gateway.http.get("/v1/models")
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_request_that_came_from_a_gateway_is_refused_as_a_loop(gateway: RunningGateway) -> None:
    gateway.provider.chat("Hello")
    key = await gateway.key()
    await gateway.chat(key)
    hop = dict((await gateway.provider.request()).headers)
    ours = {name: value for name, value in hop.items() if name.startswith("x-gateway")}
    assert ours
    refused = await gateway.post(key, "/v1/chat/completions", chat_body(), **ours)
    assert (refused.status_code, refused.json()["error"]["code"]) == (508, "loop_detected")
    assert refused.headers["x-should-retry"] == "false"
    assert len(await gateway.usage()) == 1


async def test_alias_is_called_by_its_name_and_both_are_on_the_ledger(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    provider.chat("Hello")
    catalog = CatalogSettings(aliases={"fast": MODEL})
    async with running_gateway(sqlite_url, provider, tmp_path, catalog=catalog) as gateway:
        body = b'{ "messages":[{"role":"user","content":"\\u00e9 \xc3\xa9"}],\n"model" : "fast", "temperature": 1.0e0}'
        answer = await gateway.post(await gateway.key(), "/v1/chat/completions", body)
        assert answer.status_code == 200
        sent = (await provider.request()).body
        assert json.loads(sent) == json.loads(body) | {"model": MODEL}
        assert b'[{"role":"user","content":"\\u00e9 \xc3\xa9"}]' in sent and b"1.0e0" in sent
        row = await gateway.charged()
        assert (row.model, row.requested_model) == (MODEL, "fast")


async def test_request_ids_are_ours_on_every_answer_and_the_clients_own_is_kept(gateway: RunningGateway) -> None:
    gateway.provider.chat("Hello")
    key = await gateway.key()
    answer = await gateway.post(key, "/v1/chat/completions", chat_body(), **{"x-request-id": "mine-1"})
    refused = await gateway.http.get("/nothing")
    row = await gateway.charged()
    assert answer.headers["x-request-id"] == row.request_id and row.client_request_id == "mine-1"
    assert refused.headers["x-request-id"].startswith("req_")
    assert answer.headers["x-gateway-cost-usd"] == "0.0000045"


async def test_preflight_is_answered_without_a_key(gateway: RunningGateway) -> None:
    asked = {
        "origin": "https://app.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-stainless-os",
    }
    answer = await gateway.http.options("/v1/chat/completions", headers=asked)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "x-stainless-os" in answer.headers["access-control-allow-headers"]
    gateway.provider.chat("Hello")
    page = await gateway.post(await gateway.key(), "/v1/chat/completions", chat_body(), origin="https://app.example")
    assert page.headers.get_list("access-control-allow-origin") == ["*"]
    assert "x-ratelimit-limit-requests" in page.headers["access-control-expose-headers"]


async def test_outbound_headers_are_the_providers_key_and_nothing_of_the_clients(gateway: RunningGateway) -> None:
    gateway.provider.chat("Hello")
    key = await gateway.key()
    headers = {
        "cookie": "a=b",
        "openai-organization": "org-1",
        "openai-project": "proj-1",
        "x-forwarded-for": "10.0.0.1",
        "openai-beta": "x=1",
        "x-stainless-os": "Linux",
        "user-agent": "mine/1",
    }
    await gateway.post(key, "/v1/chat/completions", chat_body(), **headers)
    sent = await gateway.provider.request()
    assert sent.header("authorization") == "Bearer sk-provider-0123456789abcdef"
    assert sent.header("openai-beta") == "x=1" and sent.header("user-agent") == "mine/1"
    for name in ("cookie", "openai-organization", "openai-project", "x-forwarded-for", "x-stainless-os", "x-api-key"):
        assert sent.header(name) is None
    assert key not in str(sent.headers)


async def test_inbound_headers_leave_the_providers_own_affairs_out(gateway: RunningGateway) -> None:
    headers = {
        **JSON,
        "set-cookie": "__cf_bm=1",
        "openai-organization": "org-1",
        "x-ratelimit-limit-requests": "9999",
        "openai-processing-ms": "12",
        "connection": "keep-alive",
        "x-request-id": "req_theirs",
    }
    gateway.provider.answer(200, headers, b'{"choices":[]}')
    answer = await gateway.chat(await gateway.key())
    assert answer.headers["openai-processing-ms"] == "12"
    for name in ("set-cookie", "openai-organization", "x-ratelimit-limit-requests"):
        assert name not in answer.headers
    assert answer.headers["x-request-id"].startswith("req_") and answer.headers["x-request-id"] != "req_theirs"
    assert (await gateway.charged()).upstream_request_id == "req_theirs"


async def test_second_upstream_takes_the_call_when_the_first_cannot_be_reached(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    provider.chat("Hello")
    spare = Upstream("spare", "openai", provider.base_url, "sk-spare-0123456789")
    catalog = CatalogSettings(upstreams=(spare,))

    def nowhere(main: Upstream) -> Upstream:
        return Upstream(main.name, main.provider, "http://127.0.0.1:1/v1", main.api_key)

    async with running_gateway(sqlite_url, provider, tmp_path, upstream=nowhere, catalog=catalog) as gateway:
        assert (await gateway.chat(await gateway.key())).status_code == 200
        assert (await gateway.charged()).upstream == "spare"
