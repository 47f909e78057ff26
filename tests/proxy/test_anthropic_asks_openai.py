"""Messages asked of a model in OpenAI's format, with Anthropic's own client: as Claude Code would run on it."""

import json
from typing import Any

import anthropic
import pytest
from anthropic.types import MessageParam, ToolParam

from gateway.core.limits import Interval, Metric
from tests.anthropic_events import messages_body
from tests.events import DONE, EVENT_STREAM, JSON, completion, event, usage, usage_chunk
from tests.gateway import MODEL, RunningGateway
from tests.provider import Cut, Step

HI: list[MessageParam] = [{"role": "user", "content": "Hi"}]
WEATHER: ToolParam = {
    "name": "weather",
    "description": "The weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def said(delta: dict[str, Any], finish: str | None = None) -> bytes:
    """One chunk with this delta."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    return event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def call(index: int, arguments: str, id: str | None = None, name: str | None = None) -> dict[str, Any]:
    """A delta of a tool call."""
    return {"tool_calls": [{"index": index, "id": id, "function": {"name": name, "arguments": arguments}}]}


async def test_message_is_asked_as_a_chat_and_charged_as_one(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, JSON, completion("Hello", usage=usage(20, 3)))
    client = gateway.anthropic(await gateway.key())
    answer = await client.messages.create(
        model=MODEL,
        max_tokens=100,
        messages=HI,
        system="Be brief.",
        stop_sequences=["END"],
        extra_body={"temperature": 0.5},
    )
    sent = await gateway.provider.request()
    assert sent.path == "/v1/chat/completions"
    assert sent.json() == {
        "model": MODEL,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "max_tokens": 100,
        "stop": ["END"],
        "temperature": 0.5,
    }
    assert (answer.content[0].type, answer.stop_reason, answer.model) == ("text", "end_turn", MODEL)
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (20, 3)
    row = await gateway.charged()
    assert (row.operation, row.model, row.input_tokens, row.output_tokens) == ("messages", MODEL, 20, 3)
    assert row.cost_nano_usd == 20 * 150 + 3 * 600
    assert answer.id == "msg_" + row.request_id.removeprefix("req_")


async def test_tools_pictures_and_results_go_back_and_forth(gateway: RunningGateway) -> None:
    calls = [
        {"id": f"call_{n}", "type": "function", "function": {"name": "weather", "arguments": f'{{"city": "{city}"}}'}}
        for n, city in ((1, "Bonn"), (2, "Kiel"))
    ]
    choice = {"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": calls}}
    gateway.provider.answer(200, JSON, completion(choices=[choice | {"finish_reason": "tool_calls"}]))
    gateway.provider.answer(200, JSON, completion("Rain"))
    client = gateway.anthropic(await gateway.key())
    asked = await client.messages.create(
        model=MODEL, max_tokens=100, messages=HI, tools=[WEATHER],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
    )  # fmt: skip
    assert asked.stop_reason == "tool_use"
    assert [block.input for block in asked.content if block.type == "tool_use"] == [{"city": "Bonn"}, {"city": "Kiel"}]
    first = (await gateway.provider.request()).json()
    assert (first["tool_choice"], first["parallel_tool_calls"]) == ("required", False)
    assert first["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "weather", "description": "The weather", "parameters": WEATHER["input_schema"],
            },
        }
    ]  # fmt: skip
    picture: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    results: Any = [
        {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "See"}, picture]},
        {"type": "tool_result", "tool_use_id": "call_2", "content": "no such city", "is_error": True},
        {"type": "text", "text": "Well?"},
    ]
    history: list[MessageParam] = [
        *HI, {"role": "assistant", "content": asked.content}, {"role": "user", "content": results},
    ]  # fmt: skip
    await client.messages.create(model=MODEL, max_tokens=100, messages=history, tools=[WEATHER])
    second = (await gateway.provider.request()).json()
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    assert isinstance(second["messages"], list)
    assert second["messages"][2:] == [
        {"role": "tool", "tool_call_id": "call_1", "content": "See"},
        {"role": "tool", "tool_call_id": "call_2", "content": "Error: no such city"},
        {"role": "user", "content": [image, {"type": "text", "text": "Well?"}]},
    ]
    assert [made["function"]["name"] for made in second["messages"][1]["tool_calls"]] == ["weather", "weather"]


async def test_stream_has_a_block_for_the_text_and_one_for_each_call(gateway: RunningGateway) -> None:
    chunks = [
        said({"role": "assistant", "content": ""}), said({"content": "Let me "}), said({"content": "see."}),
        said(call(0, "", "call_1", "weather")), said(call(0, '{"city": ')), said(call(0, '"Bonn"}')),
        said(call(1, "", "call_2", "weather")), b": still there\n\n", said(call(1, '{"city": "Kiel"}')),
        said({}, "tool_calls"), usage_chunk(30, 12), DONE,
    ]  # fmt: skip
    gateway.provider.answer(200, EVENT_STREAM, chunks, framing="chunked")
    client = gateway.anthropic(await gateway.key())
    kinds = []
    async with client.messages.stream(model=MODEL, max_tokens=100, messages=HI, tools=[WEATHER]) as streamed:
        async for each in streamed:
            kinds.append(each.type)
        whole = await streamed.get_final_message()
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 3
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"
    text, *calls = whole.content
    assert text.type == "text" and text.text == "Let me see."
    assert [made.input for made in calls if made.type == "tool_use"] == [{"city": "Bonn"}, {"city": "Kiel"}]
    assert (whole.stop_reason, whole.usage.input_tokens, whole.usage.output_tokens) == ("tool_use", 30, 12)
    row = await gateway.charged()
    assert (row.input_tokens, row.output_tokens, row.source) == (30, 12, "reported")


async def test_calls_that_a_server_does_not_number_are_calls_of_their_own(gateway: RunningGateway) -> None:
    def unnumbered(arguments: str, id: str | None, name: str | None, **number: Any) -> bytes:
        made = {"id": id, "function": {"name": name, "arguments": arguments}, **number}
        return said({"role": "assistant", "tool_calls": [made]})

    bonn, kiel = '{"city": "Bonn"}', '{"city": "Kiel"}'
    servers = [  # all calls the first one; no number; null; no id either, as Gemini's compatible endpoint has it
        [unnumbered(bonn, "call_1", "weather", index=0), unnumbered(kiel, "call_2", "weather", index=0)],
        [unnumbered(bonn, "call_1", "weather"), unnumbered(kiel, "call_2", "weather")],
        [unnumbered(bonn, "call_1", "weather", index=None), unnumbered(kiel, "call_2", "weather", index=None)],
        [unnumbered(bonn, "", "weather", index=0), unnumbered(kiel, "", "weather", index=0)],
        [  # the id again on every piece of one call
            unnumbered("", "call_1", "weather", index=0), unnumbered(bonn[:5], "call_1", "weather", index=0),
            unnumbered(bonn[5:], "call_1", "", index=0), unnumbered(kiel, "call_2", "weather", index=1),
        ],
    ]  # fmt: skip
    client = gateway.anthropic(await gateway.key())
    for chunks in servers:
        end = [said({}, "tool_calls"), usage_chunk(30, 12), DONE]
        gateway.provider.answer(200, EVENT_STREAM, [*chunks, *end], framing="chunked")
        async with client.messages.stream(model=MODEL, max_tokens=100, messages=HI, tools=[WEATHER]) as streamed:
            whole = await streamed.get_final_message()
        made = [block for block in whole.content if block.type == "tool_use"]
        assert [block.input for block in made] == [{"city": "Bonn"}, {"city": "Kiel"}]
        assert len({block.id for block in made}) == 2


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
async def test_parts_and_objects_of_mistrals_are_told_too(gateway: RunningGateway, streams: bool) -> None:
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
        {"type": "text", "text": "Hello"},
    ]
    made = {"content": parts, "tool_calls": [{"id": "c1", "function": {"name": "weather", "arguments": {"city": "X"}}}]}
    choice = {"index": 0, "message": {"role": "assistant", **made}, "finish_reason": "tool_calls"}
    whole = (JSON, completion(choices=[choice], usage=usage(5, 7)))
    events = (EVENT_STREAM, [said(made), said({}, "tool_calls"), usage_chunk(5, 7), DONE])
    headers, body = events if streams else whole
    gateway.provider.answer(200, headers, body)
    client = gateway.anthropic(await gateway.key())
    thinking: Any = {"type": "enabled", "budget_tokens": 8_000}
    asked: Any = {"model": "o4-mini", "max_tokens": 9_000, "messages": HI, "tools": [WEATHER], "thinking": thinking}
    if streams:
        async with client.messages.stream(**asked) as streamed:
            answer = await streamed.get_final_message()
    else:
        answer = await client.messages.create(**asked)
    thoughts, text, made_call = answer.model_dump()["content"]
    assert (thoughts["thinking"], text["text"], made_call["input"]) == ("Hm.", "Hello", {"city": "X"})
    row = await gateway.charged()
    assert (row.source, row.input_tokens, row.output_tokens) == ("reported", 5, 7)


async def test_figures_of_a_server_that_reports_none_are_those_that_are_charged(gateway: RunningGateway) -> None:
    client = gateway.anthropic(await gateway.key())
    gateway.provider.answer(200, EVENT_STREAM, [said({"content": "Hello there"}, "stop"), DONE], framing="chunked")
    async with client.messages.stream(model=MODEL, max_tokens=100, messages=HI) as streamed:
        whole = await streamed.get_final_message()
    row = await gateway.charged()
    assert (row.source, row.output_tokens) == ("counted", 2)
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (row.input_tokens, row.output_tokens)


async def test_thoughts_are_told_where_they_were_asked_for(gateway: RunningGateway) -> None:
    chunks = [
        said({"reasoning_content": "Hm. "}),
        said({"reasoning_content": "Yes."}),
        said({"content": "Yes"}, "stop"),
    ]
    client = gateway.anthropic(await gateway.key())
    for asks in (True, False):
        gateway.provider.answer(200, EVENT_STREAM, [*chunks, usage_chunk(9, 9), DONE], framing="chunked")
        thinking: Any = {"type": "enabled", "budget_tokens": 8_000} if asks else anthropic.omit
        async with client.messages.stream(
            model="o4-mini", max_tokens=9_000, messages=HI, thinking=thinking
        ) as streamed:
            whole = await streamed.get_final_message()
        sent = (await gateway.provider.request()).json()
        assert sent.get("reasoning_effort") == ("medium" if asks else None)
        assert sent["max_completion_tokens"] == 9_000
        assert [block.type for block in whole.content] == (["thinking", "text"] if asks else ["text"])


async def test_error_keeps_its_status_and_message_in_anthropics_shape(gateway: RunningGateway) -> None:
    long = "This model's maximum context length is 128000 tokens. However, your messages resulted in 200000 tokens."
    cases = [
        (429, "Rate limit reached", anthropic.RateLimitError, "rate_limit_error", "Rate limit reached"),
        (400, long, anthropic.BadRequestError, "invalid_request_error", f"prompt is too long: {long}"),
        (500, "Sorry", anthropic.InternalServerError, "api_error", "Sorry"),
    ]
    client = gateway.anthropic(await gateway.key())
    for status, text, kind, word, told in cases:
        body = json.dumps({"error": {"message": text, "type": "x", "param": None, "code": None}}).encode()
        gateway.provider.answer(status, {**JSON, "retry-after": "7"}, body)
        with pytest.raises(kind) as raised:
            await client.messages.create(model=MODEL, max_tokens=100, messages=HI)
        assert (raised.value.type, raised.value.api_message) == (word, told)
        assert raised.value.response.headers["retry-after"] == "7"


async def test_stream_that_fails_or_breaks_off_ends_with_an_error_event(gateway: RunningGateway) -> None:
    failed = event({"error": {"message": "Overloaded", "code": 503}})
    key = await gateway.key()
    ends: list[list[Step]] = [[failed], [Cut.RESET], []]
    for end in ends:
        gateway.provider.answer(200, EVENT_STREAM, [said({"content": "Hel"}), *end], framing="chunked")
        answer = await gateway.post(key, "/v1/messages", messages_body(model=MODEL, stream=True))
        last = answer.content.split(b"\n\n")[-2]
        assert last.startswith(b"event: error\ndata: ") and b"message_stop" not in answer.content
        assert json.loads(last.split(b"data: ")[1])["error"]["type"] in ("overloaded_error", "api_error")
    assert [row.outcome for row in await gateway.usage(3)] == ["upstream_failed"] * 3


async def test_fields_that_are_dropped_are_named(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, JSON, completion())
    cached = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
    body = messages_body(
        model=MODEL, max_tokens=32_000, top_k=5, system=[cached], metadata={"user_id": "u" * 70}, context_management={}
    )
    answer = await gateway.post(await gateway.key(), "/v1/messages", body)
    assert answer.status_code == 200
    dropped = set(answer.headers["x-gateway-dropped-fields"].split(", "))
    assert dropped == {"top_k", "messages.cache_control", "metadata", "context_management", "max_tokens"}
    # What Claude Code asks for is more than this model can write.
    assert (await gateway.provider.request()).json()["max_tokens"] == 16_384


TURNS: Any = [{"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]}]
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("a tool of Anthropic's", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
    ("a prefill", {"messages": [*HI, {"role": "assistant", "content": "{"}]}, "messages"),
    ("a result without a call", {"messages": [{"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "t9", "content": "x"}]}]}, "messages[0].content[0].tool_use_id"),
    ("a call without a result", {"messages": [*HI, *TURNS, {"role": "user", "content": "x"}]}, "messages"),
    ("no room", {"max_tokens": 0}, "max_tokens"),
    ("MCP servers", {"mcp_servers": [{"type": "url", "url": "https://x", "name": "x"}]}, "mcp_servers"),
    ("five stops", {"stop_sequences": list("abcde")}, "stop_sequences"),
    ("a PDF by URL", {"messages": [{"role": "user", "content": [
        {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}}]}]}, "messages[0].content[0].source"),
    ("an unknown block", {"messages": [{"role": "user", "content": [{"type": "dance"}]}]}, "messages[0].content[0]"),
    ("a system block as a number", {"system": 7}, "system"),
    ("a system block that is no text", {"system": [{"type": "document", "source": {
        "type": "text", "media_type": "text/plain", "data": "x"}}]}, "system[0].type"),
]  # fmt: skip


async def test_what_cannot_be_carried_is_refused_by_name_and_costs_nothing(gateway: RunningGateway) -> None:
    key = await gateway.key()
    for name, fields, where in REFUSED:
        answer = await gateway.post(key, "/v1/messages", messages_body(model=MODEL, **fields))
        told = answer.json()
        assert (answer.status_code, told["error"]["type"]) == (400, "invalid_request_error"), name
        assert where in told["error"]["message"], (name, told)
    assert gateway.provider.requests == [] and await gateway.usage() == []


async def test_container_is_refused_and_one_with_an_id_is_not_found(gateway: RunningGateway) -> None:
    key = await gateway.key()
    cases: list[tuple[Any, int]] = [
        ({"skills": []}, 400), ("container_foreign", 404), ({"id": "container_foreign"}, 404), (None, 200),
    ]  # fmt: skip
    gateway.provider.answer(200, JSON, completion())
    for container, status in cases:
        answer = await gateway.post(key, "/v1/messages", messages_body(model=MODEL, container=container))
        assert answer.status_code == status, container
        assert status != 400 or "`container`" in answer.json()["error"]["message"]
    assert len(gateway.provider.requests) == 1


async def test_tokens_are_counted_here_and_marked_as_an_estimate(gateway: RunningGateway) -> None:
    key = await gateway.key(limits=[(Metric.REQUESTS, Interval.DAY, 1)])
    counted = await gateway.post(key, "/v1/messages/count_tokens", {"model": MODEL, "messages": HI})
    assert counted.headers["x-gateway-estimated"] == "input_tokens"
    assert 5 <= counted.json()["input_tokens"] <= 20
    row = await gateway.charged()
    assert (row.operation, row.cost_nano_usd, row.requests) == ("messages.count_tokens", 0, 1)
    assert gateway.provider.requests == []
    assert (await gateway.post(key, "/v1/messages/count_tokens", {"model": MODEL, "messages": HI})).status_code == 429
