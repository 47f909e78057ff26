"""What Claude is asked, field by field, and that its own SDK could have sent such a body."""

import json
from typing import Any

import msgspec
import pytest
from anthropic.types.message_create_params import MessageCreateParams
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import InvalidRequest
from gateway.core.prices import ModelFacts
from gateway.translate.openai_chat.turns import OPENING
from gateway.translate.openai_to_anthropic.request import JSON_ONLY, asked_of_claude
from tests.translate.asking import HELLO, PIXEL, PLAIN, THINKER, WEATHER, called, chat, result
from tests.translate.conversations import CONVERSATIONS, FIELDS
from tests.translate.typed import misfit

BY_BUDGET, BY_EFFORT, NEWEST, OLD = "claude-sonnet-4-5", "claude-opus-4-6", "claude-opus-5", "claude-3-5-haiku-latest"
UNSAMPLED = "claude-opus-4-8"
MODELS = (BY_BUDGET, BY_EFFORT, UNSAMPLED, NEWEST, OLD, "claude-3-7-sonnet-latest", "claude-haiku-4-5-20251001")


def asked(*messages: dict[str, Any], model: str = BY_BUDGET, facts: ModelFacts = THINKER, **fields: Any) -> Any:
    """The body that Claude gets."""
    return json.loads(msgspec.json.encode(asked_of_claude(chat(*messages, **fields), model, facts)[0]))


def lost(*messages: dict[str, Any], model: str = BY_BUDGET, facts: ModelFacts = THINKER, **fields: Any) -> Any:
    """The fields that are told to be dropped."""
    return asked_of_claude(chat(*messages, **fields), model, facts)[1]


def refused(*messages: dict[str, Any], **fields: Any) -> str | None:
    with pytest.raises(InvalidRequest) as caught:
        asked(*messages, **fields)
    return caught.value.param


@given(CONVERSATIONS, FIELDS, st.sampled_from(MODELS), st.sampled_from([THINKER, PLAIN]))
def test_request_of_any_conversation_is_one_that_the_sdk_could_send(
    messages: list[dict[str, Any]], fields: dict[str, Any], model: str, facts: ModelFacts
) -> None:
    body = asked(*messages, model=model, facts=facts, **fields)
    # The SDK has forgotten these two, though the models that took them still do.
    samplers = ("temperature", "top_p")
    assert misfit({name: body[name] for name in body if name not in samplers}, MessageCreateParams) is None
    roles = [message["role"] for message in body["messages"]]
    assert roles == (["user", "assistant"] * len(roles))[: len(roles)]
    assert_tools_make_sense(body)
    assert_thinking_makes_sense(body)


def assert_tools_make_sense(body: dict[str, Any]) -> None:
    """Every call has its result at the head of the next message and no other has one; called tools are declared."""
    open_ids: list[str] = []
    for message in body["messages"]:
        blocks = message["content"]
        assert blocks and all(block.get("text", "x").strip() for block in blocks)
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        assert sorted(results) == sorted(open_ids)
        assert all(block["type"] == "tool_result" for block in blocks[: len(results)])
        open_ids = [block["id"] for block in blocks if block["type"] == "tool_use"]
    assert not open_ids
    if any(block["type"] == "tool_use" for message in body["messages"] for block in message["content"]):
        assert body["tools"]


def assert_thinking_makes_sense(body: dict[str, Any]) -> None:
    """A budget leaves room to speak; nothing that contradicts thinking is sent with it."""
    thinking = body.get("thinking", {"type": "disabled"})
    assert 1024 <= thinking.get("budget_tokens", 1024) < max(body["max_tokens"], 1025)
    if thinking["type"] != "disabled":
        assert "temperature" not in body and "top_p" not in body
        assert body.get("tool_choice", {"type": "auto"})["type"] in ("auto", "none")
    if body["model"] not in (OLD, "claude-3-7-sonnet-latest"):
        assert not {"temperature", "top_p"} <= body.keys()


def test_shortest_request_asks_for_the_models_maximum() -> None:
    assert asked() == {
        "model": BY_BUDGET,
        "max_tokens": THINKER.max_output_tokens,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
    }


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_clients_cap_is_the_cap(field: str) -> None:
    fields: dict[str, Any] = {field: 77}
    assert asked(**fields)["max_tokens"] == 77


def test_tool_round_becomes_blocks() -> None:
    body = asked(
        {"role": "system", "content": "Be brief."}, HELLO, called("a", "b"), result("b"), result("a", ""),
        {"role": "user", "content": "Well?"}, tools=[WEATHER],
    )  # fmt: skip
    assert body["system"] == [{"type": "text", "text": "Be brief."}]
    call = {"type": "tool_use", "name": "get_weather", "input": {"place": "Rome"}}
    assert body["messages"][1:] == [
        {"role": "assistant", "content": [{**call, "id": "a"}, {**call, "id": "b"}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "b", "content": "Sunny"},
                {"type": "tool_result", "tool_use_id": "a"},
                {"type": "text", "text": "Well?"},
            ],
        },
    ]
    function = WEATHER["function"]
    assert isinstance(function, dict)
    assert body["tools"] == [
        {"name": "get_weather", "description": function["description"], "input_schema": function["parameters"]}
    ]


def test_function_without_parameters_takes_an_empty_object() -> None:
    tools = [{"type": "function", "function": {"name": "now", "strict": True}}]
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    assert asked(tools=tools)["tools"] == [{"name": "now", "input_schema": schema, "strict": True}]


def test_strict_function_that_claude_cannot_keep_to_is_an_ordinary_one() -> None:
    circle = {"type": "object", "properties": {"next": {"$ref": "#"}}, "additionalProperties": False}
    bounds = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}, "additionalProperties": False}
    tools = [{"type": "function", "function": {"name": "f", "strict": True, "parameters": circle}}]
    assert asked(tools=tools)["tools"] == [{"name": "f", "input_schema": circle}]
    assert lost(tools=tools) == ("tools.strict",)
    tools = [{"type": "function", "function": {"name": "f", "strict": True, "parameters": bounds}}]
    told = asked(tools=tools)["tools"][0]
    assert told["strict"] and told["input_schema"]["properties"]["a"] == {
        "type": "integer", "description": '{"minimum":1}',
    }  # fmt: skip
    assert lost(tools=tools) == ("tools.minimum",)
    tools = [{"type": "function", "function": {"name": "f", "parameters": bounds}}]
    assert asked(tools=tools)["tools"] == [{"name": "f", "input_schema": bounds}] and lost(tools=tools) == ()


def test_tools_of_the_past_are_declared_and_not_to_be_called() -> None:
    body = asked(HELLO, called("a"), result("a"))
    assert [tool["name"] for tool in body["tools"]] == ["get_weather"]
    assert body["tool_choice"] == {"type": "none"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, {"type": "tool", "name": "f"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"tool_choice": "required", "parallel_tool_calls": False},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        ({"parallel_tool_calls": True}, None),
    ],
)
def test_choice_of_tools_is_said_in_claudes_words(fields: dict[str, Any], expected: dict[str, Any] | None) -> None:
    assert asked(tools=[WEATHER], **fields).get("tool_choice") == expected


def test_allowed_tools_are_the_only_ones_sent() -> None:
    other = {"type": "function", "function": {"name": "other"}}
    chosen = {"mode": "required", "tools": [{"type": "function", "function": {"name": "other"}}]}
    body = asked(tools=[WEATHER, other], tool_choice={"type": "allowed_tools", "allowed_tools": chosen})
    assert [tool["name"] for tool in body["tools"]] == ["other"]
    assert body["tool_choice"] == {"type": "any"}


def test_images_and_documents_go_as_they_are_or_by_url() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": "data:text/plain;base64,SGVsbG8="}},
    ]
    assert asked({"role": "user", "content": parts})["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
            "title": "a.pdf",
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Hello"}},
    ]


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}, "messages[0].content[0]"),
        (
            {"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AA=="}},
            "messages[0].content[0].image_url.url",
        ),
        (
            {"type": "file", "file": {"file_data": "data:video/mp4;base64,AA=="}},
            "messages[0].content[0].file.file_data",
        ),
        (
            {"type": "file", "file": {"file_data": "data:text/plain;base64,/w=="}},
            "messages[0].content[0].file.file_data",
        ),
    ],
)
def test_media_that_claude_does_not_take_are_refused_by_name(part: dict[str, Any], param: str) -> None:
    assert refused({"role": "user", "content": [part]}) == param


def test_end_of_a_prefix_to_cache_is_marked() -> None:
    part = {"type": "text", "text": "Long", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    point = {"type": "text", "text": "Long", "prompt_cache_breakpoint": {"mode": "explicit"}}
    body = asked(
        {"role": "system", "content": [part]}, {"role": "user", "content": [point]},
        tools=[{**WEATHER, "cache_control": {"type": "ephemeral"}}],
    )  # fmt: skip
    marks = [one["cache_control"] for one in (body["system"][0], body["messages"][0]["content"][0], body["tools"][0])]
    assert marks == [{"type": "ephemeral"}] * 3


def test_thoughts_go_back_as_they_were_signed() -> None:
    blocks = [
        {"index": 0, "type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "redacted_thinking", "data": "secret"},
    ]
    message = called("a", thinking_blocks=blocks, reasoning_content="Hm.")
    content = asked(HELLO, message, result("a"), reasoning_effort="low")["messages"][1]["content"]
    assert content[:2] == [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "redacted_thinking", "data": "secret"},
    ]


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "config"),
    [
        (BY_BUDGET, "low", {"type": "enabled", "budget_tokens": 1024}, None),
        (BY_BUDGET, "high", {"type": "enabled", "budget_tokens": 16384}, None),
        (BY_BUDGET, "none", None, None),
        (BY_EFFORT, "medium", {"type": "adaptive", "display": "summarized"}, {"effort": "medium"}),
        (BY_EFFORT, "xhigh", {"type": "adaptive", "display": "summarized"}, {"effort": "high"}),
        (UNSAMPLED, "xhigh", {"type": "adaptive", "display": "summarized"}, {"effort": "xhigh"}),
        (UNSAMPLED, "none", None, None),
        (NEWEST, "minimal", {"type": "adaptive", "display": "summarized"}, {"effort": "low"}),
        (NEWEST, "none", {"type": "disabled"}, None),
    ],
)
def test_effort_is_said_as_the_generation_wants_it(model: str, effort: str, thinking: Any, config: Any) -> None:
    body = asked(model=model, reasoning_effort=effort)
    assert (body.get("thinking"), body.get("output_config")) == (thinking, config)
    assert lost(model=model, reasoning_effort=effort) == ()


def test_budget_leaves_half_of_the_cap_to_speak() -> None:
    assert asked(reasoning_effort="high", max_tokens=4000)["thinking"]["budget_tokens"] == 2000


@pytest.mark.parametrize(
    ("messages", "fields"),
    [
        ([HELLO], {"max_tokens": 2000}),
        ([HELLO], {"tools": [WEATHER], "tool_choice": "required"}),
        ([HELLO, called("a"), result("a")], {}),
        ([HELLO, {"role": "assistant", "content": "It is"}], {}),
        ([HELLO], {"model": OLD, "facts": PLAIN}),
    ],
    ids=["too small a cap", "a tool must be called", "thoughts are gone", "the answer has begun", "cannot think"],
)
def test_thinking_for_which_there_is_no_room_is_dropped(messages: list[Any], fields: dict[str, Any]) -> None:
    assert "thinking" not in asked(*messages, reasoning_effort="low", **fields)
    assert lost(*messages, reasoning_effort="low", **fields) == ("reasoning_effort",)


def test_thinking_in_anthropics_own_words_goes_before_the_effort() -> None:
    thinking = {"type": "enabled", "budget_tokens": 2048}
    body = asked(thinking=thinking, reasoning_effort="high", temperature=0.5)
    assert body["thinking"] == thinking and "temperature" not in body


@pytest.mark.parametrize(
    ("model", "fields", "sent", "dropped"),
    [
        (BY_BUDGET, {"temperature": 1.7}, {"temperature": 1.0}, ("temperature",)),
        (BY_BUDGET, {"temperature": 0, "top_p": 0.5}, {"temperature": 0.0}, ("top_p",)),
        (BY_BUDGET, {"temperature": 1, "top_p": 0.5}, {"top_p": 0.5}, ()),
        (BY_BUDGET, {"temperature": 0.5, "top_p": 1}, {"temperature": 0.5}, ()),
        (OLD, {"temperature": 0.5, "top_p": 0.5}, {"temperature": 0.5, "top_p": 0.5}, ()),
        (UNSAMPLED, {"temperature": 0.5, "top_p": 0.5}, {}, ("temperature", "top_p")),
        (NEWEST, {"temperature": 1, "top_p": 1}, {}, ()),
        (BY_EFFORT, {"temperature": 0.5, "reasoning_effort": "low"}, {}, ("temperature",)),
    ],
)
def test_samplers_are_sent_as_far_as_the_model_takes_them(
    model: str, fields: dict[str, Any], sent: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    body = asked(model=model, **fields)
    assert {name: body[name] for name in ("temperature", "top_p") if name in body} == sent
    assert lost(model=model, **fields) == dropped


def test_schema_of_the_answer_is_native_and_json_mode_an_instruction() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "number"}}, "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}}
    assert asked(response_format=wanted)["output_config"] == {"format": {"type": "json_schema", "schema": schema}}
    bounded = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "string", "maxLength": 5}}}
    told = {"type": "string", "description": '{"maxLength":5}'}
    assert asked(response_format=bounded)["output_config"]["format"]["schema"] == told
    assert lost(response_format=bounded) == ("response_format.maxLength",)
    assert asked(response_format={"type": "json_object"})["system"] == [{"type": "text", "text": JSON_ONLY.text}]
    assert refused(response_format={"type": "json_schema", "json_schema": {"name": "a"}}) == (
        "response_format.json_schema.schema"
    )


def test_stop_sequences_are_a_list_and_never_white_space() -> None:
    assert asked(stop="END")["stop_sequences"] == ["END"]
    assert asked(stop=["a", "b"])["stop_sequences"] == ["a", "b"]
    assert "stop_sequences" not in asked(stop=None)
    assert refused(stop=["END", "\n"]) == "stop"


def test_who_asks_is_told_and_the_newer_word_wins() -> None:
    assert asked(user="ann")["metadata"] == {"user_id": "ann"}
    assert asked(user="ann", safety_identifier="s")["metadata"] == {"user_id": "s"}


def test_standard_service_is_asked_for_by_its_name() -> None:
    assert asked(service_tier="default")["service_tier"] == "standard_only"
    assert "service_tier" not in asked(service_tier="auto")
    assert lost(service_tier="priority") == ("service_tier",)


def test_assistant_who_begins_or_ends_is_made_acceptable() -> None:
    body = asked({"role": "assistant", "content": "Hi!"}, HELLO, {"role": "assistant", "content": "The answer is \n"})
    texts = [message["content"][0]["text"] for message in body["messages"]]
    assert texts == [OPENING, "Hi!", "Hello", "The answer is"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"tool_choice": {"type": "custom"}}, "tool_choice.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [], "tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"temperature": 3}, "temperature"),
        ({"reasoning_effort": "extreme"}, "reasoning_effort"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ],
)
def test_field_that_makes_no_sense_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields) == param
