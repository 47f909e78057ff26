"""Gemini's whole answers and errors as OpenAI's clients read them."""

import json
from typing import Any

import pytest

from gateway.core.errors import UpstreamFailed
from gateway.translate.openai_to_gemini.answer import error_of, whole_answer
from tests.translate.asking import STAMP, chat
from tests.translate.telling import USAGE, USAGE_BLOCK, completion

CALL = chat()


def answer(*parts: dict[str, Any], finish: str = "STOP", **fields: Any) -> bytes:
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": finish, "index": 0, **fields}
    return json.dumps({"candidates": [candidate], "usageMetadata": {}, "modelVersion": "gemini-3-flash"}).encode()


def told(body: bytes) -> dict[str, Any]:
    return completion(whole_answer(body, CALL, STAMP, USAGE))


def choice(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return dict(told(answer(*parts, **fields))["choices"][0])


def test_answer_has_our_id_the_clients_model_and_the_ledgers_figures() -> None:
    assert told(answer({"text": "Hel"}, {"text": "lo"})) == {
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


def test_calls_get_ids_and_keep_their_signatures() -> None:
    told = choice(
        {"functionCall": {"name": "get_weather", "args": {"place": "Rome"}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "get_weather"}},
        {"functionCall": {"name": "now", "args": None, "id": "own"}},
    )
    assert told["finish_reason"] == "tool_calls"
    assert told["message"]["content"] is None
    calls = told["message"]["tool_calls"]
    assert [call["id"] for call in calls] == ["call_0123_1", "call_0123_2", "own"]
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"place": "Rome"}, {}, {}]
    assert [call.get("extra_content") for call in calls] == [{"google": {"thought_signature": "c2ln"}}, None, None]


def test_thoughts_are_told_apart_from_what_is_said() -> None:
    message = choice({"text": "Hm.", "thought": True}, {"text": "Hello", "thoughtSignature": "c2ln"})["message"]
    assert (message["content"], message["reasoning_content"]) == ("Hello", "Hm.")
    assert message["extra_content"] == {"google": {"thought_signature": "c2ln"}}


def test_pictures_are_told_as_data_urls() -> None:
    message = choice({"text": "Here"}, {"inlineData": {"mimeType": "image/png", "data": "AA=="}})["message"]
    assert message["images"] == [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]


def test_several_candidates_are_several_choices() -> None:
    candidates = [{"content": {"parts": [{"text": t}]}, "finishReason": "STOP", "index": n} for n, t in enumerate("ab")]
    choices = told(json.dumps({"candidates": candidates}).encode())["choices"]
    assert [(one["index"], one["message"]["content"]) for one in choices] == [(0, "a"), (1, "b")]


@pytest.mark.parametrize(
    ("finish", "expected"),
    [
        ("STOP", ("stop", None)),
        ("MAX_TOKENS", ("length", None)),
        ("SAFETY", ("content_filter", "SAFETY")),
        ("RECITATION", ("content_filter", "RECITATION")),
        ("IMAGE_SAFETY", ("content_filter", "IMAGE_SAFETY")),
        ("MALFORMED_FUNCTION_CALL", ("stop", "MALFORMED_FUNCTION_CALL")),
        ("SOMETHING_NEW", ("stop", "SOMETHING_NEW")),
    ],
)
def test_reason_why_gemini_stopped_is_said_in_openais_words(finish: str, expected: tuple[str, str | None]) -> None:
    told = choice({"text": "Hello"}, finish=finish)
    assert (told["finish_reason"], told.get("native_finish_reason")) == expected


def test_answer_that_spent_its_cap_on_thinking_is_empty() -> None:
    body = json.dumps({"candidates": [{"finishReason": "MAX_TOKENS", "index": 0}]}).encode()
    told_choice = told(body)["choices"][0]
    assert (told_choice["message"]["content"], told_choice["finish_reason"]) == ("", "length")


def test_blocked_prompt_is_a_filtered_answer() -> None:
    feedback = {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": "Not that."}
    only = told(json.dumps({"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 4}}).encode())["choices"]
    assert len(only) == 1
    assert (only[0]["finish_reason"], only[0]["native_finish_reason"]) == ("content_filter", "PROHIBITED_CONTENT")
    assert (only[0]["message"]["content"], only[0]["message"]["refusal"]) == (None, "Not that.")


def test_probabilities_are_told_by_token() -> None:
    chosen = [{"token": "Hi", "logProbability": -0.5, "tokenId": 7}, {"token": "é", "logProbability": -1}]
    tops = [{"candidates": [{"token": "Hi", "logProbability": -0.5}, {"token": "Ho", "logProbability": -2.5}]}]
    told = choice({"text": "Hié"}, logprobsResult={"chosenCandidates": chosen, "topCandidates": tops})
    assert told["logprobs"]["content"] == [
        {
            "token": "Hi",
            "logprob": -0.5,
            "bytes": [72, 105],
            "top_logprobs": [
                {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]},
                {"token": "Ho", "logprob": -2.5, "bytes": [72, 111]},
            ],
        },
        {"token": "é", "logprob": -1, "bytes": [195, 169], "top_logprobs": []},
    ]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"candidates":7}'])
def test_answer_that_is_none_is_the_providers_fault(body: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        whole_answer(body, CALL, STAMP, None)


@pytest.mark.parametrize("wrapped", [False, True], ids=["alone", "in a list"])
def test_error_keeps_its_message_and_says_when_to_come_back(wrapped: bool) -> None:
    details = [
        {"@type": "type.googleapis.com/google.rpc.Help", "links": []},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"},
    ]
    body = {"error": {"code": 429, "message": "Slow down", "status": "RESOURCE_EXHAUSTED", "details": details}}
    answered = error_of(429, json.dumps([body] if wrapped else body).encode())
    error = json.loads(answered.body)["error"]
    assert (error["message"], error["type"], error["code"]) == ("Slow down", "requests", "rate_limit_exceeded")
    assert answered.retry_after_seconds == 34.07


@pytest.mark.parametrize("delay", ["34", "soon", "-3s", "1.2.3s", "s", "", None])
def test_delay_that_is_none_is_not_told(delay: str | None) -> None:
    body = {"error": {"code": 503, "message": "Overloaded", "details": [{"retryDelay": delay}]}}
    assert error_of(503, json.dumps(body).encode()).retry_after_seconds is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b"[]", b'{"error":"x"}'])
def test_error_in_no_known_shape_is_told_by_its_status(body: bytes) -> None:
    assert "502" in json.loads(error_of(502, body).body)["error"]["message"]
