"""What Gemini's requests are counted as: text by the family's factor, pictures by their size, the rest as unseen."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tokens.counter import TokenCounter
from gateway.tokens.gemini import read_embed_content, read_generate_content
from gateway.tokens.prompts import PromptCount
from tests.tokens.pictures import data_url, png

MODEL = "gemini-2.5-flash"
PROSE = "The quick brown fox jumps over the lazy dog, and then it sleeps under a tree until the sun goes down. " * 10


def picture(width: int, height: int) -> dict[str, Any]:
    head, data = data_url(png(width, height)).split(";base64,")
    return {"inlineData": {"mimeType": head.removeprefix("data:"), "data": data}}


async def count(counter: TokenCounter, body: Mapping[str, object], *, model: str = MODEL,
                operation: str = "generate_content") -> PromptCount:  # fmt: skip
    return await counter.prompt(operation, model, body, 1_000)


def ask(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": list(parts)}], **fields}


async def test_prose_is_counted_a_little_above_o200k(counter: TokenCounter) -> None:
    plain = await counter.text("gpt-4o", PROSE)
    counted = await count(counter, ask({"text": PROSE}))
    assert plain * 1.04 < counted.tokens < plain * 1.12
    assert (counted.exact, counted.unseen) == (False, False)


@pytest.mark.parametrize(
    ("camel", "snake"),
    [
        (ask(systemInstruction={"parts": [{"text": PROSE}]}), ask(system_instruction={"parts": [{"text": PROSE}]})),
        (ask(systemInstruction={"parts": {"text": PROSE}}), ask(system_instruction={"text": PROSE})),
        (ask({"functionCall": {"name": "f", "args": {"a": PROSE}}}),
         ask({"function_call": {"name": "f", "args": {"a": PROSE}}})),
        (ask({"functionResponse": {"name": "f", "response": {"a": PROSE}}}),
         ask({"function_response": {"name": "f", "response": {"a": PROSE}}})),
        (ask({"executableCode": {"code": PROSE}}), ask({"executable_code": {"code": PROSE}})),
        (ask({"codeExecutionResult": {"output": PROSE}}), ask({"code_execution_result": {"output": PROSE}})),
        (ask(tools=[{"functionDeclarations": [{"name": "f", "parameters": {"description": PROSE}}]}]),
         ask(tools=[{"function_declarations": [{"name": "f", "parameters_json_schema": {"description": PROSE}}]}])),
        (ask(generationConfig={"responseSchema": {"description": PROSE}}),
         ask(generation_config={"response_json_schema": {"description": PROSE}})),
    ],
    ids=["system", "system as one part", "call", "response", "code", "output", "tools", "schema"],
)  # fmt: skip
async def test_text_counts_wherever_it_stands_in_either_spelling(
    counter: TokenCounter, camel: dict[str, Any], snake: dict[str, Any]
) -> None:
    plain = await counter.text("gpt-4o", PROSE)
    for body in (camel, snake):
        counted = await count(counter, body)
        assert plain < counted.tokens < plain * 1.25
        assert not counted.unseen
    assert (await count(counter, camel)).tokens - (await count(counter, snake)).tokens in range(-8, 9)


@pytest.mark.parametrize(
    ("model", "size", "tokens"),
    [
        (MODEL, (384, 384), 258),
        (MODEL, (768, 768), 258),
        (MODEL, (800, 800), 4 * 258),
        (MODEL, (9_000, 9_000), 16 * 258),
        ("gemini-3-pro-preview", (384, 384), 1_120),
        ("gemini-flash-latest", (9_000, 9_000), 1_120),
    ],
)
async def test_picture_counts_by_its_tiles_or_from_3_on_the_same_for_all(
    counter: TokenCounter, model: str, size: tuple[int, int], tokens: int
) -> None:
    with_picture = await count(counter, ask(picture(*size)), model=model)
    assert with_picture.tokens - (await count(counter, ask(), model=model)).tokens == tokens
    assert not with_picture.unseen


@pytest.mark.parametrize(
    "body",
    [
        ask({"inlineData": {"mimeType": "audio/mp3", "data": "AAAA"}}),
        ask({"inline_data": {"mime_type": "application/pdf", "data": "AAAA"}}),
        ask({"fileData": {"fileUri": "https://example.com/a.png", "mimeType": "image/png"}}),
        ask({"functionResponse": {"name": "f", "response": {}, "parts": [{"fileData": {"fileUri": "https://x"}}]}}),
        ask({"toolCall": {"toolType": "FILE_SEARCH"}}),
        ask(tools=[{"googleSearch": {}}]),
        ask(tools=[{"function_declarations": [], "url_context": {}}]),
        ask(cachedContent="cachedContents/1"),
    ],
    ids=["sound", "document", "file", "file in a response", "server tool", "search", "url context", "cache"],
)
async def test_what_cannot_be_seen_is_told(counter: TokenCounter, body: dict[str, Any]) -> None:
    assert (await count(counter, body)).unseen


async def test_signed_thoughts_count_about_what_they_hold(counter: TokenCounter) -> None:
    signed = await count(counter, ask({"text": "Hi", "thoughtSignature": "E" * 2_700}))
    assert 400 < signed.tokens < 500


async def test_all_contents_to_embed_are_counted(counter: TokenCounter) -> None:
    content = {"content": {"parts": [{"text": PROSE}]}}
    one = await count(counter, content, model="gemini-embedding-001", operation="embed_content")
    two = await count(
        counter, {"requests": [content, content]}, model="gemini-embedding-001", operation="embed_content"
    )
    assert two.tokens == pytest.approx(2 * one.tokens, abs=3)


JSON = st.recursive(
    st.sampled_from(["", "image/png", "AAAA", 7, True, None]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["contents", "parts", "text", "inlineData", "mimeType", "data", "functionCall", "args", "tools",
         "functionDeclarations", "systemInstruction", "requests", "content", "generationConfig", "responseSchema"]
    ), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["contents", "tools", "systemInstruction", "requests", "content"]), JSON))
def test_body_of_any_shape_is_counted(body: dict[str, Any]) -> None:
    read_generate_content(body)
    read_embed_content(body)
