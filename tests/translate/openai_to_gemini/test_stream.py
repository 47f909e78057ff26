"""Gemini's streams as OpenAI's clients read them, event by event and in whatever pieces they come."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import UpstreamFailed
from gateway.translate.openai_to_gemini.stream import Stream
from tests.translate.asking import STAMP, chat
from tests.translate.telling import USAGE, USAGE_BLOCK, added_up, chunks, cut, deltas, told


def event(body: dict[str, Any]) -> bytes:
    """One event, with the line ends that Google writes."""
    return b"data: %b\r\n\r\n" % json.dumps(body).encode()


def piece(*parts: dict[str, Any], finish: str | None = None, index: int = 0, **fields: Any) -> bytes:
    candidate = {"content": {"role": "model", "parts": parts}, "index": index, **fields}
    ended = {"finishReason": finish} if finish else {}
    return event({"candidates": [candidate | ended], "usageMetadata": {"promptTokenCount": 4}})


def heard(*events: bytes, **fields: Any) -> bytes:
    return told(Stream(chat(stream=True, **fields), STAMP), events, USAGE)


USAGE_ONLY = event({"usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 9}})
CALL = {"functionCall": {"name": "get_weather", "args": {"place": "Rome"}}, "thoughtSignature": "c2ln"}


def test_text_comes_piece_by_piece_between_role_and_reason() -> None:
    stream = heard(piece({"text": "Hel"}), piece({"text": "lo"}, finish="STOP"), USAGE_ONLY)
    assert deltas(stream) == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "Hel"},
        {"content": "lo"},
        {},
    ]
    assert [body["choices"][0]["finish_reason"] for body in chunks(stream)] == [None, None, None, "stop"]


def test_reason_is_told_once_at_the_end_though_it_comes_with_every_piece() -> None:
    stream = heard(piece({"text": "Hel"}, finish="STOP"), piece({"text": "lo"}, finish="STOP"))
    assert [body["choices"][0]["finish_reason"] for body in chunks(stream)] == [None, None, None, "stop"]


def test_figures_come_in_a_chunk_of_their_own_if_asked_for() -> None:
    bodies = chunks(heard(piece({"text": "Hi"}, finish="STOP"), stream_options={"include_usage": True}))
    assert bodies[-1]["choices"] == [] and bodies[-1]["usage"] == USAGE_BLOCK


def test_calls_come_whole_with_ids_and_signatures() -> None:
    stream = heard(
        piece({"text": "Hm", "thought": True}), piece(CALL), piece(CALL | {"thoughtSignature": None}, finish="STOP")
    )
    calls = [call for delta in deltas(stream) for call in delta.get("tool_calls", ())]
    assert [(call["index"], call["id"]) for call in calls] == [(0, "call_0123_1"), (1, "call_0123_2")]
    assert calls[0]["extra_content"] == {"google": {"thought_signature": "c2ln"}}
    choice = added_up(stream)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["reasoning_content"] == "Hm"
    arguments = [json.loads(call["function"]["arguments"]) for call in choice["message"]["tool_calls"]]
    assert arguments == [{"place": "Rome"}] * 2


def test_signature_of_a_text_is_told_once() -> None:
    stream = heard(piece({"text": "Hi"}), piece({"text": "", "thoughtSignature": "c2ln"}, finish="STOP"))
    message = added_up(stream)["choices"][0]["message"]
    assert (message["content"], message["extra_content"]) == ("Hi", {"google": {"thought_signature": "c2ln"}})


def test_choices_go_on_side_by_side() -> None:
    stream = heard(
        piece({"text": "a"}), piece({"text": "b"}, index=1, finish="STOP"), piece({"text": "c"}, finish="STOP")
    )
    choices = added_up(stream)["choices"]
    assert [(one["index"], one["message"]["content"], one["finish_reason"]) for one in choices] == [
        (0, "ac", "stop"),
        (1, "b", "stop"),
    ]


def test_pictures_and_probabilities_come_along() -> None:
    chosen = {"chosenCandidates": [{"token": "Hi", "logProbability": -0.5}]}
    stream = heard(
        piece({"text": "Hi"}, logprobsResult=chosen),
        piece({"inlineData": {"mimeType": "image/png", "data": "AA=="}}, finish="STOP"),
    )
    images = [image for delta in deltas(stream) for image in delta.get("images", ())]
    assert images == [{"index": 0, "type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    logprobs = [body["choices"][0]["logprobs"] for body in chunks(stream) if body["choices"][0]["logprobs"]]
    assert [token["token"] for one in logprobs for token in one["content"]] == ["Hi"]


def test_blocked_prompt_is_a_filtered_answer() -> None:
    stream = heard(event({"promptFeedback": {"blockReason": "OTHER", "blockReasonMessage": "Not that."}}))
    assert deltas(stream)[1] == {"refusal": "Not that."}
    last = chunks(stream)[-1]["choices"][0]
    assert (last["finish_reason"], last["native_finish_reason"]) == ("content_filter", "OTHER")


def test_error_in_the_middle_is_told_and_nothing_behind_it() -> None:
    stream = heard(
        piece({"text": "Hel"}), event({"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}})
    )
    error = json.loads(stream.split(b"\n\n")[-2].removeprefix(b"data: "))["error"]
    assert (error["message"], error["type"]) == ("Overloaded", "service_unavailable_error")
    assert b"[DONE]" not in stream


@pytest.mark.parametrize("events", [[], [USAGE_ONLY], [piece({"text": "Hel"})]], ids=["nothing", "figures", "text"])
def test_stream_that_ends_too_early_is_the_providers_fault(events: list[bytes]) -> None:
    with pytest.raises(UpstreamFailed):
        heard(*events)


def test_parts_and_events_of_other_kinds_are_not_told() -> None:
    code = {"executableCode": {"code": "1+1", "language": "PYTHON"}}
    search = {"toolCall": {"toolType": "GOOGLE_SEARCH"}, "thoughtSignature": "c2ln"}
    stream = heard(
        piece(search), piece(code, {"text": "2"}, finish="STOP"), b"data: not json\r\n\r\n", b": comment\r\n\r\n"
    )
    assert deltas(stream)[1:] == [{"content": "2"}, {}]


PARTS = st.one_of(
    st.builds(lambda text: {"text": text}, st.sampled_from(["Hel", "lo", "wörld \U0001f600", "\n", ""])),
    st.builds(lambda text: {"text": text, "thought": True}, st.sampled_from(["Hm", "..."])),
    st.just(CALL),
)


@given(
    st.lists(st.lists(PARTS, max_size=3), max_size=6),
    st.sampled_from([b"\n", b"\r\n"]),
    st.lists(st.integers(0, 10_000), max_size=20),
)
def test_stream_is_told_alike_whatever_pieces_it_comes_in(
    answers: list[list[dict[str, Any]]], line_end: bytes, places: list[int]
) -> None:
    events = [piece(*parts) for parts in answers] + [piece(finish="STOP"), USAGE_ONLY]
    stream = b"".join(events).replace(b"\r\n", line_end)
    whole = heard(stream)
    assert heard(*cut(stream, places)) == whole
    assert heard(*(stream[at : at + 1] for at in range(len(stream)))) == whole
    parts = [part for answer in answers for part in answer]
    message = added_up(whole)["choices"][0]["message"]
    said = "".join(part["text"] for part in parts if "text" in part and "thought" not in part)
    assert (message["content"] or "") == said
    assert len(message["tool_calls"] or ()) == sum("functionCall" in part for part in parts)
