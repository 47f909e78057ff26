"""OpenAI's own SDK against the gateway, with models of Anthropic's."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.core.limits import Interval, Metric
from gateway.settings import CatalogSettings
from tests.anthropic_events import (
    CLAUDE,
    OVERLOADED,
    STOP,
    block_start,
    block_stop,
    claude,
    delta,
    message,
    message_delta,
    start,
    stream,
    text_block,
    usage,
    words,
)
from tests.events import EVENT_STREAM, JSON
from tests.gateway import PROVIDER_KEY, RunningGateway, running_gateway
from tests.provider import Cut, Provider, Step
from tests.translate.asking import HELLO, PIXEL, WEATHER

CHAT = "/v1/chat/completions"
BY_BUDGET = "claude-sonnet-4-5"


@pytest.fixture
async def anthropic(sqlite_url: str, provider: Provider, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A gateway in front of Anthropic; `smart` is an alias."""
    catalog = CatalogSettings(aliases={"smart": CLAUDE})
    async with running_gateway(sqlite_url, provider, tmp_path, upstream=claude, catalog=catalog) as running:
        yield running


def asking(model: str = CLAUDE, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [HELLO], **fields}


def streams(provider: Provider, events: list[Step]) -> None:
    provider.answer(200, EVENT_STREAM, events, framing="chunked")


@pytest.mark.parametrize("prefix", ["", "/openai", "/claude", "/anthropic"])
async def test_sdk_completes_and_is_charged_by_anthropics_figures(anthropic: RunningGateway, prefix: str) -> None:
    figures = usage(20, 30, cache_read_input_tokens=70, cache_creation_input_tokens=10)
    figures |= {"output_tokens_details": {"thinking_tokens": 25}}
    anthropic.provider.answer(200, JSON, message(usage=figures))
    client = anthropic.openai(await anthropic.key(), prefix)
    answer = await client.chat.completions.with_raw_response.create(**asking("smart", max_tokens=50, seed=1))
    completion = answer.parse()
    assert (completion.choices[0].message.content, completion.choices[0].finish_reason) == ("Hello", "stop")
    assert completion.model == "smart"
    assert answer.headers["x-gateway-dropped-fields"] == "seed"
    told = completion.usage
    assert told is not None and told.prompt_tokens_details is not None and told.completion_tokens_details is not None
    assert (told.prompt_tokens, told.completion_tokens) == (100, 30)
    assert (told.prompt_tokens_details.cached_tokens, told.prompt_tokens_details.cache_write_tokens) == (70, 10)
    assert told.completion_tokens_details.reasoning_tokens == 25
    request = await anthropic.provider.request()
    assert (request.method, request.path) == ("POST", "/v1/messages")
    assert (request.header("x-api-key"), request.header("authorization")) == (PROVIDER_KEY, None)
    assert request.header("anthropic-version") == "2023-06-01"
    assert request.json() == {
        "model": CLAUDE,
        "max_tokens": 50,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
    }
    row = await anthropic.charged()
    assert (row.operation, row.model, row.requested_model, row.source) == ("chat", CLAUDE, "smart", "reported")
    assert (row.input_tokens, row.cached_tokens, row.cache_write_tokens) == (100, 70, 10)
    assert (row.output_tokens, row.reasoning_tokens) == (30, 25)
    # 20 fresh at 3, 70 read at 0.30, 10 written to the cache at 3.75 and 30 answered at 15 USD per million.
    assert row.cost_nano_usd == 60_000 + 21_000 + 37_500 + 450_000
    assert completion.id == "chatcmpl-" + row.request_id.removeprefix("req_")


async def test_sdk_streams_and_the_end_waits_for_the_ledger(anthropic: RunningGateway) -> None:
    streams(anthropic.provider, [*stream("Hel", "lo")])
    client = anthropic.openai(await anthropic.key())
    heard = await client.chat.completions.create(**asking(stream=True, stream_options={"include_usage": True}))
    chunks = [chunk async for chunk in heard]
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == "Hello"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (10, 5)
    assert (await anthropic.provider.request()).json()["stream"] is True
    assert len(await anthropic.usage()) == 1, "a client that saw the end has been charged"


async def test_stream_without_a_wish_for_figures_has_none(anthropic: RunningGateway) -> None:
    streams(anthropic.provider, [*stream("Hello")])
    answer = await anthropic.post(await anthropic.key(), CHAT, asking(stream=True))
    assert b'"usage"' not in answer.content and answer.content.endswith(b"data: [DONE]\n\n")
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (await anthropic.charged()).output_tokens == 5


async def test_sdk_runs_tools_and_sends_the_thoughts_back(anthropic: RunningGateway) -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "sig"}
    uses = [{"type": "tool_use", "id": f"toolu_{n}", "name": "get_weather", "input": {"n": n}} for n in (1, 2)]
    anthropic.provider.answer(200, JSON, message(thought, text_block("Let me see."), *uses, stop_reason="tool_use"))
    anthropic.provider.answer(200, JSON, message(text_block("Sunny.")))
    client = anthropic.openai(await anthropic.key())
    asked = asking(BY_BUDGET, tools=[WEATHER], reasoning_effort="low")
    first = (await client.chat.completions.create(**asked)).choices[0]
    assert first.finish_reason == "tool_calls" and first.message.tool_calls and len(first.message.tool_calls) == 2
    results = [{"role": "tool", "tool_call_id": call.id, "content": "Sunny"} for call in first.message.tool_calls]
    second = await client.chat.completions.create(**asked | {"messages": [HELLO, first.message, *results]})
    assert second.choices[0].message.content == "Sunny."
    assert (await anthropic.provider.request()).json()["thinking"] == {"type": "enabled", "budget_tokens": 1024}
    body: Any = (await anthropic.provider.request()).json()
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 1024}
    assert body["messages"][1]["content"] == [thought, text_block("Let me see."), *uses]
    assert [block["tool_use_id"] for block in body["messages"][2]["content"]] == ["toolu_1", "toolu_2"]


async def test_sdk_adds_a_stream_of_calls_up(anthropic: RunningGateway) -> None:
    events: list[Step] = [start(), block_start(text_block("")), *words("Hm."), block_stop()]
    for index, place in enumerate(("Rome", "Oslo"), 1):
        events.append(
            block_start({"type": "tool_use", "id": f"toolu_{index}", "name": "get_weather", "input": {}}, index)
        )
        events += [
            delta({"type": "input_json_delta", "partial_json": piece}, index) for piece in ('{"pl', f'ace":"{place}"}}')
        ]
        events.append(block_stop(index))
    streams(anthropic.provider, [*events, message_delta(stop_reason="tool_use"), STOP])
    client = anthropic.openai(await anthropic.key())
    async with client.chat.completions.stream(**asking(tools=[WEATHER])) as heard:
        completion = await heard.get_final_completion()
    choice = completion.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Hm.")
    calls = choice.message.tool_calls or []
    assert [json.loads(call.function.arguments) for call in calls] == [{"place": "Rome"}, {"place": "Oslo"}]
    assert [call.id for call in calls] == ["toolu_1", "toolu_2"]


async def test_picture_goes_as_it_is_and_is_not_fetched(anthropic: RunningGateway) -> None:
    urls = (PIXEL, "http://169.254.169.254/latest/meta-data")
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    anthropic.provider.answer(200, JSON, message())
    answer = await anthropic.post(
        await anthropic.key(), CHAT, asking() | {"messages": [{"role": "user", "content": parts}]}
    )
    assert answer.status_code == 200
    body: Any = (await anthropic.provider.request()).json()
    assert [block["source"]["type"] for block in body["messages"][0]["content"]] == ["base64", "url"]
    assert len(anthropic.provider.requests) == 1


async def test_cap_of_the_model_is_asked_for_and_held(anthropic: RunningGateway) -> None:
    anthropic.provider.answer(200, JSON, message())
    key = await anthropic.key(limits=[(Metric.OUTPUT_TOKENS, Interval.DAY, 64_000)])
    assert (await anthropic.post(key, CHAT, asking(BY_BUDGET))).status_code == 200
    assert (await anthropic.provider.request()).json()["max_tokens"] == 64_000
    await anthropic.audit()


@pytest.mark.parametrize("budget", ["lots", 1.5, {}])
async def test_thinking_that_is_no_number_of_tokens_is_refused_and_costs_nothing(
    anthropic: RunningGateway, budget: object
) -> None:
    key = await anthropic.key(limits=[(Metric.COST, Interval.DAY, 50_000_000)])
    asked = asking(BY_BUDGET, thinking={"type": "enabled", "budget_tokens": budget})
    refused = await anthropic.post(key, CHAT, asked)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "thinking.budget_tokens")
    assert await anthropic.usage() == [] and anthropic.provider.requests == []


async def test_cap_that_the_budget_can_pay_is_sent_and_thinking_fits_below_it(anthropic: RunningGateway) -> None:
    anthropic.provider.answer(200, JSON, message())
    key = await anthropic.key(limits=[(Metric.OUTPUT_TOKENS, Interval.DAY, 20_000)])
    assert (await anthropic.post(key, CHAT, asking(BY_BUDGET, reasoning_effort="high"))).status_code == 200
    body: Any = (await anthropic.provider.request()).json()
    assert 4_096 <= body["max_tokens"] <= 10_000
    assert 1_024 <= body["thinking"]["budget_tokens"] < body["max_tokens"]
    await anthropic.audit()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"messages": [{"role": "tool", "tool_call_id": "a", "content": "Sunny"}]}, "messages[0].tool_call_id"),
        ({"thinking": "much"}, "thinking"),
        ({"thinking": {"type": 7}}, "thinking.type"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]}, None),
    ],
)
async def test_what_cannot_be_carried_is_refused_and_costs_nothing(
    anthropic: RunningGateway, fields: dict[str, Any], param: str | None
) -> None:
    answer = await anthropic.post(await anthropic.key(), CHAT, asking(**fields))
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == ((400, param) if param else (404, None))
    assert error["type"] == "invalid_request_error"
    assert await anthropic.usage() == [] and anthropic.provider.requests == []


@pytest.mark.parametrize(
    ("status", "kind", "raised"),
    [(429, "rate_limit_error", openai.RateLimitError), (529, "overloaded_error", openai.InternalServerError)],
)
async def test_anthropics_error_reaches_the_sdk_with_its_delay(
    anthropic: RunningGateway, status: int, kind: str, raised: type[openai.APIStatusError]
) -> None:
    error = {"type": "error", "error": {"type": kind, "message": "Not now"}, "request_id": "req_x"}
    anthropic.provider.answer(status, JSON | {"retry-after": "17"}, json.dumps(error).encode())
    with pytest.raises(raised, match="Not now") as caught:
        await anthropic.openai(await anthropic.key()).chat.completions.create(**asking())
    assert caught.value.status_code == status
    assert caught.value.response.headers["retry-after"] == "17"
    row = await anthropic.charged()
    assert (row.requests, row.input_tokens, row.output_tokens) == (1, 0, 0)


async def test_error_about_our_own_account_is_not_the_callers(anthropic: RunningGateway) -> None:
    error = {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}
    anthropic.provider.answer(401, JSON, json.dumps(error).encode())
    answer = await anthropic.post(await anthropic.key(), CHAT, asking())
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_refused")


async def test_error_in_the_middle_of_a_stream_raises_in_the_sdk(anthropic: RunningGateway) -> None:
    streams(anthropic.provider, [start(), block_start(text_block("")), *words("Hel"), OVERLOADED])
    heard = await anthropic.openai(await anthropic.key()).chat.completions.create(**asking(stream=True))
    with pytest.raises(openai.APIError, match="Overloaded"):
        async for _ in heard:
            pass
    assert (await anthropic.charged()).outcome == "upstream_failed"
    await anthropic.audit()


@pytest.mark.parametrize("cut", [None, Cut.RESET], ids=["in order", "reset"])
async def test_stream_that_breaks_off_raises_in_the_sdk_and_is_charged(
    anthropic: RunningGateway, cut: Cut | None
) -> None:
    streams(anthropic.provider, [start(), block_start(text_block("")), *words("Hello there"), *([cut] if cut else [])])
    heard = await anthropic.openai(await anthropic.key()).chat.completions.create(**asking(stream=True))
    with pytest.raises(openai.APIError):
        async for _ in heard:
            pass
    row = await anthropic.charged()
    assert (row.outcome, row.input_tokens) == ("upstream_failed", 10)
    assert row.output_tokens >= 2
    await anthropic.audit()


async def test_client_that_leaves_is_charged_for_what_it_got(anthropic: RunningGateway) -> None:
    go_on = asyncio.Event()
    opened: list[Step] = [start(), block_start(text_block("")), *words("Hello there"), go_on]
    streams(anthropic.provider, [*opened, block_stop(), message_delta(), STOP])
    heard = await anthropic.openai(await anthropic.key()).chat.completions.create(**asking(stream=True))
    await anext(aiter(heard))
    await heard.close()
    go_on.set()
    row = await anthropic.charged()
    assert (row.outcome, row.input_tokens) == ("client_left", 10)
    await anthropic.audit()


async def test_prefix_asks_providers_of_its_own_format_only(anthropic: RunningGateway) -> None:
    answer = await anthropic.post(await anthropic.key(), "/google" + CHAT, asking())
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
