"""OpenAI's own SDK against the gateway, with models of Google's."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.core.limits import Interval, Metric
from gateway.settings import CatalogSettings
from tests.events import EVENT_STREAM, JSON
from tests.gateway import RunningGateway
from tests.gemini_answers import EVENTS, MODEL, PLAIN, answers, event, figures, gemini_gateway, piece, streams, words
from tests.provider import Cut, Provider, Step
from tests.translate.asking import HELLO, PIXEL, WEATHER

CHAT = "/v1/chat/completions"


@pytest.fixture
async def google(sqlite_url: str, provider: Provider, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A gateway in front of Google; `fast` is an alias."""
    async with gemini_gateway(
        sqlite_url, provider, tmp_path, catalog=CatalogSettings(aliases={"fast": MODEL})
    ) as running:
        yield running


def asking(model: str = MODEL, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [HELLO], **fields}


@pytest.mark.parametrize("prefix", ["", "/openai", "/google", "/gemini"])
async def test_sdk_completes_and_is_charged_by_googles_figures(google: RunningGateway, prefix: str) -> None:
    usage = figures(100, 7, thoughtsTokenCount=30, cachedContentTokenCount=40)
    answers(google.provider, piece({"text": "Hello"}, finish="STOP", usage=usage))
    client = google.openai(await google.key(), prefix)
    answer = await client.chat.completions.with_raw_response.create(**asking("fast", max_tokens=50, seed=2**40))
    completion = answer.parse()
    assert (completion.choices[0].message.content, completion.choices[0].finish_reason) == ("Hello", "stop")
    assert completion.model == "fast"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-gateway-dropped-fields"] == "seed"
    told = completion.usage
    assert told is not None and told.prompt_tokens_details is not None and told.completion_tokens_details is not None
    assert (told.prompt_tokens, told.prompt_tokens_details.cached_tokens) == (100, 40)
    assert (told.completion_tokens, told.completion_tokens_details.reasoning_tokens) == (37, 30)
    request = await google.provider.request()
    assert (request.method, request.path) == ("POST", PLAIN)
    assert request.json()["generationConfig"] == {"maxOutputTokens": 50}
    row = await google.charged()
    assert (row.operation, row.model, row.requested_model, row.source) == ("chat", MODEL, "fast", "reported")
    assert (row.input_tokens, row.cached_tokens, row.output_tokens, row.reasoning_tokens) == (100, 40, 37, 30)
    # 60 fresh at 0.30, 40 cached at 0.03 and 37 written at 2.50 USD per million.
    assert row.cost_nano_usd == 18_000 + 1_200 + 92_500
    assert completion.id == "chatcmpl-" + row.request_id.removeprefix("req_")


async def test_sdk_streams_and_the_end_waits_for_the_ledger(google: RunningGateway) -> None:
    streams(google.provider, words("Hel", "lo"))
    client = google.openai(await google.key())
    stream = await client.chat.completions.create(**asking(stream=True, stream_options={"include_usage": True}))
    chunks = [chunk async for chunk in stream]
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == "Hello"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens == 12
    assert (await google.provider.request()).path == EVENTS
    assert len(await google.usage()) == 1, "a client that saw the end has been charged"
    assert (await google.charged()).outcome == "completed"


async def test_sdk_runs_a_tool_and_sends_the_signature_back(google: RunningGateway) -> None:
    call = {"functionCall": {"name": "get_weather", "args": {"place": "Rome"}}, "thoughtSignature": "c2ln"}
    answers(google.provider, piece(call, finish="STOP"))
    answers(google.provider, piece({"text": "Sunny."}, finish="STOP"))
    client = google.openai(await google.key())
    first = await client.chat.completions.create(**asking(tools=[WEATHER]))
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls" and message.tool_calls
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "Sunny"}
    second = await client.chat.completions.create(
        model=MODEL, messages=[HELLO, message, result], tools=[WEATHER]  # type: ignore[list-item]
    )  # fmt: skip
    assert second.choices[0].message.content == "Sunny."
    await google.provider.request()
    contents: Any = (await google.provider.request()).json()["contents"]
    assert contents[1]["parts"][0]["thoughtSignature"] == "c2ln"
    response = contents[2]["parts"][0]["functionResponse"]
    assert (response["name"], response["response"]) == ("get_weather", {"result": "Sunny"})


async def test_sdk_adds_a_stream_of_calls_up(google: RunningGateway) -> None:
    call = {"functionCall": {"name": "get_weather", "args": {"place": "Rome"}}}
    streams(google.provider, [piece({"text": "Hm", "thought": True}), piece(call), piece(call, finish="STOP")])
    client = google.openai(await google.key())
    async with client.chat.completions.stream(**asking(tools=[WEATHER])) as stream:
        completion = await stream.get_final_completion()
    calls = completion.choices[0].message.tool_calls
    assert calls and [json.loads(call.function.arguments) for call in calls] == [{"place": "Rome"}] * 2
    assert len({call.id for call in calls}) == 2


async def test_several_choices_and_a_picture(google: RunningGateway) -> None:
    candidates = [
        {"content": {"parts": [{"text": text}]}, "finishReason": "STOP", "index": n} for n, text in enumerate("ab")
    ]
    answers(google.provider, {"candidates": candidates, "usageMetadata": figures()})
    parts = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    client = google.openai(await google.key())
    answer = await client.chat.completions.create(**asking(n=2) | {"messages": [{"role": "user", "content": parts}]})
    assert [choice.message.content for choice in answer.choices] == ["a", "b"]
    body: Any = (await google.provider.request()).json()
    assert body["contents"][0]["parts"][1] == {"inlineData": {"mimeType": "image/png", "data": PIXEL.split(",")[1]}}


async def test_cap_that_the_budget_can_pay_is_sent(google: RunningGateway) -> None:
    answers(google.provider, piece({"text": "Hello"}, finish="STOP"))
    key = await google.key(limits=[(Metric.TOKENS, Interval.DAY, 20_000)])
    assert (await google.post(key, CHAT, asking(reasoning_effort="high"))).status_code == 200
    config: Any = (await google.provider.request()).json()["generationConfig"]
    assert 4_096 <= config["maxOutputTokens"] <= 10_000
    assert config["thinkingConfig"] == {"includeThoughts": True, "thinkingBudget": 24576}
    await google.audit()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"web_search_options": {}}, "web_search_options"),
        ({"messages": [{"role": "tool", "tool_call_id": "a", "content": "Sunny"}]}, "messages[0].tool_call_id"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest"}}],
                    }
                ]
            },
            "messages[0].content[0].image_url.url",
        ),
    ],
)
async def test_what_cannot_be_carried_is_refused_and_costs_nothing(
    google: RunningGateway, fields: dict[str, Any], param: str
) -> None:
    answer = await google.post(await google.key(), CHAT, asking(**fields))
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert await google.usage() == [] and google.provider.requests == []


async def test_googles_error_reaches_the_sdk_with_its_delay(google: RunningGateway) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}]
    error = {"error": {"code": 429, "message": "Slow down", "status": "RESOURCE_EXHAUSTED", "details": details}}
    google.provider.answer(429, JSON, json.dumps(error).encode())
    with pytest.raises(openai.RateLimitError) as caught:
        await google.openai(await google.key()).chat.completions.create(**asking())
    assert caught.value.code == "rate_limit_exceeded" and "Slow down" in caught.value.message
    assert caught.value.response.headers["retry-after"] == "34"
    row = await google.charged()
    assert (row.requests, row.input_tokens, row.output_tokens) == (1, 0, 0)


async def test_error_about_our_own_account_is_not_the_callers(google: RunningGateway) -> None:
    error = {"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}
    google.provider.answer(400, JSON, json.dumps(error).encode())
    answer = await google.post(await google.key(), CHAT, asking())
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_refused")


async def test_error_in_the_middle_of_a_stream_raises_in_the_sdk(google: RunningGateway) -> None:
    failed = {"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}}
    streams(google.provider, [piece({"text": "Hel"}), failed])
    stream = await google.openai(await google.key()).chat.completions.create(**asking(stream=True))
    with pytest.raises(openai.APIError, match="Overloaded"):
        async for _ in stream:
            pass
    assert (await google.charged()).outcome == "upstream_failed"


@pytest.mark.parametrize("cut", [None, Cut.RESET], ids=["in order", "reset"])
async def test_stream_that_breaks_off_raises_in_the_sdk_and_is_charged(google: RunningGateway, cut: Cut | None) -> None:
    steps: list[Step] = [event(piece({"text": "Hello there"})), *([cut] if cut else [])]
    google.provider.answer(200, EVENT_STREAM, steps, framing="chunked")
    stream = await google.openai(await google.key()).chat.completions.create(**asking(stream=True))
    with pytest.raises(openai.APIError):
        async for _ in stream:
            pass
    row = await google.charged()
    assert (row.outcome, row.input_tokens) == ("upstream_failed", 10)
    assert row.output_tokens >= 2
    await google.audit()


async def test_client_that_leaves_is_charged_for_what_it_got(google: RunningGateway) -> None:
    go_on = asyncio.Event()
    steps: list[Step] = [event(piece({"text": "Hello there"})), go_on, event(piece({"text": "!"}, finish="STOP"))]
    google.provider.answer(200, EVENT_STREAM, steps, framing="chunked")
    stream = await google.openai(await google.key()).chat.completions.create(**asking(stream=True))
    await anext(aiter(stream))
    await stream.close()
    go_on.set()
    row = await google.charged()
    assert (row.outcome, row.input_tokens) == ("client_left", 10)
    await google.audit()


async def test_answer_that_makes_no_sense_is_the_providers_fault(google: RunningGateway) -> None:
    google.provider.answer(200, JSON, b'{"hello":"world"}')
    answer = await google.post(await google.key(), CHAT, asking())
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_broken")


async def test_model_of_no_google_upstream_is_not_found_below_googles_prefix(google: RunningGateway) -> None:
    answer = await google.post(await google.key(), "/google" + CHAT, asking("gpt-4o-mini"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


async def test_operation_without_a_translation_is_not_found(google: RunningGateway) -> None:
    answer = await google.post(await google.key(), "/v1/completions", {"model": MODEL, "prompt": "Hi"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("reported", [9, None], ids=["reported", "counted"])
async def test_sdk_embeds_and_is_told_what_it_was_charged(google: RunningGateway, reported: int | None) -> None:
    vectors: dict[str, Any] = {"embeddings": [{"values": [0.5, 1]}, {"values": [0.25, 2]}]}
    answers(google.provider, vectors | ({"usageMetadata": {"promptTokenCount": reported}} if reported else {}))
    client = google.openai(await google.key())
    answer = await client.embeddings.create(model="gemini-embedding-001", input=["One", "Two"])
    assert [one.embedding for one in answer.data] == [[0.5, 1], [0.25, 2]]
    request = await google.provider.request()
    assert request.path == "/v1beta/models/gemini-embedding-001:batchEmbedContents"
    row = await google.charged()
    assert (row.operation, row.source) == ("embeddings", "reported" if reported else "counted")
    assert 0 < row.input_tokens == answer.usage.prompt_tokens
