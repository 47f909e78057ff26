"""Claude's whole answers and errors as OpenAI's clients read them."""

import json
from typing import Any

import pytest

from gateway.core.errors import UpstreamFailed
from gateway.translate.openai_to_anthropic.answer import error_of, whole_answer
from tests.translate.asking import STAMP, chat
from tests.translate.telling import USAGE, USAGE_BLOCK, completion

CALL = chat()


def answer(*content: dict[str, Any], stop_reason: str = "end_turn", **fields: Any) -> bytes:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-5", "content": content}
    return json.dumps({**message, "stop_reason": stop_reason, "stop_sequence": None, **fields}).encode()


def choice(*content: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return dict(completion(whole_answer(answer(*content, **fields), CALL, STAMP, USAGE))["choices"][0])


def text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text, "citations": None}


def test_answer_has_our_id_the_clients_model_and_the_ledgers_figures() -> None:
    assert completion(whole_answer(answer(text("Hel"), text("lo")), CALL, STAMP, USAGE)) == {
        "id": "chatcmpl-0123",
        "object": "chat.completion",
        "created": STAMP.asked_at,
        "model": "the-model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE_BLOCK,
    }


def test_figures_that_nobody_reported_are_left_out() -> None:
    assert "usage" not in completion(whole_answer(answer(text("Hello")), CALL, STAMP, None))


def test_tools_that_claude_uses_are_calls_with_their_arguments_as_text() -> None:
    use = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"place": "Rome"}}
    told = choice(use, {**use, "id": "toolu_2", "input": {}}, stop_reason="tool_use")
    assert told["finish_reason"] == "tool_calls"
    assert told["message"]["content"] is None
    calls = told["message"]["tool_calls"]
    assert [(call["id"], call["type"], call["function"]["name"]) for call in calls] == [
        ("toolu_1", "function", "get_weather"),
        ("toolu_2", "function", "get_weather"),
    ]
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"place": "Rome"}, {}]


def test_thoughts_are_told_and_kept_with_their_signatures() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "sig"}
    secret = {"type": "redacted_thinking", "data": "secret"}
    message = choice(thought, secret, text("Hello"))["message"]
    assert message["reasoning_content"] == "Hm."
    assert message["thinking_blocks"] == [thought, secret]


@pytest.mark.parametrize(
    ("stop_reason", "expected"),
    [
        ("end_turn", ("stop", None)),
        ("stop_sequence", ("stop", None)),
        ("tool_use", ("tool_calls", None)),
        ("max_tokens", ("length", None)),
        ("model_context_window_exceeded", ("length", "model_context_window_exceeded")),
        ("refusal", ("content_filter", "refusal")),
        ("pause_turn", ("stop", "pause_turn")),
        ("something_new", ("stop", "something_new")),
    ],
)
def test_reason_why_claude_stopped_is_said_in_openais_words(stop_reason: str, expected: tuple[str, str | None]) -> None:
    told = choice(text("Hello"), stop_reason=stop_reason)
    assert (told["finish_reason"], told.get("native_finish_reason")) == expected


def test_refusal_is_told_with_its_explanation() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "Not that."}
    assert choice(stop_reason="refusal", stop_details=details)["message"]["refusal"] == "Not that."


def test_blocks_of_the_providers_own_tools_are_not_told() -> None:
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    assert choice(search, found, text("Hello"))["message"]["content"] == "Hello"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"content":7}', b'{"completion":"old"}'])
def test_answer_that_is_none_is_the_providers_fault(body: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        whole_answer(body, CALL, STAMP, None)


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, "invalid_request_error", ("invalid_request_error", None)),
        (404, "not_found_error", ("invalid_request_error", "model_not_found")),
        (413, "request_too_large", ("invalid_request_error", "request_too_large")),
        (429, "rate_limit_error", ("requests", "rate_limit_exceeded")),
        (500, "api_error", ("server_error", None)),
        (529, "overloaded_error", ("service_unavailable_error", "server_is_overloaded")),
    ],
)
def test_error_keeps_its_message_and_gets_openais_type(
    status: int, kind: str, expected: tuple[str, str | None]
) -> None:
    body = {"type": "error", "error": {"type": kind, "message": "What is wrong"}, "request_id": "req_x"}
    error = json.loads(error_of(status, json.dumps(body).encode()).body)["error"]
    assert (error["message"], error["param"]) == ("What is wrong", None)
    assert (error["type"], error["code"]) == expected


def test_prompt_that_is_too_long_is_told_by_openais_code() -> None:
    body = b'{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens > 8"}}'
    error = json.loads(error_of(400, body).body)["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"error":"x"}'])
def test_error_in_no_known_shape_is_told_by_its_status(body: bytes) -> None:
    assert "502" in json.loads(error_of(502, body).body)["error"]["message"]
