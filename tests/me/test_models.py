"""Models as each dialect lists them: the same ones, in the shape that its SDK reads."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import pytest

from gateway.core.upstreams import Upstream
from gateway.settings import CatalogSettings
from tests.anthropic_events import claude, message
from tests.events import JSON, completion
from tests.gateway import RunningGateway, bearer, running_gateway
from tests.gemini_answers import gemini_gateway, sdk
from tests.provider import Provider, compose

NAMES = ["claude-a", "claude-b", "claude-c", "claude-d", "claude-e"]
LISTED: dict[str, Any] = {
    "data": [
        {"type": "model", "id": name, "display_name": name.title(), "created_at": "2026-01-02T03:04:05Z"}
        for name in NAMES
    ],
    "has_more": False,
}


@pytest.fixture
async def gateway(sqlite_url: str, provider: Provider, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A gateway in front of an Anthropic that lists five models once, with an alias for one of them."""
    catalog = CatalogSettings(aliases={"quick": "claude-a"})
    async with running_gateway(sqlite_url, provider, tmp_path, upstream=claude, catalog=catalog) as running:
        provider.answer(200, JSON, json.dumps(LISTED).encode())
        yield running


async def test_models_are_paged_as_anthropics_sdk_reads_them(gateway: RunningGateway) -> None:
    for prefix in ("", "/claude", "/anthropic"):
        client = gateway.anthropic(await gateway.key(), prefix)
        page = await client.models.list(limit=2)
        assert [model.id for model in page.data] == NAMES[:2]
        assert (page.has_more, page.first_id, page.last_id) == (True, "claude-a", "claude-b")
        assert [model.id async for model in page] == [*NAMES, "quick"]
        back = await client.models.list(limit=2, before_id="claude-d")
        assert ([model.id for model in back.data], back.has_more) == (["claude-b", "claude-c"], True)
        assert [model.id async for model in back] == ["claude-b", "claude-c", "claude-a"]
    assert len(gateway.provider.requests) == 1
    asked = await gateway.provider.request()
    assert (asked.path, asked.header("anthropic-version")) == ("/v1/models?limit=1000", "2023-06-01")


async def test_model_is_shown_if_the_key_may_call_it(gateway: RunningGateway) -> None:
    client = gateway.anthropic(await gateway.key(models=["claude-b"]))
    model = await client.models.retrieve("claude-b")
    assert (model.display_name, model.created_at.year, model.type) == ("Claude-B", 2026, "model")
    with pytest.raises(anthropic.NotFoundError) as raised:
        await client.models.retrieve("claude-a")
    assert raised.value.error_code == "model_not_found"
    assert [model.id async for model in await client.models.list()] == ["claude-b"]


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=9999", "limit=\u0662", "after_id=x", "before_id=x"])
async def test_page_that_cannot_be_is_refused(gateway: RunningGateway, query: str) -> None:
    headers = bearer(await gateway.key())
    answer = await gateway.http.get(f"/claude/v1/models?{query}", headers=headers)
    told = answer.json()
    assert (answer.status_code, told["error"]["type"]) == (400, "invalid_request_error")
    assert query.partition("=")[0] in told["error"]["message"]
    assert (await gateway.http.get("/claude/v1/models", headers=headers)).status_code == 200


async def test_list_at_the_root_has_the_shape_that_its_headers_ask_for(gateway: RunningGateway) -> None:
    headers = bearer(await gateway.key())
    plain = (await gateway.http.get("/v1/models", headers=headers)).json()
    told = (await gateway.http.get("/v1/models", headers={**headers, "anthropic-version": "2023-06-01"})).json()
    assert plain["data"][0] == {"id": "claude-a", "created": 1767323045, "owned_by": "anthropic", "object": "model"}
    assert told["data"][0]["display_name"] == "Claude-A"


async def test_models_without_a_key_are_refused_in_the_dialects_shape(gateway: RunningGateway) -> None:
    refused = await gateway.http.get("/claude/v1/models")
    assert (refused.status_code, refused.json()["error"]["type"]) == (401, "authentication_error")
    assert (await gateway.http.get("/claude/v1/models", headers=bearer(await gateway.key()))).status_code == 200


async def test_openais_clients_see_the_models_of_every_provider_that_they_can_ask(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    google = Upstream("google", "gemini", f"{provider.url}/google", "key", models=("gemini-*",))
    anthropics = Upstream("anthropic", "anthropic", f"{provider.url}/anthropic", "key", models=("claude-*",))
    lists = {
        "/v1/models": {"data": [{"id": "gpt-4o", "created": 7, "owned_by": "system"}]},
        "/google/v1beta/models?pageSize=1000": {"models": [{"name": "models/gemini-2.5-flash"}]},
        "/anthropic/v1/models?limit=1000": LISTED,
    }
    provider.always(lambda request: compose(200, JSON, json.dumps(lists[request.path]).encode()))
    catalog = CatalogSettings(upstreams=(anthropics, google))
    async with running_gateway(sqlite_url, provider, tmp_path, catalog=catalog) as running:
        listed = await running.openai(await running.key()).models.list()
        assert [model.id for model in listed.data] == [*NAMES, "gemini-2.5-flash", "gpt-4o"]
        provider.always(lambda request: compose(200, JSON, message() if "messages" in request.path else completion()))
        client = running.openai(await running.key())
        for model, path in (("claude-opus-5", "/anthropic/v1/messages"), ("gpt-4o", "/v1/chat/completions")):
            await client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hi"}])
            assert provider.requests[-1].path == path


async def test_anthropics_clients_see_the_models_of_others_that_converse(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    names = [
        "gpt-4o", "o4-mini", "text-embedding-3-small", "whisper-1", "gpt-4o-mini-tts", "gpt-4o-transcribe", "dall-e-3",
        "gpt-image-2", "omni-moderation-latest", "gpt-realtime", "davinci-002", "gpt-3.5-turbo-instruct", "llama-3-8b",
    ]  # fmt: skip
    provider.answer(200, JSON, json.dumps({"data": [{"id": name} for name in names]}).encode())
    async with running_gateway(sqlite_url, provider, tmp_path) as running:
        key = await running.key()
        seen = [model.id async for model in await running.anthropic(key).models.list()]
        assert seen == ["gpt-4o", "llama-3-8b", "o4-mini"]
        assert len((await running.openai(key).models.list()).data) == len(names)


GOOGLES: dict[str, Any] = {
    "models": [
        {
            "name": f"models/{name}",
            "displayName": name.upper(),
            "inputTokenLimit": 1_000,
            "outputTokenLimit": 100,
            "supportedGenerationMethods": [method],
        }
        for name, method in (
            ("gemini-a", "generateContent"),
            ("gemini-b", "generateContent"),
            ("gemini-embedding-c", "embedContent"),
            ("gemini-live-d", "bidiGenerateContent"),
        )
    ]
}


@pytest.fixture
async def google(sqlite_url: str, provider: Provider, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A gateway in front of a Google that lists four models once, one of which no route asks, with an alias."""
    catalog = CatalogSettings(aliases={"quick": "gemini-a"})
    async with gemini_gateway(sqlite_url, provider, tmp_path, catalog=catalog) as running:
        provider.answer(200, JSON, json.dumps(GOOGLES).encode())
        yield running


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
async def test_models_are_paged_as_googles_sdk_reads_them(google: RunningGateway) -> None:
    names = ["gemini-a", "gemini-b", "gemini-embedding-c", "quick"]
    key = await google.key()
    for prefix in ("", "/google", "/gemini"):
        for version in ("v1", "v1beta"):
            client = sdk(google, key, version, prefix).aio.models
            pages = await client.list(config={"page_size": 2})
            assert [model.name for model in pages.page] == ["models/gemini-a", "models/gemini-b"]
            assert [model.name async for model in await client.list(config={"page_size": 3})] == [
                f"models/{name}" for name in names
            ]
    client = sdk(google, key).aio.models
    model = await client.get(model="gemini-embedding-c")
    assert (model.display_name, model.input_token_limit, model.output_token_limit, model.supported_actions) == (
        "GEMINI-EMBEDDING-C", 1_000, 100, ["embedContent"],
    )  # fmt: skip
    assert (await client.get(model="quick")).input_token_limit == 1_000
    assert len(google.provider.requests) == 1


async def test_models_at_the_root_have_the_shape_that_the_key_comes_in(google: RunningGateway) -> None:
    key = await google.key(models=["gemini-b"])
    shapes = [
        (await google.http.get(path, headers=headers)).json()
        for path, headers in (
            ("/v1/models", {"x-goog-api-key": key}),
            (f"/v1/models?key={key}", {}),
            ("/v1beta/models", bearer(key)),
        )
    ]
    assert [[model["name"] for model in shape["models"]] for shape in shapes] == [["models/gemini-b"]] * 3
    assert (await google.http.get("/v1/models", headers=bearer(key))).json()["data"][0]["id"] == "gemini-b"
    for path, status, word in (
        (f"/v1beta/models/gemini-a?key={key}", 404, "NOT_FOUND"),
        (f"/v1beta/models?key={key}&pageSize=x", 400, "INVALID_ARGUMENT"),
        ("/v1beta/models", 401, "UNAUTHENTICATED"),
        (f"/v1beta/models?key={key[:-1]}", 401, "UNAUTHENTICATED"),
    ):
        refused = await google.http.get(path)
        assert (refused.status_code, refused.json()["error"]["status"]) == (status, word)
        assert key[:-1] not in refused.text
