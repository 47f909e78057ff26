"""Azure OpenAI as an upstream: deployments in the path, its own key header, its content filter's chunks."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.core.upstreams import Upstream
from gateway.settings import CatalogSettings
from tests.events import DONE, EVENT_STREAM, JSON, chunk, completion, event, response, usage, usage_chunk
from tests.gateway import PROVIDER_KEY, RunningGateway, chat_body, running_gateway
from tests.provider import Provider, Request

VERSION = "2024-10-21"
DEPLOYMENTS = (("gpt-4o-mini", "team-mini"), ("text-embedding-3-small", "embed"))


@pytest.fixture
async def azure(sqlite_url: str, provider: Provider, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A gateway in front of Azure's API with versions; `fast` is an alias."""

    def with_versions(main: Upstream) -> Upstream:
        names = tuple(name for name, _ in DEPLOYMENTS)
        return replace(main, provider="azure", base_url=provider.url, api_version=VERSION, deployments=DEPLOYMENTS,
                       models=names)  # fmt: skip

    catalog = CatalogSettings(aliases={"fast": "gpt-4o-mini"})
    async with running_gateway(sqlite_url, provider, tmp_path, upstream=with_versions, catalog=catalog) as running:
        yield running


async def sent(gateway: RunningGateway) -> Request:
    request = await gateway.provider.request()
    assert (request.header("api-key"), request.header("authorization")) == (PROVIDER_KEY, None)
    return request


@pytest.mark.parametrize("model", ["gpt-4o-mini", "fast"])
async def test_chat_goes_to_the_models_deployment_and_keeps_its_name_and_price(
    azure: RunningGateway, model: str
) -> None:
    azure.provider.answer(200, JSON, completion("Hello", model="gpt-4o-mini-2024-07-18"))
    client = azure.openai(await azure.key())
    answer = await client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hi"}])
    assert answer.choices[0].message.content == "Hello"
    request = await sent(azure)
    assert request.path == f"/openai/deployments/team-mini/chat/completions?api-version={VERSION}"
    assert request.json()["model"] == "team-mini"
    row = await azure.charged()
    assert (row.model, row.requested_model, row.cost_nano_usd) == ("gpt-4o-mini", model, 10 * 150 + 5 * 600)


async def test_stream_with_the_content_filters_chunks_comes_as_it_was(azure: RunningGateway) -> None:
    filtered = event({"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": [
        {"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}]})  # fmt: skip
    shown = [filtered, chunk("Hel", usage=None), chunk("lo", usage=None), chunk(finish="stop", usage=None)]
    azure.provider.answer(200, EVENT_STREAM, [*shown, usage_chunk(12, 3), DONE], framing="chunked")
    answer = await azure.post(await azure.key(), "/v1/chat/completions", chat_body(stream=True))
    assert answer.content == b"".join(shown) + DONE
    assert (await sent(azure)).json()["stream_options"] == {"include_usage": True}
    row = await azure.charged()
    assert (row.input_tokens, row.output_tokens, row.source) == (12, 3, "reported")


async def test_embeddings_have_a_deployment_and_responses_have_it_in_the_body(azure: RunningGateway) -> None:
    client = azure.openai(await azure.key())
    vectors = {"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]}
    azure.provider.answer(200, JSON, json.dumps({**vectors, "usage": usage(4, 0)}).encode())
    await client.embeddings.create(model="text-embedding-3-small", input="Hi", encoding_format="float")
    assert (await sent(azure)).path == f"/openai/deployments/embed/embeddings?api-version={VERSION}"
    azure.provider.answer(200, JSON, json.dumps(response("resp_1")).encode())
    azure.provider.answer(200, JSON, json.dumps(response("resp_1")).encode())
    await client.responses.create(model="gpt-4o-mini", input="Hi")
    request = await sent(azure)
    assert (request.path, request.json()["model"]) == (f"/openai/responses?api-version={VERSION}", "team-mini")
    await client.responses.retrieve("resp_1", include=["reasoning.encrypted_content"])
    path, _, query = (await sent(azure)).path.partition("?")
    assert path == "/openai/responses/resp_1"
    assert query.startswith("include") and query.endswith(f"&api-version={VERSION}")


async def test_models_are_what_is_deployed(azure: RunningGateway) -> None:
    client = azure.openai(await azure.key())
    assert [model.id async for model in await client.models.list()] == ["fast", *(name for name, _ in DEPLOYMENTS)]


AZURES: list[tuple[int, dict[str, Any], int]] = [
    (401, {"code": "401", "message": "Access denied due to invalid subscription key or wrong API endpoint."}, 502),
    (404, {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}, 404),
    (429, {"code": "429", "message": "Requests have exceeded token rate limit. Please retry after 7 seconds."}, 429),
    (400, {"code": "content_filter", "message": "The response was filtered.", "innererror": {}}, 400),
]


@pytest.mark.parametrize(("status", "error", "told"), AZURES, ids=[str(status) for status, _, _ in AZURES])
async def test_errors_of_azure_reach_the_caller_but_for_those_of_our_account(
    azure: RunningGateway, status: int, error: dict[str, Any], told: int
) -> None:
    azure.provider.answer(status, JSON, json.dumps({"error": error}).encode())
    client = azure.openai(await azure.key())
    with pytest.raises(openai.APIStatusError) as raised:
        await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hi"}])
    assert raised.value.status_code == told
    assert (error["message"] in str(raised.value)) == (told == status)
    assert (await azure.charged()).cost_nano_usd == 0


async def test_newer_api_of_azure_has_the_deployment_in_the_body(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    def newer(main: Upstream) -> Upstream:
        base_url = f"{provider.url}/openai/v1"
        return replace(main, provider="azure", base_url=base_url, api_version="preview", deployments=DEPLOYMENTS)

    async with running_gateway(sqlite_url, provider, tmp_path, upstream=newer) as gateway:
        provider.answer(200, JSON, completion("Hello"))
        assert (await gateway.chat(await gateway.key())).status_code == 200
        request = await sent(gateway)
        assert request.path == "/openai/v1/chat/completions?api-version=preview"
        assert request.json()["model"] == "team-mini"
