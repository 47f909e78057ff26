"""Messages asked of Gemini, with Anthropic's own client: as Claude Code would run on it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic.types import MessageParam, ToolParam

from tests.anthropic_events import messages_body
from tests.events import EVENT_STREAM, JSON
from tests.gateway import RunningGateway
from tests.gemini_answers import EVENTS, MODEL, PLAIN, figures, gemini_gateway
from tests.provider import Provider

HI: list[MessageParam] = [{"role": "user", "content": "Hi"}]
WEATHER: ToolParam = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
THINKING: Any = {"type": "enabled", "budget_tokens": 2_000}


@pytest.fixture
async def gateway(sqlite_url: str, provider: Provider, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A whole gateway in front of a scripted Gemini."""
    async with gemini_gateway(sqlite_url, provider, tmp_path) as running:
        yield running


def answer(*parts: dict[str, Any], reason: str | None = "STOP", **usage: Any) -> dict[str, Any]:
    """A whole answer, or a piece of one."""
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": 0, "finishReason": reason}
    return {"candidates": [candidate], "usageMetadata": figures(**usage), "modelVersion": MODEL}


def event(body: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(body)}\r\n\r\n".encode()


async def test_message_is_asked_in_googles_words_and_charged_as_there(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, JSON, json.dumps(answer({"text": "Hello"}, prompt=20, candidates=3)).encode())
    client = gateway.anthropic(await gateway.key())
    told = await client.messages.create(
        model=MODEL, max_tokens=100, messages=HI, system="Be brief.", extra_body={"top_k": 5}
    )
    sent = await gateway.provider.request()
    assert sent.path == PLAIN
    assert sent.json() == {
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "generationConfig": {"maxOutputTokens": 100, "topK": 5, "thinkingConfig": {"thinkingBudget": 0}},
    }
    assert (told.content[0].type, told.stop_reason, told.usage.input_tokens) == ("text", "end_turn", 20)
    row = await gateway.charged()
    assert (row.operation, row.input_tokens, row.output_tokens) == ("messages", 20, 3)


async def test_thoughts_calls_and_their_signatures_go_back_and_forth(gateway: RunningGateway) -> None:
    called = {"functionCall": {"name": "weather", "args": {"city": "Bonn"}}, "thoughtSignature": "c2ln"}
    pieces = [
        answer({"text": "Let me think.", "thought": True}, reason=None, candidates=None),
        answer(called, thoughtsTokenCount=30),
    ]
    gateway.provider.answer(200, EVENT_STREAM, [event(piece) for piece in pieces], framing="chunked")
    gateway.provider.answer(200, JSON, json.dumps(answer({"text": "Rain"})).encode())
    client = gateway.anthropic(await gateway.key())
    async with client.messages.stream(
        model=MODEL, max_tokens=4_000, messages=HI, tools=[WEATHER], thinking=THINKING
    ) as streamed:
        asked = await streamed.get_final_message()
    first = await gateway.provider.request()
    assert first.path == EVENTS
    config = first.json()["generationConfig"]
    assert isinstance(config, dict)
    assert config["thinkingConfig"] == {"includeThoughts": True, "thinkingBudget": 2_000}
    thought, use = asked.content
    assert thought.type == "thinking" and thought.thinking == "Let me think."
    assert use.type == "tool_use" and use.input == {"city": "Bonn"} and asked.stop_reason == "tool_use"
    assert asked.usage.output_tokens == 35
    result: MessageParam = {
        "role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "Rain"}],
    }  # fmt: skip
    history: list[MessageParam] = [*HI, {"role": "assistant", "content": asked.content}, result]
    await client.messages.create(model=MODEL, max_tokens=4_000, messages=history, tools=[WEATHER], thinking=THINKING)
    contents: Any = (await gateway.provider.request()).json()["contents"]
    back = {"functionCall": {"name": "weather", "args": {"city": "Bonn"}, "id": use.id}, "thoughtSignature": "c2ln"}
    assert contents[1] == {"role": "model", "parts": [back]}
    response = {"name": "weather", "response": {"result": "Rain"}, "id": use.id}
    assert contents[2] == {"role": "user", "parts": [{"functionResponse": response}]}
    assert [row.reasoning_tokens for row in await gateway.usage(2)] == [30, 0]


@pytest.mark.parametrize(
    ("reason", "told"),
    [("STOP", "end_turn"), ("MAX_TOKENS", "max_tokens"), ("SAFETY", "refusal"), ("OTHER", "end_turn")],
)
async def test_reason_of_the_end_is_said_in_anthropics_word(gateway: RunningGateway, reason: str, told: str) -> None:
    gateway.provider.answer(200, JSON, json.dumps(answer({"text": "x"}, reason=reason)).encode())
    client = gateway.anthropic(await gateway.key())
    assert (await client.messages.create(model=MODEL, max_tokens=9, messages=HI)).stop_reason == told


async def test_prompt_that_google_blocks_is_a_refusal(gateway: RunningGateway) -> None:
    body = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": figures(candidates=None)}
    gateway.provider.answer(200, EVENT_STREAM, [event(body)], framing="chunked")
    client = gateway.anthropic(await gateway.key())
    async with client.messages.stream(model=MODEL, max_tokens=9, messages=HI) as streamed:
        whole = await streamed.get_final_message()
    assert (whole.stop_reason, whole.content) == ("refusal", [])
    assert whole.stop_details is not None and whole.stop_details.explanation == "SAFETY"


async def test_error_of_googles_says_when_to_come_back(gateway: RunningGateway) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}]
    error = {"code": 429, "message": "Quota", "status": "RESOURCE_EXHAUSTED", "details": details}
    gateway.provider.answer(429, JSON, json.dumps([{"error": error}]).encode())
    client = gateway.anthropic(await gateway.key())
    with pytest.raises(anthropic.RateLimitError) as raised:
        await client.messages.create(model=MODEL, max_tokens=9, messages=HI)
    assert (raised.value.type, raised.value.api_message) == ("rate_limit_error", "Quota")
    assert raised.value.response.headers["retry-after"] == "34"


async def test_picture_that_google_would_not_fetch_is_refused(gateway: RunningGateway) -> None:
    key = await gateway.key()
    for url in ("http://x/y.png", "https://generativelanguage.googleapis.com/v1beta/files/1"):
        picture = {"type": "image", "source": {"type": "url", "url": url}}
        body = messages_body(model=MODEL, messages=[{"role": "user", "content": [picture]}])
        refused = await gateway.post(key, "/v1/messages", body)
        assert refused.status_code == 400 and "messages[0].content[0].source.url" in refused.text
    assert gateway.provider.requests == []


async def test_tokens_are_counted_here(gateway: RunningGateway) -> None:
    body = {"model": MODEL, "messages": HI}
    counted = await gateway.post(await gateway.key(), "/v1/messages/count_tokens", body)
    assert counted.headers["x-gateway-estimated"] == "input_tokens" and counted.json()["input_tokens"] < 20


async def test_result_that_is_too_deep_to_stand_in_a_body_goes_as_text(gateway: RunningGateway) -> None:
    deep = '{"a":' * 120 + "1" + "}" * 120
    use = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": deep}
    turns = [("user", "Hi"), ("assistant", [use]), ("user", [result])]
    body = messages_body(model=MODEL, messages=[{"role": role, "content": said} for role, said in turns])
    gateway.provider.answer(200, JSON, json.dumps(answer({"text": "Done"})).encode())
    assert (await gateway.post(await gateway.key(), "/v1/messages", body)).status_code == 200
    sent: Any = (await gateway.provider.request()).json()
    assert sent["contents"][-1]["parts"][0]["functionResponse"]["response"] == {"result": deep}
