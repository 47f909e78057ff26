"""Whole requests of each operation: the formulas on pairs of our own, the forms of input, what cannot be seen."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.tokens.encodings import Encodings
from gateway.tokens.models import rules_for
from gateway.tokens.prompts import PromptCount, count_prompt
from tests.tokens import pictures

Body = dict[str, object]
Counted = Callable[[str, str, Body], PromptCount]

HELLO: Body = {"role": "user", "content": "hello"}
SYSTEM: Body = {"role": "system", "content": "Be brief."}
WEATHER: Body = {
    "name": "get_weather",
    "description": "Weather in a city",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Its name"},
            "unit": {"type": "string", "enum": ["c", "f"]},
        },
        "required": ["city"],
    },
}
TOOL: Body = {"type": "function", "function": WEATHER}
FLAT_TOOL: Body = {"type": "function", **WEATHER}


@pytest.fixture(scope="module")
def counted(encodings: Encodings) -> Counted:
    def count(operation: str, model: str, body: Body) -> PromptCount:
        rules = rules_for(model)
        return count_prompt(operation, rules, body, 1_000, encodings.get(rules.encoding).count)

    return count


def tool_call(name: str, arguments: str) -> Body:
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("model", "messages", "tokens"),
    [
        # A message is 3 + its role (1) + its text; the answer is primed with 3, with 2 for reasoning models.
        ("gpt-4o", [HELLO], 3 + 1 + 1 + 3),
        ("gpt-4", [HELLO], 3 + 1 + 1 + 3),
        ("o3-mini", [HELLO], 3 + 1 + 1 + 2),
        ("gpt-5", [HELLO], 3 + 1 + 1 + 2),
        ("gpt-4o", [], 3),
        ("gpt-4o", [SYSTEM, HELLO], (3 + 1 + 3) + (3 + 1 + 1) + 3),
        # A name costs its text and one more; it replaced the role in the very first chat model.
        ("gpt-4o", [{**HELLO, "name": "alice"}], 3 + 1 + 1 + (1 + 1) + 3),
        ("gpt-3.5-turbo-0301", [{**HELLO, "name": "alice"}], 4 + 1 + 1 + (1 - 1) + 3),
        ("gpt-3.5-turbo-0301", [HELLO], 4 + 1 + 1 + 3),
        # Parts are counted one by one; bare strings among them too.
        ("gpt-4o", [{"role": "user", "content": [{"type": "text", "text": "hello"}, "hello"]}], 3 + 1 + 2 + 3),
        ("gpt-4o", [{"role": "assistant", "content": None, "refusal": "hello"}], 3 + 1 + 1 + 3),
        ("gpt-5", [HELLO, {"role": "assistant", "content": "hello"}], (3 + 1 + 1) + (3 + 1 + 1 + 2) + 2),
        # An answer of a tool has a frame of 2, and its name costs nothing extra.
        ("gpt-4o", [{"role": "tool", "content": "hello", "tool_call_id": "call_1"}], 2 + 1 + 1 + 3),
        ("gpt-4o", [{"role": "function", "name": "alice", "content": "hello"}], 2 + 1 + 1 + 1 + 3),
    ],
)
def test_chat_of_text_is_counted_by_the_formula(
    model: str, messages: list[Body], tokens: int, counted: Counted
) -> None:
    assert counted("chat", model, {"messages": messages}) == PromptCount(tokens, exact=True, unseen=False)


@pytest.mark.parametrize(
    ("model", "body", "tokens"),
    [
        # N(declarations) = 46 on o200k, and 2.
        ("gpt-4o", {"messages": [HELLO], "tools": [TOOL]}, 8 + 46 + 2),
        ("gpt-4o", {"messages": [HELLO], "tools": [TOOL], "tool_choice": "none"}, 8 + 46 + 2 + 1),
        ("gpt-4o", {"messages": [HELLO], "tools": [TOOL], "tool_choice": "required"}, 8 + 46 + 2),
        ("gpt-4o", {"messages": [HELLO], "tools": [TOOL], "tool_choice": TOOL}, 8 + 46 + 2 + 7 + 2),
        ("gpt-4o", {"messages": [HELLO], "functions": [WEATHER], "function_call": {"name": "x"}}, 8 + 46 + 2 + 4 + 1),
        # With a system message the declarations join it.
        ("gpt-4o", {"messages": [SYSTEM, HELLO], "tools": [TOOL]}, 15 + 46 + 2 - 4),
        ("gpt-5", {"messages": [HELLO], "tools": [TOOL], "tool_choice": "none"}, 7 + 46 + 2 + 82),
    ],
)
def test_chat_with_tools_is_counted_by_the_formula(model: str, body: Body, tokens: int, counted: Counted) -> None:
    assert counted("chat", model, body) == PromptCount(tokens, exact=True, unseen=False)


@pytest.mark.parametrize(
    ("calls", "content", "tokens"),
    [
        ([tool_call("x", "{}")], None, 3 + 1 + 2 + 3),
        ([tool_call("x", "")], None, 3 + 1 + 2 + 3),
        ([tool_call("x", "not json")], None, 3 + 1 + 2 + 2),
        ([tool_call("x", "[]")], None, 3 + 1 + 2 + 1),
        # {\n"a":"1"\n}
        ([tool_call("x", '{"a": 1}')], None, 3 + 1 + 2 + 6),
        # Text beside a call is a message of its own.
        ([tool_call("x", "{}")], "hello", 3 + 1 + 2 + 3 + 1 + 4),
        ([tool_call("x", "{}")] * 2, None, 2 + 2 * (3 + 1 + 2 + 3) + 15 - 4),
    ],
)
def test_chat_with_earlier_tool_calls_is_counted_by_the_formula(
    calls: list[Body], content: str | None, tokens: int, counted: Counted
) -> None:
    messages = [{"role": "assistant", "content": content, "tool_calls": calls}]
    assert counted("chat", "gpt-4o", {"messages": messages}).tokens == 3 + 1 + tokens + 3


def test_chat_with_image_adds_its_tiles(counted: Counted) -> None:
    picture = {"type": "image_url", "image_url": {"url": pictures.data_url(pictures.png(600, 600)), "detail": "high"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "hello"}, picture]}]
    assert counted("chat", "gpt-4o", {"messages": messages}) == PromptCount(8 + 85 + 4 * 170, exact=True, unseen=False)


def test_chat_with_image_behind_a_url_is_an_estimate_that_is_seen(counted: Counted) -> None:
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": "https://example.com/a.png"}]}]
    result = counted("chat", "gpt-4o", {"messages": messages})
    assert (result.exact, result.unseen) == (False, False)


def test_chat_with_a_response_schema_is_an_estimate(counted: Counted) -> None:
    schema = {"name": "answer", "schema": {"type": "object", "properties": {"a": {"type": "string"}}}}
    body: Body = {"messages": [HELLO], "response_format": {"type": "json_schema", "json_schema": schema}}
    plain = counted("chat", "gpt-4o", {"messages": [HELLO], "response_format": {"type": "json_object"}})
    result = counted("chat", "gpt-4o", body)
    assert plain == PromptCount(8, exact=True, unseen=False)
    assert result.tokens > plain.tokens + 10
    assert not result.exact


@pytest.mark.parametrize(
    ("chat", "responses"),
    [
        ({"messages": [HELLO]}, {"input": "hello"}),
        ({"messages": [HELLO]}, {"input": [HELLO]}),
        ({"messages": [SYSTEM, HELLO]}, {"instructions": "Be brief.", "input": "hello"}),
        (
            {"messages": [HELLO], "tools": [TOOL], "tool_choice": TOOL},
            {"input": "hello", "tools": [FLAT_TOOL], "tool_choice": {"type": "function", "name": "get_weather"}},
        ),
        (
            {
                "messages": [
                    HELLO,
                    {"role": "assistant", "tool_calls": [tool_call("x", "{}"), tool_call("y", '{"a":1}')]},
                    {"role": "tool", "content": "hello"},
                    {"role": "tool", "content": "hello"},
                ]
            },
            {
                "input": [
                    {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
                    {"type": "function_call", "name": "x", "arguments": "{}"},
                    {"type": "function_call", "name": "y", "arguments": '{"a":1}'},
                    {"type": "function_call_output", "output": "hello"},
                    {"type": "function_call_output", "output": [{"type": "output_text", "text": "hello"}]},
                ]
            },
        ),
    ],
)
def test_responses_request_counts_like_the_equal_chat_request(chat: Body, responses: Body, counted: Counted) -> None:
    for model in ("gpt-4o", "gpt-5", "claude-sonnet-4-5"):
        assert counted("responses", model, responses) == counted("chat", model, chat)


def test_encrypted_reasoning_is_bounded_by_its_size(counted: Counted) -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "A" * 400}
    result = counted("responses", "gpt-5", {"input": [HELLO, item]})
    assert result == PromptCount(7 + 300, exact=False, unseen=False)


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("chat", {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}),
        ("chat", {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}),
        ("chat", {"messages": [{"role": "user", "content": [{"type": "something_new"}]}]}),
        ("chat", {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}),
        ("chat", {"messages": [HELLO], "web_search_options": {}}),
        ("responses", {"input": "hello", "previous_response_id": "resp_1"}),
        ("responses", {"input": "hello", "conversation": "conv_1"}),
        ("responses", {"prompt": {"id": "pmpt_1"}}),
        ("responses", {"input": "hello", "tools": [{"type": "web_search"}]}),
        ("responses", {"input": [{"type": "item_reference", "id": "msg_1"}]}),
        ("responses", {"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}),
        ("responses", {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://x.y"}]}]}),
        ("responses", {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}]}),
        ("responses", {"input": [{"type": "function_call_output", "output": [{"type": "input_file"}]}]}),
    ],
)
def test_request_with_input_kept_elsewhere_is_unseen(operation: str, body: Body, counted: Counted) -> None:
    result = counted(operation, "gpt-4o", body)
    assert (result.exact, result.unseen) == (False, True)


@pytest.mark.parametrize(
    ("value", "tokens"),
    [
        ("hello world", 2),
        (["hello", "hello world"], 3),
        ([15339, 1917, 0], 3),
        ([[15339, 1917], [0]], 3),
        ("", 0),
        ([], 0),
        (None, 0),
    ],
)
def test_completion_and_embedding_take_every_form_of_input(value: object, tokens: int, counted: Counted) -> None:
    expected = PromptCount(tokens, exact=True, unseen=False)
    assert counted("completions", "davinci-002", {"prompt": value}) == expected
    assert counted("embeddings", "text-embedding-3-small", {"input": value}) == expected


def test_completion_counts_its_suffix(counted: Counted) -> None:
    assert counted("completions", "davinci-002", {"prompt": "hello", "suffix": "hello world"}).tokens == 3


def test_other_family_is_its_factor_and_overhead_above_o200k(counted: Counted) -> None:
    text = "hello " * 1_000
    plain = counted("chat", "gpt-4o", {"messages": [{"role": "user", "content": text}]}).tokens
    claude = counted("chat", "claude-sonnet-4-5", {"messages": [{"role": "user", "content": text}]})
    assert plain * 119 // 100 < claude.tokens < plain * 122 // 100
    assert not claude.exact


def test_unknown_model_is_counted_as_o200k_and_not_exact(counted: Counted) -> None:
    assert counted("chat", "our-deployment", {"messages": [HELLO]}) == PromptCount(8, exact=False, unseen=False)


def test_body_nested_deeper_than_the_stack_is_bounded_by_its_bytes(counted: Counted) -> None:
    schema: Body = {"type": "string"}
    for _ in range(5_000):
        schema = {"type": "array", "items": schema}
    tool = {"type": "function", "function": {"name": "x", "parameters": {"properties": {"a": schema}}}}
    result = counted("chat", "gpt-4o", {"messages": [HELLO], "tools": [tool]})
    assert result == PromptCount(1_000, exact=False, unseen=False)


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**64), 2**64),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["text", "image_url", "function", "json_schema", "object", "array", "data:image/png;base64,AAAA", "\ud800"]
    ),
)
_MESSAGE_KEYS = ["messages", "role", "content", "type", "text", "image_url", "url", "detail", "tool_calls", "arguments"]
_TOOL_KEYS = [
    "tools",
    "function",
    "name",
    "description",
    "parameters",
    "properties",
    "items",
    "anyOf",
    "enum",
    "required",
]
_BODY_KEYS = [
    "function_call",
    "functions",
    "tool_choice",
    "response_format",
    "json_schema",
    "schema",
    "input",
    "prompt",
]
_RESPONSES_KEYS = ["instructions", "output", "summary", "encrypted_content", "suffix", "custom"]
_KEYS = st.sampled_from([*_MESSAGE_KEYS, *_TOOL_KEYS, *_BODY_KEYS, *_RESPONSES_KEYS])
_JSON = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=40,
)


@given(st.sampled_from(["chat", "completions", "embeddings", "responses"]), st.dictionaries(_KEYS, _JSON, max_size=8))
@settings(max_examples=300)
def test_body_of_any_shape_is_counted(counted: Counted, operation: str, body: Body) -> None:
    for model in ("gpt-4o", "gpt-4-0613", "claude-opus-4-8"):
        assert counted(operation, model, body).tokens >= 0


@pytest.mark.parametrize("kind", [{}, [], 7, None])
@pytest.mark.parametrize("operation", ["chat", "responses", "messages", "generate_content"])
def test_part_whose_type_is_no_word_is_one_that_cannot_be_seen(counted: Counted, operation: str, kind: object) -> None:
    turns = [{"role": "user", "content": [{"type": kind, "text": "Hi"}]}]
    body: Body = {"messages": turns, "input": turns, "contents": turns}
    assert counted(operation, "gpt-4o", body).tokens >= 0
