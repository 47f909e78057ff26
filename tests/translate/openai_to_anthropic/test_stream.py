"""Claude's streams as OpenAI's clients read them, event by event and in whatever pieces they come."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import UpstreamFailed
from gateway.core.usage import Usage
from gateway.translate.openai_to_anthropic.stream import Stream
from tests.translate.asking import STAMP, chat
from tests.translate.telling import USAGE, USAGE_BLOCK, added_up, chunks, cut, deltas, told


def event(kind: str, **fields: Any) -> bytes:
    """One event, padded as Anthropic pads them."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}     \n\n".encode()


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[bytes]:
    return [
        event("content_block_start", index=index, content_block=start),
        *(event("content_block_delta", index=index, delta=delta) for delta in deltas),
        event("content_block_stop", index=index),
    ]


def text(index: int, *words: str) -> list[bytes]:
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": word} for word in words))


def tool(index: int, id: str, *pieces: str) -> list[bytes]:
    start = {"type": "tool_use", "id": id, "name": "get_weather", "input": {}}
    return block(index, start, *({"type": "input_json_delta", "partial_json": piece} for piece in pieces))


def thinking(index: int, *words: str) -> list[bytes]:
    said = [{"type": "thinking_delta", "thinking": word} for word in words]
    return block(
        index,
        {"type": "thinking", "thinking": "", "signature": ""},
        *said,
        {"type": "signature_delta", "signature": "s"},
    )


MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "usage": {"input_tokens": 9}}
START = event("message_start", message=MESSAGE)
PING = event("ping")
STOP = event("message_stop")
SECRET = block(0, {"type": "redacted_thinking", "data": "secret"})


def end(stop_reason: str = "end_turn", **delta: Any) -> list[bytes]:
    return [event("message_delta", delta={"stop_reason": stop_reason, **delta}, usage={"output_tokens": 5}), STOP]


def heard(*events: bytes, usage: Usage | None = USAGE, **fields: Any) -> bytes:
    return told(Stream(chat(stream=True, **fields), STAMP), events, usage)


def test_text_comes_word_by_word_between_role_and_reason() -> None:
    stream = heard(START, PING, *text(0, "Hel", "lo"), *end())
    assert deltas(stream) == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "Hel"},
        {"content": "lo"},
        {},
    ]
    bodies = chunks(stream)
    assert [body["choices"][0]["finish_reason"] for body in bodies] == [None, None, None, "stop"]
    assert {(body["id"], body["object"], body["created"], body["model"]) for body in bodies} == {
        ("chatcmpl-0123", "chat.completion.chunk", STAMP.asked_at, "the-model")
    }
    assert all("usage" not in body for body in bodies)
    assert b": ping\n\n" in stream


def test_figures_come_in_a_chunk_of_their_own_if_asked_for() -> None:
    bodies = chunks(heard(START, *text(0, "Hi"), *end(), stream_options={"include_usage": True}))
    assert bodies[-1]["choices"] == [] and bodies[-1]["usage"] == USAGE_BLOCK
    assert all(body["usage"] is None for body in bodies[:-1])


def test_figures_that_nobody_reported_are_left_out() -> None:
    bodies = chunks(heard(START, *end(), usage=None, stream_options={"include_usage": True}))
    assert all(body["choices"] for body in bodies)


def test_calls_are_counted_apart_from_other_blocks() -> None:
    stream = heard(
        START, *thinking(0, "Hm"), *text(1, "Let me see."), *tool(2, "toolu_1", "", '{"pla', 'ce":"Rome"}'),
        *tool(3, "toolu_2"), *end("tool_use"),
    )  # fmt: skip
    calls = [call for delta in deltas(stream) for call in delta.get("tool_calls", ())]
    assert calls == [
        {"index": 0, "id": "toolu_1", "type": "function", "function": {"name": "get_weather", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"pla'}},
        {"index": 0, "function": {"arguments": 'ce":"Rome"}'}},
        {"index": 1, "id": "toolu_2", "type": "function", "function": {"name": "get_weather", "arguments": ""}},
        {"index": 1, "function": {"arguments": "{}"}},
    ]
    assert added_up(stream)["choices"][0]["finish_reason"] == "tool_calls"


def test_thoughts_are_told_as_they_come_and_signed_when_they_end() -> None:
    stream = heard(START, *SECRET, *thinking(1, "Hm", "."), *text(2, "Hello"), *end())
    assert deltas(stream)[1:5] == [
        {"thinking_blocks": [{"index": 0, "type": "redacted_thinking", "data": "secret"}]},
        {"reasoning_content": "Hm"},
        {"reasoning_content": "."},
        {"thinking_blocks": [{"index": 1, "type": "thinking", "thinking": "Hm.", "signature": "s"}]},
    ]
    message = added_up(stream)["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("Hello", "Hm.")
    assert [one["type"] for one in message["thinking_blocks"]] == ["redacted_thinking", "thinking"]


def test_refusal_is_told_with_its_explanation() -> None:
    stream = heard(START, *end("refusal", stop_details={"type": "refusal", "explanation": "Not that."}))
    assert deltas(stream)[1:] == [{"refusal": "Not that."}, {}]
    assert chunks(stream)[-1]["choices"][0]["finish_reason"] == "content_filter"


def test_events_of_the_providers_own_tools_and_of_later_days_are_not_told() -> None:
    search = block(
        0, {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"query":"x"}'},
    )  # fmt: skip
    later = [event("something_new", delta={"type": "odd"}), b"data: not json\n\n", b": comment\n\n"]
    cited = event("content_block_delta", index=1, delta={"type": "citations_delta", "citation": {}})
    stream = heard(START, *search, *later, *text(1, "Hi"), cited, *end())
    assert deltas(stream)[1:] == [{"content": "Hi"}, {}]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("overloaded_error", "service_unavailable_error"), ("rate_limit_error", "requests"), ("odd", "server_error")],
)
def test_error_in_the_middle_is_told_and_nothing_behind_it(kind: str, expected: str) -> None:
    stream = heard(START, *text(0, "Hel"), event("error", error={"type": kind, "message": "Too busy"}))
    last = stream.split(b"\n\n")[-2]
    error = json.loads(last.removeprefix(b"data: "))["error"]
    assert (error["message"], error["type"]) == ("Too busy", expected)
    assert b"[DONE]" not in stream


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_stream_that_ends_too_early_is_the_providers_fault(missing: int) -> None:
    with pytest.raises(UpstreamFailed):
        heard(*[START, *text(0, "Hel"), *end()][:-missing])


WORDS = st.lists(st.sampled_from(["Hel", "lo", "wörld \U0001f600", " ", "\n", '"']), max_size=4)
BLOCKS = st.one_of(
    st.builds(lambda words: ("text", words), WORDS),
    st.builds(lambda words: ("thinking", words), WORDS),
    st.builds(lambda pieces: ("tool", pieces), st.sampled_from([[], ['{"a":', "1}"], [""]])),
)


def events_of(blocks: list[tuple[str, list[str]]]) -> list[bytes]:
    events = [START]
    for index, (kind, words) in enumerate(blocks):
        match kind:
            case "text":
                events += text(index, *words)
            case "thinking":
                events += thinking(index, *words)
            case _:
                events += tool(index, f"toolu_{index}", *words)
        events.append(PING)
    return [*events, *end()]


@given(st.lists(BLOCKS, max_size=5), st.sampled_from([b"\n", b"\r\n"]), st.lists(st.integers(0, 10_000), max_size=20))
def test_stream_is_told_alike_whatever_pieces_it_comes_in(
    blocks: list[tuple[str, list[str]]], line_end: bytes, places: list[int]
) -> None:
    events = events_of(blocks)
    stream = b"".join(events).replace(b"\n", line_end)
    whole = heard(stream)
    assert heard(*cut(stream, places)) == whole
    assert heard(*(stream[at : at + 1] for at in range(len(stream)))) == whole
    message = added_up(whole)["choices"][0]["message"]
    assert (message["content"] or "") == "".join(word for kind, words in blocks if kind == "text" for word in words)
    arguments = [call["function"]["arguments"] for call in message["tool_calls"] or ()]
    assert arguments == ["".join(words) or "{}" for kind, words in blocks if kind == "tool"]
