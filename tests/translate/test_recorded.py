"""Streams that real providers sent, as OpenAI's own SDK reads them after the translation."""

import json
from typing import Any

import pytest

from gateway.translate.openai_to_anthropic.stream import Stream as ClaudeStream
from gateway.translate.openai_to_gemini.stream import Stream as GeminiStream
from tests.recorded import Recorded, gemini_streams, recorded_streams
from tests.translate.asking import STAMP, chat
from tests.translate.telling import added_up, told

CALL = chat(stream=True)
CLAUDES = [recorded for recorded in recorded_streams() if recorded.path == "/v1/messages"]


def by_name(recorded: Recorded) -> str:
    return recorded.name


def claudes_words(bodies: list[Any]) -> tuple[str, list[Any]]:
    """What Claude said, and the inputs of the tools that it called."""
    said, calls, open_call = "", [], ""
    for body in bodies:
        kind, delta, block = body.get("type"), body.get("delta", {}), body.get("content_block", {})
        if delta.get("type") == "text_delta":
            said += delta["text"]
        elif kind == "content_block_start" and block["type"] == "tool_use":
            calls.append("")
        if kind == "content_block_start":
            open_call = block["type"]
        if delta.get("type") == "input_json_delta" and open_call == "tool_use":
            calls[-1] += delta["partial_json"]
    return said, [json.loads(call or "{}") for call in calls]


def geminis_words(bodies: list[Any]) -> tuple[str, list[Any]]:
    """What Gemini said, and the arguments of the functions that it called."""
    parts = [
        part
        for body in bodies
        for candidate in body.get("candidates", ())
        for part in candidate.get("content", {}).get("parts", ())
    ]
    said = "".join(part.get("text", "") for part in parts if not part.get("thought"))
    return said, [part["functionCall"].get("args", {}) for part in parts if "functionCall" in part]


@pytest.mark.parametrize("recorded", CLAUDES, ids=by_name)
def test_recorded_stream_of_claude_is_told_alike_in_one_piece_and_byte_by_byte(recorded: Recorded) -> None:
    check(told(ClaudeStream(CALL, STAMP), [recorded.stream]), recorded, claudes_words(recorded.bodies))
    bytewise = [recorded.stream[at : at + 1] for at in range(len(recorded.stream))]
    check(told(ClaudeStream(CALL, STAMP), bytewise), recorded, claudes_words(recorded.bodies))


@pytest.mark.parametrize("recorded", gemini_streams(), ids=by_name)
def test_recorded_stream_of_gemini_is_told_alike_in_one_piece_and_byte_by_byte(recorded: Recorded) -> None:
    check(told(GeminiStream(CALL, STAMP), [recorded.stream]), recorded, geminis_words(recorded.bodies))
    bytewise = [recorded.stream[at : at + 1] for at in range(len(recorded.stream))]
    check(told(GeminiStream(CALL, STAMP), bytewise), recorded, geminis_words(recorded.bodies))


def check(stream: bytes, recorded: Recorded, words: tuple[str, list[Any]]) -> None:
    choice = added_up(stream)["choices"][0]
    said, calls = words
    assert (choice["message"]["content"] or "") == said, recorded.name
    given = [json.loads(call["function"]["arguments"]) for call in choice["message"]["tool_calls"] or ()]
    assert given == calls, recorded.name
    assert choice["finish_reason"] in ("stop", "tool_calls", "length", "content_filter")
