"""Nothing that a request asks for is lost unnamed, however deep: it is carried, dropped by name, or refused."""

import json
from typing import Any, get_type_hints

import pytest
from anthropic.types import beta

from gateway.core.call import Call, Head
from gateway.core.errors import InvalidRequest
from gateway.dialects.messages import Messages
from gateway.translate.anthropic_messages import request as anthropic
from gateway.translate.anthropic_to_gemini.fates import FATES as TO_GEMINI
from gateway.translate.anthropic_to_gemini.request import asked_of_gemini as messages_of_gemini
from gateway.translate.anthropic_to_openai.fates import FATES as TO_OPENAI
from gateway.translate.anthropic_to_openai.request import asked_of_openai
from gateway.translate.openai_to_anthropic.request import asked_of_claude
from gateway.translate.openai_to_gemini.request import asked_of_gemini as chat_of_gemini
from tests.translate.asking import HELLO, PIXEL, PLAIN, THINKER, WEATHER, called, chat, result

TOOL = {"name": "f", "input_schema": {"type": "object"}}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
SIGNED = {"google": {"thought_signature": "c2ln"}}
JSON_SCHEMA = {"type": "json_schema", "schema": {"type": "object"}}


def message(*content: dict[str, Any], **fields: Any) -> Call:
    """A request of Anthropic's with this content, or with the shortest there is."""
    body = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": list(content) or "Hi"}], **fields}
    return Messages().parse(json.dumps(body).encode(), Head())


def text(**fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": "Hi", **fields}


def spoken(*content: dict[str, Any]) -> dict[str, Any]:
    """A history in which the assistant said this."""
    turns: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": list(content)}]
    return {"messages": [*turns, {"role": "user", "content": "Go on"}]}


LOST_OF_ANTHROPICS: list[tuple[Call, set[str], set[str]]] = [
    # the request, what OpenAI's format has no word for, what Gemini has none for
    (message(text(citations={"enabled": True})), {"messages.citations"}, {"messages.citations"}),
    (message(text(citations=None, cache_control=None)), set(), set()),
    (message(text(odd=1)), {"messages.odd"}, {"messages.odd"}),
    (message({"type": "document", "title": "T", "context": "C", "source": PDF}), set(), set()),
    (message(tools=[TOOL | {"cache_control": {}}]), {"tools.cache_control"}, {"tools.cache_control"}),
    (message(tools=[TOOL | {"strict": True}]), set(), {"tools.strict"}),
    (message(tools=[TOOL | {"strict": False, "defer_loading": False}]), set(), set()),
    (message(tools=[TOOL | {"defer_loading": True}]), {"tools.defer_loading"}, {"tools.defer_loading"}),
    (
        message(tools=[TOOL], tool_choice={"type": "auto", "disable_parallel_tool_use": True}),
        set(),
        {"tool_choice.disable_parallel_tool_use"},
    ),
    (message(tool_choice={"type": "auto"}), set(), set()),
    (message(tool_choice={"type": "none"}), set(), set()),
    (message(metadata={"user_id": "ann", "team": "x"}), {"metadata.team"}, {"metadata", "metadata.team"}),
    (message(service_tier="priority"), {"service_tier"}, {"service_tier"}),
    (message(service_tier="auto"), set(), set()),
    (message(output_config={"effort": "low"}), set(), {"output_config.effort"}),
    (message(output_config={"effort": "utmost"}), {"output_config.effort"}, {"output_config.effort"}),
    (message(output_config={"task_budget": {}}), {"output_config.task_budget"}, {"output_config.task_budget"}),
    (message(output_config={"format": JSON_SCHEMA}), set(), set()),
    (
        message(thinking={"type": "enabled", "budget_tokens": 5_000}, output_config={"effort": "low"}),
        {"thinking.budget_tokens"},
        {"thinking.budget_tokens"},
    ),
    (message(thinking={"type": "enabled", "budget_tokens": 30_000}), set(), {"thinking.budget_tokens"}),
    (message(thinking={"type": "adaptive", "display": "omitted"}), {"thinking.display"}, {"thinking.display"}),
    (message(thinking={"type": "adaptive", "display": "summarized"}), set(), set()),
    (
        message(**spoken({"type": "thinking", "thinking": "Hm", "signature": "gemini.x"})),
        {"messages.thinking"},
        {"messages.thinking"},
    ),
    (
        message(**spoken({"type": "redacted_thinking", "data": "x"}, text())),
        {"messages.redacted_thinking"},
        {"messages.redacted_thinking"},
    ),
    (
        message(
            **spoken(
                {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}, "caller": {"type": "x"}},
                {"type": "bash_code_execution_tool_result", "tool_use_id": "s1", "content": {"type": "x"}},
                text(),
            )
        ),
        {"messages.server_tool_use"},
        {"messages.server_tool_use"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("call", "by_openai", "by_gemini"), LOST_OF_ANTHROPICS)
def test_loss_of_what_anthropics_client_asks_is_named(call: Call, by_openai: set[str], by_gemini: set[str]) -> None:
    assert set(asked_of_openai(call, "m", THINKER)[1]) == by_openai
    assert set(messages_of_gemini(call, "gemini-2.5-pro", THINKER)[1]) == by_gemini


def test_thinking_is_named_where_a_model_cannot() -> None:
    call = message(thinking={"type": "adaptive"}, output_config={"effort": "low"})
    assert set(asked_of_openai(call, "m", PLAIN)[1]) == {"thinking", "output_config.effort"}
    assert set(messages_of_gemini(call, "m", PLAIN)[1]) == {"thinking", "output_config.effort"}


CALLS = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
REFUSED_OF_ANTHROPICS: list[tuple[Call, str]] = [
    (message(tool_choice={"type": "any"}), "tool_choice"),
    (message(tool_choice={"type": "tool", "name": "f"}), "tool_choice"),
    (message(tools=[], tool_choice={"type": "any"}), "tool_choice"),
    (message(tool_choice={"type": "dance"}), "tool_choice.type"),
    (message(tools=[TOOL], tool_choice={"type": "dance"}), "tool_choice.type"),
    (message(output_config={"format": {"type": "regex", "pattern": "a"}}), "output_config.format"),
    (message(CALLS), "messages[0].content[0].type"),
    (message(**spoken({"type": "image", "source": {"type": "url", "url": "https://x/y.png"}})),
     "messages[1].content[0].type"),
    (message(text(odd=1), {"type": "text", "text": 5}), "messages[0].content[1].text"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "param"), REFUSED_OF_ANTHROPICS)
def test_what_anthropics_client_cannot_have_is_refused(call: Call, param: str) -> None:
    for translate in (asked_of_openai, messages_of_gemini):
        with pytest.raises(InvalidRequest) as caught:
            translate(call, "m", THINKER)
        assert caught.value.param == param


def test_title_of_a_document_is_text_before_it() -> None:
    call = message({"type": "document", "title": "Report", "source": PDF})
    body = messages_of_gemini(call, "gemini-2.5-pro", THINKER)[0]
    assert [part.text for part in body.contents[0].parts] == ["Report", None]


NAMED_FILE = {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}}
CACHED_FOR_LONG = text(cache_control={"type": "ephemeral", "ttl": "1h"})
ONE_ALLOWED = {"type": "function", "function": {"name": "get_weather"}}
ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [ONE_ALLOWED]}}
FUNCTION: Any = WEATHER["function"]
STRICT = {"type": "function", "function": FUNCTION | {"strict": True}}
ASKS = {"role": "user", "content": "Hello"}
LOST_OF_OPENAIS: list[tuple[Call, set[str], set[str]]] = [
    # the request, what Claude has no word for, what Gemini has none for
    (chat(ASKS | {"odd": 1}), {"messages.odd"}, {"messages.odd"}),
    (chat(HELLO, {"role": "assistant", "content": "x", "annotations": [], "audio": None}, HELLO), set(), set()),
    (chat({"role": "user", "content": [NAMED_FILE]}), set(), {"messages.file.filename"}),
    (
        chat({"role": "user", "content": [CACHED_FOR_LONG]}),
        {"messages.cache_control.ttl"},
        {"messages.cache_control", "messages.cache_control.ttl"},
    ),
    (chat(HELLO, called("c1"), result("c1", [text(cache_control={})])), set(), {"messages.cache_control"}),
    (chat(HELLO, called("c1", extra_content=SIGNED), result("c1")), {"messages.extra_content"},
     {"messages.extra_content"}),
    (chat(tools=[WEATHER | {"cache_control": {"ttl": "1h"}}]), {"tools.cache_control.ttl"}, {"tools.cache_control"}),
    (chat(tools=[WEATHER | {"odd": 1}]), {"tools.odd"}, {"tools.odd"}),
    (chat(tools=[STRICT], temperature=0.5), set(), {"tools.strict"}),
    (chat(tools=[WEATHER], tool_choice=ALLOWED), set(), set()),
    (chat(tool_choice="auto"), set(), set()),
    (chat(tool_choice="none"), set(), set()),
    (chat(stream_options={"include_usage": True}), set(), set()),
    (chat(stream_options={"include_obfuscation": False}), set(), set()),
    (
        chat(stream_options={"include_obfuscation": True}),
        {"stream_options.include_obfuscation"},
        {"stream_options.include_obfuscation"},
    ),
    (
        chat(response_format={"type": "json_schema", "json_schema": {
            "name": "a", "strict": True, "description": "d", "schema": {"type": "object", "properties": {}}}}),
        {"response_format.description"},
        {"response_format.description"},
    ),
    (chat(reasoning_effort="low", thinking={"type": "disabled"}), {"reasoning_effort"}, {"thinking"}),
    (
        chat(reasoning_effort="low", extra_body={"google": {"thinking_config": {"thinking_budget": 0}}}),
        {"extra_body"},
        {"reasoning_effort"},
    ),
    (chat(user="ann", safety_identifier="bob"), {"user"}, {"user", "safety_identifier"}),
    (chat(user="ann", safety_identifier="ann"), set(), {"user", "safety_identifier"}),
    (chat(temperature=1.5), {"temperature"}, set()),
]  # fmt: skip


@pytest.mark.parametrize(("call", "by_claude", "by_gemini"), LOST_OF_OPENAIS)
def test_loss_of_what_openais_client_asks_is_named(call: Call, by_claude: set[str], by_gemini: set[str]) -> None:
    assert set(asked_of_claude(call, "claude-sonnet-4-5", THINKER)[1]) == by_claude
    assert set(chat_of_gemini(call, "gemini-2.5-pro", THINKER)[1]) == by_gemini


OTHER_ALLOWED = {"type": "function", "function": {"name": "other"}}
REFUSED_OF_OPENAIS: list[tuple[Call, str]] = [
    (chat(tool_choice="required"), "tool_choice"),
    (chat(tool_choice=ONE_ALLOWED), "tool_choice"),
    (chat(tools=[], tool_choice=ALLOWED), "tool_choice"),
    (chat(tools=[WEATHER], tool_choice={"type": "allowed_tools", "allowed_tools": {
        "mode": "required", "tools": [OTHER_ALLOWED]}}), "tool_choice"),
    (chat({"role": "user", "content": [{"type": "file", "file": NAMED_FILE["file"] | {"file_id": "file-1"}}]}),  # type: ignore[operator]
     "messages[0].content[0].file"),
    (chat(ASKS | {"odd": 1}, {"role": "dancer", "content": ""}), "messages[1].role"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "param"), REFUSED_OF_OPENAIS)
def test_what_openais_client_cannot_have_is_refused(call: Call, param: str) -> None:
    for translate in (asked_of_claude, chat_of_gemini):
        with pytest.raises(InvalidRequest) as caught:
            translate(call, "m", THINKER)
        assert caught.value.param == param


def test_refusal_of_the_assistants_stands_beside_what_it_said() -> None:
    said = {"role": "assistant", "content": "I can't.", "refusal": "It is forbidden."}
    body = chat_of_gemini(chat(HELLO, said, HELLO), "gemini-2.5-pro", THINKER)[0]
    assert [part.text for part in body.contents[1].parts] == ["I can't.", "It is forbidden."]


def test_picture_and_text_are_read_beside_what_is_unknown() -> None:
    picture = {"type": "image_url", "image_url": {"url": PIXEL, "odd": 1}, "more": {"a": [1]}}
    body, lost = asked_of_claude(chat({"role": "user", "content": [text(), picture]}), "claude-sonnet-4-5", THINKER)
    assert [type(block).__name__ for block in body.messages[0].content] == ["TextBlock", "ImageBlock"]
    assert set(lost) == {"messages.odd", "messages.more"}


SDK = [
    ("tools", beta.BetaToolParam, anthropic.Tool),
    ("tool_choice", beta.BetaToolChoiceToolParam, anthropic.ToolChoice),
    ("thinking", beta.BetaThinkingConfigEnabledParam, anthropic.Thinking),
    ("output_config", beta.BetaOutputConfigParam, anthropic.OutputConfig),
    ("metadata", beta.BetaMetadataParam, anthropic.Metadata),
    ("messages", beta.BetaTextBlockParam, anthropic.Block),
    ("messages", beta.BetaRequestDocumentBlockParam, anthropic.Block),
    ("messages", beta.BetaSearchResultBlockParam, anthropic.Block),
]
UNDESCRIBED = {"thinking.block_binding"}
"""Too new for a row of their own: dropped as whatever is not in the table."""


@pytest.mark.parametrize(("top", "theirs", "ours"), SDK)
def test_fate_is_told_of_every_inner_field_that_the_sdk_can_send(top: str, theirs: Any, ours: Any) -> None:
    unread = {f"{top}.{name}" for name in get_type_hints(theirs).keys() - set(ours.__struct_fields__)} - UNDESCRIBED
    assert unread - TO_OPENAI.keys() == set() == unread - TO_GEMINI.keys()
