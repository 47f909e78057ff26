"""A provider's figure of an odd type: the others are charged as they are, and our count where it is more."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests import anthropic_events as claudes
from tests import gemini_answers as googles
from tests.events import EVENT_STREAM, JSON, chunk, completion, event, response, response_events
from tests.gateway import MODEL, RunningGateway, running_gateway
from tests.provider import Provider

LONG = "Tell me all that you know. " * 20


@pytest.fixture
async def claude(sqlite_url: str, provider: Provider, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A whole gateway in front of a scripted Anthropic."""
    async with running_gateway(sqlite_url, provider, tmp_path, upstream=claudes.claude) as running:
        yield running


@pytest.fixture
async def google(sqlite_url: str, provider: Provider, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A whole gateway in front of a scripted Google."""
    async with googles.gemini_gateway(sqlite_url, provider, tmp_path) as running:
        yield running


async def test_claudes_figures_are_charged_beside_an_odd_detail(claude: RunningGateway) -> None:
    odd = claudes.usage(700, 5, server_tool_use="none", cache_read_input_tokens=40, service_tier=7)
    claude.provider.answer(200, JSON, claudes.message(usage=odd))
    events = [claudes.start(usage=odd), claudes.message_delta(9, output_tokens_details=[]), claudes.STOP]
    claude.provider.answer(200, EVENT_STREAM, events, framing="chunked")
    key = await claude.key()
    for streams in (False, True):
        await claude.post(key, "/v1/messages", claudes.messages_body(stream=streams))
    for row, written in zip(await claude.usage(2), (5, 9), strict=True):
        assert (row.source, row.input_tokens, row.cached_tokens, row.output_tokens) == ("reported", 740, 40, written)


@pytest.mark.parametrize("streams", [False, True])
async def test_claudes_odd_part_of_the_input_costs_at_least_our_count(claude: RunningGateway, streams: bool) -> None:
    key = await claude.key()
    for given in (9_000, 1):
        odd = claudes.usage(given, 7, cache_read_input_tokens={"tokens": 5})
        if streams:
            events = [claudes.start(usage=odd), *claudes.words("Hello"), claudes.message_delta(7), claudes.STOP]
            claude.provider.answer(200, EVENT_STREAM, events, framing="chunked")
        else:
            claude.provider.answer(200, JSON, claudes.message(usage=odd))
        asked = [{"role": "user", "content": LONG}]
        await claude.post(key, "/v1/messages", claudes.messages_body(stream=streams, messages=asked))
    first, second = await claude.usage(2)
    assert (first.source, first.input_tokens, first.output_tokens) == ("counted", 9_000, 7)
    assert (second.source, second.output_tokens) == ("counted", 7) and second.input_tokens > 100


@pytest.mark.parametrize("streams", [False, True])
async def test_claudes_odd_output_is_counted_here(claude: RunningGateway, streams: bool) -> None:
    odd = claudes.usage(700, 1, output_tokens=None if streams else "five")
    if streams:
        said = claudes.words("one ", "two ", "three ", "four")
        events = [claudes.start(usage=odd), *said, claudes.message_delta(None, output_tokens="five"), claudes.STOP]
        claude.provider.answer(200, EVENT_STREAM, events, framing="chunked")
    else:
        claude.provider.answer(200, JSON, claudes.message(claudes.text_block("one two three four"), usage=odd))
    answer = await claude.post(await claude.key(), "/v1/messages", claudes.messages_body(stream=streams))
    assert answer.status_code == 200
    row = await claude.charged()
    assert (row.source, row.input_tokens, row.outcome) == ("counted", 700, "completed")
    assert 4 <= row.output_tokens <= 12


@pytest.mark.parametrize("streams", [False, True])
async def test_geminis_figures_are_charged_beside_an_odd_one(google: RunningGateway, streams: bool) -> None:
    odds: list[dict[str, Any]] = [
        {"promptTokenCount": 700, "candidatesTokenCount": 5, "promptTokensDetails": "x", "totalTokenCount": 705},
        {"promptTokenCount": 700, "candidatesTokenCount": "x", "totalTokenCount": 705},
        {"promptTokenCount": "x", "candidatesTokenCount": 5, "totalTokenCount": 705},
    ]
    key = await google.key()
    for odd in odds:
        said = {"candidates": [{"content": {"parts": [{"text": "Hello"}]}, "finishReason": "STOP"}]}
        body = json.dumps(said | {"usageMetadata": odd}).encode()
        if streams:
            google.provider.answer(200, EVENT_STREAM, [b"data: " + body + b"\r\n\r\n"], framing="chunked")
        else:
            google.provider.answer(200, JSON, body)
        answer = await google.post(key, googles.EVENTS if streams else googles.PLAIN, googles.asking())
        assert answer.status_code == 200
    for row in await google.usage(3):
        assert (row.source, row.input_tokens, row.output_tokens) == ("reported", 700, 5)


@pytest.mark.parametrize("streams", [False, True])
async def test_geminis_odd_output_without_a_total_is_counted_here(google: RunningGateway, streams: bool) -> None:
    said = {"candidates": [{"content": {"parts": [{"text": "one two three four"}]}, "finishReason": "STOP"}]}
    body = json.dumps(said | {"usageMetadata": {"promptTokenCount": 700, "candidatesTokenCount": []}}).encode()
    if streams:
        google.provider.answer(200, EVENT_STREAM, [b"data: " + body + b"\r\n\r\n"], framing="chunked")
    else:
        google.provider.answer(200, JSON, body)
    await google.post(await google.key(), googles.EVENTS if streams else googles.PLAIN, googles.asking())
    row = await google.charged()
    assert (row.source, row.input_tokens) == ("counted", 700) and 4 <= row.output_tokens <= 12


@pytest.mark.parametrize("streams", [False, True])
async def test_figures_of_a_response_are_charged_beside_an_odd_one(gateway: RunningGateway, streams: bool) -> None:
    odds: list[dict[str, Any]] = [
        {"input_tokens": 700, "output_tokens": 5, "total_tokens": "x", "input_tokens_details": {"cached_tokens": {}}},
        {"input_tokens": 700, "output_tokens": None, "total_tokens": 705, "output_tokens_details": 5},
        {"input_tokens": "700", "output_tokens": 5.0, "total_tokens": 705},
    ]
    key = await gateway.key()
    for odd in odds:
        if streams:
            done = event({"type": "response.completed", "response": response(usage=odd)}, "response.completed")
            events = [*response_events()[:-1], done]
            gateway.provider.answer(200, EVENT_STREAM, events, framing="chunked")
        else:
            gateway.provider.answer(200, JSON, json.dumps(response(usage=odd)).encode())
        answer = await gateway.post(key, "/v1/responses", {"model": MODEL, "input": "Hi", "stream": streams})
        assert answer.status_code == 200
    for row in await gateway.usage(3):
        assert (row.source, row.input_tokens, row.output_tokens) == ("reported", 700, 5)


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions"])
async def test_odd_output_of_openais_is_counted_here(gateway: RunningGateway, path: str) -> None:
    key = await gateway.key()
    odd = {"prompt_tokens": 700, "completion_tokens": "x"}
    if path == "/v1/responses":
        figures = {"input_tokens": 700, "output_tokens": "x", "total_tokens": None}
        bodies = [json.dumps(response(text="one two three four", usage=figures)).encode()]
        asked: dict[str, Any] = {"model": MODEL, "input": "Hi"}
    else:
        bodies = [completion("one two three four", usage=odd)]
        asked = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
    for body in bodies:
        gateway.provider.answer(200, JSON, body)
        assert (await gateway.post(key, path, asked)).status_code == 200
    row = await gateway.charged()
    assert (row.source, row.input_tokens, row.output_tokens) == ("counted", 700, 4)


async def test_odd_output_in_chunks_is_counted_here(gateway: RunningGateway) -> None:
    last = chunk(None, finish="stop", usage={"prompt_tokens": 700, "completion_tokens": {}})
    events = [chunk("one"), chunk(" two"), chunk(" three"), last, b"data: [DONE]\n\n"]
    gateway.provider.answer(200, EVENT_STREAM, events, framing="chunked")
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    await gateway.post(await gateway.key(), "/v1/chat/completions", body)
    row = await gateway.charged()
    assert (row.source, row.input_tokens, row.output_tokens) == ("counted", 700, 3)
