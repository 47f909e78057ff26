"""What Anthropic's requests are counted as: text by the family's factor, pictures by their size, the rest as unseen."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tokens.counter import TokenCounter
from gateway.tokens.messages import read_messages
from gateway.tokens.prompts import PromptCount
from tests.tokens.pictures import data_url, png

MODEL = "claude-sonnet-4-6"
PROSE = "The quick brown fox jumps over the lazy dog, and then it sleeps under a tree until the sun goes down. " * 10


async def count(counter: TokenCounter, body: Mapping[str, object], model: str = MODEL) -> PromptCount:
    return await counter.prompt("messages", model, body, 1_000)


def ask(*blocks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}], **fields}


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


async def test_prose_is_counted_by_the_familys_factor_and_an_overhead_for_each_message(counter: TokenCounter) -> None:
    plain = await counter.text("gpt-4o", PROSE)
    counted = await count(counter, {"messages": [{"role": "user", "content": PROSE}]})
    expected = -(-plain * 120 // 100) + 10
    assert counted == PromptCount(expected, exact=False, unseen=False, estimate=expected)
    newer = await count(counter, ask(said(PROSE)), "claude-opus-5")
    assert newer.tokens == -(-plain * 150 // 100) + 10


@pytest.mark.parametrize(
    "body",
    [
        ask(system=PROSE),
        ask(system=[said(PROSE)]),
        ask({"type": "thinking", "thinking": PROSE, "signature": "c2ln" * 1_000}),
        ask({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": PROSE}}),
        ask({"type": "document", "source": {"type": "content", "content": [said(PROSE)]}}),
        ask({"type": "document", "context": PROSE, "source": {"type": "text", "data": ""}}),
        ask({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": PROSE}}),
        ask({"type": "tool_result", "tool_use_id": "toolu_1", "content": PROSE}),
        ask({"type": "tool_result", "tool_use_id": "toolu_1", "content": [said(PROSE)]}),
        ask({"type": "search_result", "title": "", "source": "", "content": [said(PROSE)]}),
        ask({"type": "web_search_tool_result", "content": [{"encrypted_content": PROSE}]}),
        ask({"type": "of tomorrow", "words": PROSE}),
        ask(tools=[{"name": "f", "description": PROSE, "input_schema": {"type": "object"}}]),
        ask(tools=[{"name": "f", "input_schema": {"type": "object", "description": PROSE}}]),
        ask(output_config={"format": {"type": "json_schema", "schema": {"description": PROSE}}}),
    ],
)
async def test_text_counts_wherever_it_stands(counter: TokenCounter, body: dict[str, Any]) -> None:
    counted = await count(counter, body)
    plain = (await count(counter, ask(said(PROSE)))).tokens
    assert plain * 0.97 < counted.tokens < plain + 450
    assert not counted.unseen


async def test_picture_counts_by_its_size_wherever_it_stands(counter: TokenCounter) -> None:
    media_type, data = data_url(png(750, 500)).removeprefix("data:").split(";base64,")
    picture = {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}
    bare = (await count(counter, ask())).tokens
    for block in (picture, {"type": "tool_result", "tool_use_id": "toolu_1", "content": [picture]}):
        assert (await count(counter, ask(block))).tokens == bare + 500


@pytest.mark.parametrize("source", [{"type": "url", "url": "https://x/y.png"}, {"type": "file", "file_id": "file_1"}])
async def test_picture_that_cannot_be_seen_counts_as_the_largest(counter: TokenCounter, source: dict[str, Any]) -> None:
    bare = (await count(counter, ask())).tokens
    counted = await count(counter, ask({"type": "image", "source": source}))
    assert counted == PromptCount(bare + 1_600, exact=False, unseen=False, estimate=bare + 1_600)


@pytest.mark.parametrize(
    "body",
    [
        ask({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}}),
        ask({"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}}),
        ask({"type": "document", "source": {"type": "file", "file_id": "file_1"}}),
        ask({"type": "container_upload", "file_id": "file_1"}),
        ask({"type": "tool_result", "content": [{"type": "document", "source": {"type": "url"}}]}),
        ask(mcp_servers=[{"type": "url", "url": "https://x", "name": "x"}]),
        ask(tools=[{"type": "web_search_20250305", "name": "web_search"}]),
        ask(tools=[{"type": "code_execution_20260521", "name": "code_execution"}]),
        ask(tools=[{"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-5"}]),
    ],
)
async def test_what_only_the_provider_sees_is_told(counter: TokenCounter, body: dict[str, Any]) -> None:
    assert (await count(counter, body)).unseen


async def test_tools_that_the_provider_describes_count_for_their_descriptions(counter: TokenCounter) -> None:
    bare = (await count(counter, ask())).tokens
    tools = [{"type": "bash_20250124", "name": "bash"}, {"type": "text_editor_20250728", "name": "edit"}]
    counted = await count(counter, ask(tools=tools))
    assert bare + 1_600 < counted.tokens < bare + 2_200
    assert not counted.unseen


async def test_model_of_another_dialect_is_counted_by_its_own_formula_as_an_estimate(counter: TokenCounter) -> None:
    body = {"system": "Be brief.", "messages": [{"role": "user", "content": PROSE}]}
    chat = {"messages": [{"role": "system", "content": "Be brief."}, *body["messages"]]}
    exact = await counter.prompt("chat", "gpt-4o", chat, 1_000)
    assert await count(counter, body, "gpt-4o") == PromptCount(exact.tokens, exact=False, unseen=False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["text", "image", "document"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["type", "content", "source", "data", "text", "role", "tools", "input", "schema"]), inner
    ),
)  # fmt: skip


@given(messages=JSON, system=JSON, tools=JSON, config=JSON)
def test_body_of_any_shape_is_read(messages: object, system: object, tools: object, config: object) -> None:
    body = {"messages": messages, "system": system, "tools": tools, "output_config": config, "tool_choice": config}
    assert read_messages(body).messages is not None
