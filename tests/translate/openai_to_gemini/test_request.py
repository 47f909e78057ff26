"""What Gemini is asked, field by field, and that Google's own SDK knows such a body."""

import json
from typing import Any

import msgspec
import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import InvalidRequest
from gateway.core.prices import ModelFacts
from gateway.translate.gemini_content.models import UNSIGNED
from gateway.translate.openai_chat.turns import OPENING
from gateway.translate.openai_to_gemini.request import asked_of_gemini
from tests.translate.asking import HELLO, PIXEL, PLAIN, THINKER, WEATHER, called, chat, result
from tests.translate.conversations import CONVERSATIONS, FIELDS

BY_BUDGET, PRO_BY_BUDGET, BY_LEVEL, PRO = "gemini-2.5-flash", "gemini-2.5-pro", "gemini-3-flash", "gemini-3-pro"
MODELS = (BY_BUDGET, PRO_BY_BUDGET, BY_LEVEL, PRO, "gemini-2.0-flash", "gemini-flash-latest")
READS: dict[str, Any] = {
    "systemInstruction": types.Content,
    "toolConfig": types.ToolConfig,
    "generationConfig": types.GenerationConfig,
}


def asked(*messages: dict[str, Any], model: str = BY_LEVEL, facts: ModelFacts = THINKER, **fields: Any) -> Any:
    """The body that Gemini gets."""
    return json.loads(msgspec.json.encode(asked_of_gemini(chat(*messages, **fields), model, facts)[0]))


def config(**fields: Any) -> Any:
    """How it is to write."""
    return asked(**fields).get("generationConfig", {})


def lost(*messages: dict[str, Any], model: str = BY_LEVEL, facts: ModelFacts = THINKER, **fields: Any) -> Any:
    """The fields that are told to be dropped."""
    return asked_of_gemini(chat(*messages, **fields), model, facts)[1]


def refused(*messages: dict[str, Any], **fields: Any) -> str | None:
    with pytest.raises(InvalidRequest) as caught:
        asked(*messages, **fields)
    return caught.value.param


@given(CONVERSATIONS, FIELDS, st.sampled_from(MODELS), st.sampled_from([THINKER, PLAIN]))
def test_request_of_any_conversation_is_one_that_the_sdk_knows(
    messages: list[dict[str, Any]], fields: dict[str, Any], model: str, facts: ModelFacts
) -> None:
    body = asked(*messages, model=model, facts=facts, **fields)
    contents = [types.Content.model_validate(content) for content in body.pop("contents")]
    for tool in body.pop("tools", []):
        types.Tool.model_validate(tool)
    for name, part in body.items():
        READS[name].model_validate(part)
    assert contents[0].role == "user"
    assert_calls_make_sense(contents)


def assert_calls_make_sense(contents: list[types.Content]) -> None:
    """Every call has its result in the very next content, which has nothing else in it."""
    open_calls: list[tuple[str | None, str | None]] = []
    for content in contents:
        assert content.parts
        results = [part.function_response for part in content.parts if part.function_response]
        assert sorted((one.id, one.name) for one in results) == sorted(open_calls)
        assert len(results) in (0, len(content.parts))
        calls = [part.function_call for part in content.parts if part.function_call]
        open_calls = [(one.id, one.name) for one in calls]
    assert not open_calls


def test_shortest_request_is_one_content() -> None:
    assert asked() == {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}


def test_tool_round_becomes_parts() -> None:
    body = asked(
        {"role": "developer", "content": "Be brief."}, HELLO, called("a", "b"), result("a"), result("b", '{"c": 20}'),
        {"role": "user", "content": "Well?"}, tools=[WEATHER], model=BY_BUDGET,
    )  # fmt: skip
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    call = {"name": "get_weather", "args": {"place": "Rome"}}
    answers = [{"name": "get_weather", "response": response} for response in ({"result": "Sunny"}, {"c": 20})]
    assert body["contents"][1:] == [
        {"role": "model", "parts": [{"functionCall": {**call, "id": id}} for id in "ab"]},
        {
            "role": "user",
            "parts": [{"functionResponse": {**one, "id": id}} for one, id in zip(answers, "ab", strict=True)],
        },
        {"role": "user", "parts": [{"text": "Well?"}]},
    ]
    function = WEATHER["function"]
    assert isinstance(function, dict)
    declared = {"name": "get_weather", "description": function["description"]}
    assert body["tools"] == [{"functionDeclarations": [{**declared, "parametersJsonSchema": function["parameters"]}]}]


def test_function_without_parameters_has_none() -> None:
    tools = [{"type": "function", "function": {"name": "now", "parameters": {}}}]
    assert asked(tools=tools)["tools"] == [{"functionDeclarations": [{"name": "now"}]}]


@pytest.mark.parametrize("text", ["[1]", "Sunny", "", '{"a":', "7", '{"a":' * 200 + "1" + "}" * 200])
def test_result_that_is_no_object_is_put_into_one(text: str) -> None:
    contents = asked(HELLO, called("a"), result("a", text))["contents"]
    assert contents[2]["parts"][0]["functionResponse"]["response"] == {"result": text.strip() and text}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tool_choice": "auto"}, {"mode": "AUTO"}),
        ({"tool_choice": "required"}, {"mode": "ANY"}),
        ({"tool_choice": "none"}, {"mode": "NONE"}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}},
            {"mode": "ANY", "allowedFunctionNames": ["get_weather"]},
        ),
    ],
)
def test_choice_of_tools_is_said_in_googles_words(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert asked(tools=[WEATHER], **fields)["toolConfig"] == {"functionCallingConfig": expected}


def test_signatures_go_back_to_the_parts_that_they_came_with() -> None:
    call = called("a", "b")
    call["tool_calls"][0]["extra_content"] = {"google": {"thought_signature": "c2ln"}}
    said = {"role": "assistant", "content": "Fine", "extra_content": {"google": {"thought_signature": "dGV4dA=="}}}
    contents = asked(HELLO, call, result("a"), result("b"), said, HELLO)["contents"]
    assert [part.get("thoughtSignature") for part in contents[1]["parts"]] == ["c2ln", None]
    assert contents[3]["parts"][0]["thoughtSignature"] == "dGV4dA=="


@pytest.mark.parametrize(
    ("model", "mark"), [(BY_LEVEL, UNSIGNED), ("gemini-flash-latest", UNSIGNED), (BY_BUDGET, None)]
)
def test_call_whose_signature_is_lost_is_marked_where_it_would_be_refused(model: str, mark: str | None) -> None:
    parts = asked(HELLO, called("a", "b"), result("a"), result("b"), model=model)["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [mark, None]


def test_media_go_as_they_are_or_by_url() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.PNG?x=1"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/picture"}},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}},
    ]
    assert asked({"role": "user", "content": parts})["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
        {"fileData": {"fileUri": "https://example.com/a.PNG?x=1", "mimeType": "image/png"}},
        {"fileData": {"fileUri": "https://example.com/picture"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "AA=="}},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}},
    ]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/a.png",
        "https://generativelanguage.googleapis.com/v1beta/files/abc",
        "https://GenerativeLanguage.googleapis.com:443/v1beta/files/abc",
        "https://[::1/a.png",
    ],
)
def test_url_that_google_must_not_fetch_is_refused_by_name(url: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}
    assert refused({"role": "user", "content": [part]}) == "messages[0].content[0].image_url.url"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_tokens": 77}, {"maxOutputTokens": 77}),
        ({"max_completion_tokens": 77}, {"maxOutputTokens": 77}),
        ({"temperature": 1.5, "top_p": 0.5}, {"temperature": 1.5, "topP": 0.5}),
        ({"stop": "END"}, {"stopSequences": ["END"]}),
        ({"n": 3}, {"candidateCount": 3}),
        ({"n": 1}, {}),
        ({"seed": 0}, {"seed": 0}),
        ({"presence_penalty": 0.5, "frequency_penalty": -0.5}, {"presencePenalty": 0.5, "frequencyPenalty": -0.5}),
        ({"logprobs": True, "top_logprobs": 3}, {"responseLogprobs": True, "logprobs": 3}),
        ({"logprobs": False}, {}),
        ({"response_format": {"type": "json_object"}}, {"responseMimeType": "application/json"}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}},
            {"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}},
        ),
        ({"response_format": {"type": "text"}}, {}),
    ],
)
def test_generation_is_configured_in_googles_words(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert config(**fields) == expected
    assert lost(**fields) == ()


def test_seed_that_google_has_no_room_for_is_dropped() -> None:
    assert config(seed=2**31) == {}
    assert lost(seed=2**31) == ("seed",)


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        (BY_BUDGET, "none", {"thinkingBudget": 0}),
        (BY_BUDGET, "medium", {"includeThoughts": True, "thinkingBudget": 8192}),
        (PRO_BY_BUDGET, "none", {"thinkingBudget": 128}),
        (BY_LEVEL, "none", {"thinkingLevel": "MINIMAL"}),
        (BY_LEVEL, "max", {"includeThoughts": True, "thinkingLevel": "HIGH"}),
        (PRO, "minimal", {"includeThoughts": True, "thinkingLevel": "LOW"}),
    ],
)
def test_effort_is_said_as_the_generation_wants_it(model: str, effort: str, expected: dict[str, Any]) -> None:
    assert asked(model=model, reasoning_effort=effort)["generationConfig"] == {"thinkingConfig": expected}


def test_effort_is_dropped_by_a_model_that_does_not_think() -> None:
    assert asked(facts=PLAIN, reasoning_effort="high").keys() == {"contents"}
    assert lost(facts=PLAIN, reasoning_effort="high") == ("reasoning_effort",)
    assert lost(facts=PLAIN, reasoning_effort="none") == ()


def test_thinking_in_googles_own_words_goes_before_the_effort() -> None:
    extra = {"google": {"thinking_config": {"include_thoughts": True, "thinking_budget": 99}}}
    assert config(extra_body=extra, reasoning_effort="high") == {
        "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 99}
    }


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"google": {"cached_content": "cachedContents/of-another"}}, "extra_body.google"),
        (
            {"google": {"thinking_config": {"thinking_budget": "much"}}},
            "extra_body.google.thinking_config.thinking_budget",
        ),
        ({"openai": {}}, "extra_body"),
    ],
)
def test_rest_of_googles_own_words_is_refused_by_name(extra: dict[str, Any], param: str) -> None:
    assert refused(extra_body=extra) == param


def test_what_is_claudes_is_dropped_and_told() -> None:
    part = {"type": "text", "text": "Long", "cache_control": {"type": "ephemeral"}}
    block = {"type": "thinking", "thinking": "Hm.", "signature": "sig"}
    thought = {"role": "assistant", "content": "Hi", "thinking_blocks": [block]}
    messages: list[dict[str, Any]] = [{"role": "user", "content": [part]}, thought, HELLO]
    assert lost(*messages, thinking={"type": "adaptive"}) == (
        "thinking",
        "messages.cache_control",
        "messages.thinking_blocks",
    )


def test_assistant_who_begins_is_preceded_by_a_user() -> None:
    contents = asked({"role": "assistant", "content": "Hi!"}, HELLO)["contents"]
    assert [content["parts"][0]["text"] for content in contents] == [OPENING, "Hi!", "Hello"]
