"""Google's own SDK against the gateway, as if it were Google."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.genai import errors, types
from pydantic import BaseModel

from gateway.core.limits import Interval, Metric
from gateway.settings import CatalogSettings
from tests.gateway import PROVIDER_KEY, RunningGateway
from tests.gemini_answers import (
    MODEL,
    answers,
    figures,
    gemini_gateway,
    piece,
    refuses,
    sdk,
    streams,
    words,
)
from tests.provider import Provider

# google-genai derives from aiohttp's ClientSession, which aiohttp discourages.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")


@pytest.fixture
async def google(sqlite_url: str, provider: Provider, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A gateway in front of Google; `fast` is an alias."""
    catalog = CatalogSettings(aliases={"fast": MODEL})
    async with gemini_gateway(sqlite_url, provider, tmp_path, catalog=catalog) as running:
        yield running


async def sent(gateway: RunningGateway) -> Any:
    """What the provider got."""
    request = await gateway.provider.request()
    assert request.header("x-goog-api-key") == PROVIDER_KEY
    return request


async def test_sdk_generates_and_is_charged_by_googles_figures(google: RunningGateway) -> None:
    usage = figures(100, 7, thoughtsTokenCount=30, toolUsePromptTokenCount=20, cachedContentTokenCount=40)
    answers(google.provider, piece({"text": "Hello"}, finish="STOP", usage=usage))
    answer = await sdk(google, await google.key()).aio.models.generate_content(model=MODEL, contents="Hi")
    assert answer.text == "Hello"
    request = await sent(google)
    assert (request.method, request.path) == ("POST", f"/v1/models/{MODEL}:generateContent")
    row = await google.charged()
    assert (row.operation, row.model, row.source, row.outcome) == ("generate_content", MODEL, "reported", "completed")
    assert (row.input_tokens, row.cached_tokens, row.output_tokens, row.reasoning_tokens) == (120, 40, 37, 30)
    # 80 fresh at 0.30, 40 cached at 0.03 and 37 written at 2.50 USD per million.
    assert row.cost_nano_usd == 24_000 + 1_200 + 92_500
    assert answer.sdk_http_response is not None and answer.sdk_http_response.headers is not None
    assert answer.sdk_http_response.headers["x-gateway-cost-usd"] == "0.0001177"


@pytest.mark.parametrize("version", ["v1", "v1beta"])
@pytest.mark.parametrize("prefix", ["", "/google", "/gemini"])
async def test_sdk_of_any_version_works_at_the_root_and_below_a_prefix(
    google: RunningGateway, version: str, prefix: str
) -> None:
    answers(google.provider, piece({"text": "Hello"}))
    client = sdk(google, await google.key(), version, prefix)
    assert (await client.aio.models.generate_content(model=MODEL, contents="Hi")).text == "Hello"
    assert (await sent(google)).path == f"/{version}/models/{MODEL}:generateContent"


async def test_sdk_that_is_not_async_works_too(google: RunningGateway) -> None:
    answers(google.provider, piece({"text": "Hello"}))
    client = sdk(google, await google.key())
    answer = await asyncio.to_thread(client.models.generate_content, model=MODEL, contents="Hi")
    assert answer.text == "Hello"
    streams(google.provider, words("Hel", "lo"))

    def streamed() -> str:
        return "".join(each.text or "" for each in client.models.generate_content_stream(model=MODEL, contents="Hi"))

    assert await asyncio.to_thread(streamed) == "Hello"


async def test_sdk_streams_and_is_charged_by_the_last_figures(google: RunningGateway) -> None:
    streams(google.provider, words("Hel", "lo ", "there"))
    client = sdk(google, await google.key())
    stream = await client.aio.models.generate_content_stream(model=MODEL, contents="Hi")
    assert [each.text async for each in stream] == ["Hel", "lo ", "there"]
    assert (await sent(google)).path == f"/v1/models/{MODEL}:streamGenerateContent?alt=sse"
    row = await google.charged()
    assert (row.input_tokens, row.output_tokens, row.source) == (10, 3, "reported")


async def test_sdk_chats_with_history(google: RunningGateway) -> None:
    chat = sdk(google, await google.key()).aio.chats.create(model=MODEL)
    answers(google.provider, piece({"text": "Hello"}, finish="STOP"))
    assert (await chat.send_message("Hi")).text == "Hello"
    streams(google.provider, words("I am ", "well"))
    assert [each.text async for each in await chat.send_message_stream("How are you?")] == ["I am ", "well"]
    await sent(google)
    history = (await sent(google)).json()["contents"]
    assert [turn["role"] for turn in history] == ["user", "model", "user"]
    assert len(await google.usage(2)) == 2


async def test_sdk_calls_functions_by_itself(google: RunningGateway) -> None:
    def capital(country: str) -> str:
        """The capital of a country."""
        return {"France": "Paris"}[country]

    signed = {"functionCall": {"name": "capital", "args": {"country": "France"}}, "thoughtSignature": "c2lnbmVk"}
    answers(google.provider, piece(signed, finish="STOP"))
    answers(google.provider, piece({"text": "Paris."}, finish="STOP"))
    config = types.GenerateContentConfig(tools=[capital])
    client = sdk(google, await google.key())
    answer = await client.aio.models.generate_content(model=MODEL, contents="Of France?", config=config)
    assert answer.text == "Paris."
    assert (await sent(google)).json()["tools"][0]["functionDeclarations"][0]["name"] == "capital"
    _, called, answered = (await sent(google)).json()["contents"]
    assert called["parts"][0]["thoughtSignature"] == "c2lnbmVk"
    assert answered["parts"][0]["functionResponse"]["response"] == {"result": "Paris"}


async def test_sdk_gets_structured_output(google: RunningGateway) -> None:
    class City(BaseModel):
        name: str
        people: int

    answers(google.provider, piece({"text": '{"name": "Paris", "people": 2000000}'}, finish="STOP"))
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=City)
    client = sdk(google, await google.key())
    answer = await client.aio.models.generate_content(model=MODEL, contents="A city", config=config)
    assert answer.parsed == City(name="Paris", people=2_000_000)
    assert (await sent(google)).json()["generationConfig"]["responseMimeType"] == "application/json"


async def test_sdk_counts_tokens_for_nothing(google: RunningGateway) -> None:
    google.provider.answer(200, {"content-type": "application/json"}, b'{"totalTokens": 31}')
    key = await google.key(limits=[(Metric.COST, Interval.DAY, 1), (Metric.REQUESTS, Interval.DAY, 1)])
    client = sdk(google, key)
    assert (await client.aio.models.count_tokens(model=MODEL, contents="How many?")).total_tokens == 31
    assert (await sent(google)).path == f"/v1/models/{MODEL}:countTokens"
    row = await google.charged()
    assert (row.operation, row.requests, row.input_tokens, row.cost_nano_usd) == (
        "generate_content.count_tokens", 1, 0, 0,
    )  # fmt: skip
    with pytest.raises(errors.ClientError) as refused:
        await client.aio.models.count_tokens(model=MODEL, contents="And now?")
    assert (refused.value.code, refused.value.status) == (429, "RESOURCE_EXHAUSTED")


async def test_sdk_embeds(google: RunningGateway) -> None:
    vectors = {"embeddings": [{"values": [0.1, 0.2]}, {"values": [0.3, 0.4]}]}
    usage = {"promptTokenCount": 9, "promptTokenDetails": [{"modality": "TEXT", "tokenCount": 9}]}
    answers(google.provider, vectors | {"usageMetadata": usage})
    client = sdk(google, await google.key())
    answer = await client.aio.models.embed_content(model="gemini-embedding-001", contents=["One", "Two"])
    assert answer.embeddings is not None and [each.values for each in answer.embeddings] == [[0.1, 0.2], [0.3, 0.4]]
    assert (await sent(google)).path == "/v1/models/gemini-embedding-001:batchEmbedContents"
    row = await google.charged()
    assert (row.operation, row.input_tokens, row.output_tokens, row.source) == ("embed_content", 9, 0, "reported")
    assert row.cost_nano_usd == 9 * 150


@pytest.mark.parametrize("told", [b'{"embedding": {"values": [0.1]}}', b'{"embedding": {"val'], ids=["whole", "half"])
async def test_embedding_without_figures_is_counted(google: RunningGateway, told: bytes) -> None:
    key = await google.key()
    google.provider.answer(200, {"content-type": "application/json"}, told)
    body = {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "Hello there, you."}]}}
    answer = await google.post(key, "/v1beta/models/gemini-embedding-001:embedContent", body)
    assert answer.content == told
    row = await google.charged()
    assert (row.output_tokens, row.source) == (0, "counted")
    assert 5 <= row.input_tokens <= 9


ASKED_BY_ALIAS: list[tuple[str, Any, list[Any]]] = [
    ("generateContent", {"contents": [], "model": "models/fast"}, ["model"]),
    ("embedContent", {"content": {}, "model": "models/fast"}, ["model"]),
    ("batchEmbedContents", {"requests": [{"content": {}, "model": "fast"}]}, ["requests", 0, "model"]),
    ("countTokens", {"generateContentRequest": {"model": "models/fast"}}, ["generateContentRequest", "model"]),
]


@pytest.mark.parametrize(("verb", "body", "place"), ASKED_BY_ALIAS, ids=[verb for verb, _, _ in ASKED_BY_ALIAS])
async def test_alias_changes_the_path_and_what_the_body_says_of_it(
    google: RunningGateway, verb: str, body: Any, place: list[Any]
) -> None:
    google.provider.answer(200, {"content-type": "application/json"}, b"{}")
    assert (await google.post(await google.key(), f"/v1beta/models/fast:{verb}", body)).status_code == 200
    request = await sent(google)
    named = request.json()
    for step in place:
        named = named[step]
    assert (request.path, named) == (f"/v1beta/models/{MODEL}:{verb}", f"models/{MODEL}")
    row = await google.charged()
    assert (row.model, row.requested_model) == (MODEL, "fast")


async def test_body_goes_to_google_byte_for_byte(google: RunningGateway) -> None:
    key = await google.key()
    body = (
        b'{ "contents" : [{"parts":[{"text":"\\u00e9 \xc3\xa9"}]}],\n "generation_config": {"max_output_tokens": 7 } }'
    )
    answers(google.provider, piece({"text": "Hello"}))
    assert (await google.post(key, f"/v1beta/models/{MODEL}:generateContent", body)).status_code == 200
    assert (await sent(google)).body == body


async def test_sdk_raises_googles_own_error_unchanged(google: RunningGateway) -> None:
    client = sdk(google, await google.key())
    refuses(google.provider, 400, "INVALID_ARGUMENT", "Request contains an invalid argument.")
    with pytest.raises(errors.ClientError) as refused:
        await client.aio.models.generate_content(model=MODEL, contents="Hi")
    assert (refused.value.code, refused.value.status) == (400, "INVALID_ARGUMENT")
    assert refused.value.message == "Request contains an invalid argument."
    refuses(google.provider, 503, "UNAVAILABLE", "The model is overloaded.")
    with pytest.raises(errors.ServerError) as busy:
        await client.aio.models.generate_content(model=MODEL, contents="Hi")
    assert (busy.value.code, busy.value.message) == (503, "The model is overloaded.")
    assert [(row.status, row.input_tokens, row.cost_nano_usd) for row in await google.usage(2)] == [
        (400, 0, 0), (503, 0, 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "word", "message", "detail"),
    [
        (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", {"reason": "API_KEY_INVALID"}),
        (400, "INVALID_ARGUMENT", "API key expired. Please renew the API key.", {}),
        (400, "FAILED_PRECONDITION", "User location is not supported for the API use.", {}),
        (401, "UNAUTHENTICATED", "Request had invalid authentication credentials.", {}),
        (403, "PERMISSION_DENIED", "Generative Language API has not been used in project 1.", {}),
        (403, "PERMISSION_DENIED", "Denied.", {"reason": "BILLING_DISABLED"}),
        (429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted.", {}),
    ],
)
async def test_error_about_the_gateways_own_account_is_no_fault_of_the_caller(
    google: RunningGateway, status: int, word: str, message: str, detail: dict[str, str]
) -> None:
    refuses(google.provider, status, word, message, **detail)
    with pytest.raises(errors.ServerError) as refused:
        await sdk(google, await google.key()).aio.models.generate_content(model=MODEL, contents="Hi")
    assert (refused.value.code, refused.value.status) == (502, "UNAVAILABLE")
    assert message not in str(refused.value)
    assert refused.value.details["error"]["details"][0]["reason"] == "upstream_refused"


async def test_rate_limit_of_google_reaches_the_caller(google: RunningGateway) -> None:
    message = "You exceeded your current quota, please check your plan and billing details."
    refuses(google.provider, 429, "RESOURCE_EXHAUSTED", message)
    with pytest.raises(errors.ClientError) as refused:
        await sdk(google, await google.key()).aio.models.generate_content(model=MODEL, contents="Hi")
    assert (refused.value.code, refused.value.message) == (429, message)


async def test_error_in_googles_stream_is_raised_by_the_sdk_and_the_answer_charged(google: RunningGateway) -> None:
    failed = {"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}
    streams(google.provider, [*words("Hel", "lo")[:1], failed])
    stream = await sdk(google, await google.key()).aio.models.generate_content_stream(model=MODEL, contents="Hi")
    with pytest.raises(errors.ServerError, match="Overloaded"):
        [each async for each in stream]
    row = await google.charged()
    assert (row.input_tokens, row.output_tokens) == (10, 1)


async def test_budget_without_a_cap_gets_one_in_the_config(google: RunningGateway) -> None:
    # Half of what is left, 0.02 USD, pays for 8,000 tokens at 2.50 a million.
    key = await google.key(limits=[(Metric.COST, Interval.DAY, 40_000_000)])
    for config in ({}, {"generationConfig": {"temperature": 0.5}}, {"generation_config": {"max_output_tokens": None}}):
        answers(google.provider, piece({"text": "Hello"}))
        body = {"contents": [{"parts": [{"text": "Hi"}]}], **config}
        assert (await google.post(key, f"/v1beta/models/{MODEL}:generateContent", body)).status_code == 200
        got = (await sent(google)).json()
        (name,) = [name for name in got if name.startswith("generation")]
        assert 7_000 < got[name]["maxOutputTokens"] <= 8_000
        assert got[name].get("temperature") == config.get("generationConfig", {}).get("temperature")
        assert "max_output_tokens" not in got[name]


async def test_estimates_learn_from_googles_figures_and_metrics_tell(google: RunningGateway) -> None:
    # Near the end of a budget the prompt is counted, before that its bytes stand for it.
    key = await google.key(limits=[(Metric.INPUT_TOKENS, Interval.DAY, 4_000)])
    answers(google.provider, piece({"text": "Hello"}, usage=figures(900, 5)))
    prompt = "The quick brown fox jumps over the lazy dog. " * 60
    await sdk(google, key).aio.models.generate_content(model=MODEL, contents=prompt)
    shown = (await google.http.get("/metrics")).text
    (factor,) = (float(line.split()[1]) for line in shown.splitlines() if line.startswith("gateway_estimate_factor{"))
    assert 1.03 < factor < 1.09  # an eighth of the way from 1 to about 1.5


async def test_searches_that_may_be_made_are_held(google: RunningGateway) -> None:
    # 0.20 USD pays for a full context window, which is 0.10, but not for five searches at 0.035 each beside it.
    key = await google.key(limits=[(Metric.COST, Interval.DAY, 200_000_000)])
    body = {"contents": [{"parts": [{"text": "Hi"}]}], "generationConfig": {"maxOutputTokens": 100}}
    path = "/v1beta/models/gemini-2.0-flash:generateContent"
    answers(google.provider, piece({"text": "Hello"}))
    assert (await google.post(key, path, body)).status_code == 200
    answers(google.provider, piece({"text": "Hello"}))
    assert (await google.post(key, path, body | {"tools": [{"codeExecution": {}}]})).status_code == 200
    refused = await google.post(key, path, body | {"tools": [{"googleMaps": {}}]})
    assert (refused.status_code, refused.json()["error"]["details"][0]["reason"]) == (403, "route_not_priced")
    refused = await google.post(key, path, body | {"tools": [{"googleSearch": {}}]})
    assert refused.status_code == 429
    assert refused.json()["error"]["details"][0]["reason"] == "budget_exhausted"
