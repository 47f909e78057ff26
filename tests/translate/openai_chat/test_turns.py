"""Messages as turns of two speakers: what is merged, moved, left out, and what makes no sense."""

from typing import Any

import pytest

from gateway.core.errors import InvalidRequest
from gateway.translate.openai_chat.media import Media
from gateway.translate.openai_chat.request import read
from gateway.translate.openai_chat.turns import (
    OPENING,
    Called,
    Conversation,
    Result,
    Text,
    Thoughts,
    Turn,
    conversation,
)
from tests.translate.asking import HELLO, PIXEL, called, chat, result


def turns_of(*messages: dict[str, Any]) -> Conversation:
    return conversation(read(chat(*messages))[0].messages)


def refused(*messages: dict[str, Any]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        turns_of(*messages)
    return caught.value


def test_system_and_developer_messages_are_taken_out_wherever_they_stand() -> None:
    said = turns_of(
        {"role": "system", "content": "One"}, HELLO, {"role": "developer", "content": [{"type": "text", "text": "Two"}]}
    )
    assert [text.text for text in said.system] == ["One", "Two"]
    assert said.turns == [Turn(False, [Text("Hello")])]


def test_instructions_alone_are_what_is_to_be_answered() -> None:
    said = turns_of({"role": "system", "content": "Write a haiku"})
    assert said.system == []
    assert said.turns == [Turn(False, [Text("Write a haiku")])]


def test_neighbours_of_one_role_become_one_turn() -> None:
    said = turns_of(HELLO, {"role": "user", "content": "Again"}, {"role": "assistant", "content": "Yes?"}, HELLO)
    assert [(turn.is_assistants, len(turn.pieces)) for turn in said.turns] == [(False, 2), (True, 1), (False, 1)]


def test_empty_messages_are_left_out() -> None:
    said = turns_of(HELLO, {"role": "assistant", "content": " \n"}, {"role": "user", "content": []}, HELLO)
    assert said.turns == [Turn(False, [Text("Hello"), Text("Hello")])]


def test_conversation_of_nothing_is_refused() -> None:
    assert refused({"role": "user", "content": ""}).param == "messages"


def test_assistant_who_speaks_first_is_preceded_by_a_user() -> None:
    said = turns_of({"role": "assistant", "content": "How can I help?"}, HELLO)
    assert said.turns[0] == Turn(False, [Text(OPENING)])


def test_results_of_one_turn_stand_together_at_the_head_of_the_next() -> None:
    said = turns_of(HELLO, called("a", "b"), result("b"), {"role": "user", "content": "And?"}, result("a", "Rain"))
    assert said.turns[2].pieces == [
        Result("b", "get_weather", "Sunny"),
        Result("a", "get_weather", "Rain"),
        Text("And?"),
    ]


def test_result_in_parts_is_one_text() -> None:
    parts = [{"type": "text", "text": "Sun"}, {"type": "text", "text": "ny"}]
    assert turns_of(HELLO, called("a"), result("a", parts)).turns[2].pieces == [Result("a", "get_weather", "Sunny")]


def test_call_without_arguments_has_an_empty_object() -> None:
    piece = turns_of(HELLO, called("a", arguments=""), result("a")).turns[1].pieces[0]
    assert isinstance(piece, Called) and bytes(piece.arguments) == b"{}"


def test_ids_are_made_plain_and_differ_over_the_whole_conversation() -> None:
    said = turns_of(HELLO, called("call.1", "call:1"), result("call.1"), result("call:1"), called(""), result(""))
    pieces = [piece for turn in said.turns for piece in turn.pieces]
    calls = [piece.id for piece in pieces if isinstance(piece, Called)]
    assert calls == ["call_1", "call_1_2", "call"]
    assert [piece.id for piece in pieces if isinstance(piece, Result)] == calls


def test_same_id_in_a_later_turn_is_another_call() -> None:
    said = turns_of(HELLO, called("a"), result("a"), called("a"), result("a", "Rain"))
    assert said.turns[4].pieces == [Result("a_2", "get_weather", "Rain")]


def test_image_keeps_its_bytes_or_its_url() -> None:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in (PIXEL, "https://example.com/a.png")]
    pieces = turns_of({"role": "user", "content": parts}).turns[0].pieces
    assert pieces == [
        Media("image", "messages[0].content[0]", "image/png", "iVBORw0KGgo="),
        Media("image", "messages[0].content[1]", url="https://example.com/a.png"),
    ]


def test_assistants_refusal_is_what_it_said() -> None:
    by_field = turns_of(HELLO, {"role": "assistant", "content": None, "refusal": "No."}, HELLO)
    by_part = turns_of(HELLO, {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, HELLO)
    assert by_field.turns[1] == by_part.turns[1] == Turn(True, [Text("No.")])


def test_what_no_other_provider_has_a_word_for_is_told() -> None:
    said = turns_of({**HELLO, "name": "Ann"}, {"role": "assistant", "content": "Hm", "reasoning_content": "..."}, HELLO)
    assert said.lost == ["messages.name", "messages.reasoning_content"]


DEEP = '{"a":' * 200 + "1" + "}" * 200
AS_RESULT = {"role": "tool", "tool_call_id": "a"}


def test_thoughts_without_a_signature_are_not_taken_back() -> None:
    signed, unsigned = ({"type": "thinking", "thinking": "Hm.", **more} for more in ({"signature": "s"}, {}))
    said = turns_of(HELLO, {"role": "assistant", "content": "Hi", "thinking_blocks": [unsigned, signed]}, HELLO)
    thoughts = said.turns[1].pieces[0]
    assert isinstance(thoughts, Thoughts) and [block.signature for block in thoughts.blocks] == ["s"]
    assert said.lost == ["messages.thinking_blocks"]


def part(**fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": [fields]}


@pytest.mark.parametrize(
    ("param", "messages"),
    [
        ("messages[0].tool_call_id", [result("a")]),
        ("messages[2].tool_call_id", [HELLO, called("a"), result("b")]),
        ("messages[3].tool_call_id", [HELLO, called("a"), result("a"), result("a")]),
        ("messages[1].tool_call_id", [HELLO, {"role": "tool", "content": "Sunny"}]),
        ("messages[1].tool_calls", [HELLO, called("a", "b"), result("a")]),
        ("messages[1].tool_calls", [HELLO, called("a"), {"role": "assistant", "content": "Well"}]),
        ("messages[1].tool_calls[1].id", [HELLO, called("a", "a"), result("a")]),
        ("messages[1].tool_calls[0].function.arguments", [HELLO, called("a", arguments="[1]"), result("a")]),
        ("messages[1].tool_calls[0].function.arguments", [HELLO, called("a", arguments='{"a":'), result("a")]),
        ("messages[2].content", [HELLO, called("a"), part(type="image_url", image_url={"url": PIXEL}) | AS_RESULT]),
        ("messages[0].content", [part(type="image_url", image_url={"url": PIXEL}) | {"role": "system"}, HELLO]),
        ("messages[1].tool_calls[0].function.arguments", [HELLO, called("a", arguments=DEEP), result("a")]),
        ("messages[0].role", [{"role": "function", "name": "f", "content": "x"}]),
        ("messages[0].role", [{"content": "x"}]),
        ("messages[0].content", [{"role": "user", "content": 7}]),
        ("messages[0].content[0].type", [part(type="video_url")]),
        ("messages[0].content[0].image_url.url", [part(type="image_url", image_url={"url": "file:///etc/passwd"})]),
        ("messages[0].content[0].image_url.url", [part(type="image_url", image_url={"url": "data:image/png,x"})]),
        ("messages[0].content[0].image_url.url", [part(type="image_url", image_url={"url": "data:;base64,x"})]),
        ("messages[0].content[0].file", [part(type="file", file={"file_id": "file-1"})]),
        ("messages[0].content[0].file.file_data", [part(type="file", file={"file_data": "aGk=", "filename": "x.exe"})]),
        ("messages[1].audio", [HELLO, {"role": "assistant", "audio": {"id": "audio_1"}}]),
        ("messages[1].function_call", [HELLO, {"role": "assistant", "function_call": {"name": "f", "arguments": ""}}]),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(param: str, messages: list[dict[str, Any]]) -> None:
    error = refused(*messages)
    assert (error.status, error.param) == (400, param)
