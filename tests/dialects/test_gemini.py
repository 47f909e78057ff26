"""What Google's usage blocks are taken for, against genai-prices and by hand, and whose fault its errors are."""

import json
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN
from pathlib import Path
from typing import Any

import genai_prices
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gateway
from gateway.core.prices import PriceTable
from gateway.core.rates import cost_nano_usd
from gateway.core.usage import Usage
from gateway.dialects.embed_content import EmbedContent
from gateway.dialects.gemini import GEMINI
from gateway.dialects.generate_content import GenerateContent
from tests.recorded import gemini_streams

PRICES = PriceTable.from_json((Path(gateway.__file__).parent / "data" / "models.json").read_bytes())
NOON = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp())
MODELS = ("gemini-2.5-flash", "gemini-2.5-pro", "gemini-3-flash-preview", "gemini-2.5-flash-image", "gemini-2.0-flash")
BODIES = [body for recorded in gemini_streams() for body in recorded.bodies]


def read(body: Any) -> Usage | None:
    return GenerateContent("v1beta", streams=False).read_answer(json.dumps(body).encode()).usage


def usage_of(**block: Any) -> Usage:
    usage = read({"usageMetadata": block})
    assert usage is not None
    return usage


def assert_is_the_oracles(body: Any, usage: Usage) -> None:
    """Compare every figure that genai-prices reads of a body, and what it costs."""
    extracted = genai_prices.extract_usage(body, provider_id="google").usage
    assert usage.input_tokens == extracted.input_tokens
    assert usage.output_tokens == extracted.output_tokens
    assert usage.cached_tokens == extracted.cache_read_tokens
    assert usage.reasoning_tokens == extracted.output_reasoning_tokens
    assert usage.input_audio_tokens == extracted.input_audio_tokens
    assert usage.input_image_tokens == extracted.input_image_tokens
    assert usage.output_audio_tokens == extracted.output_audio_tokens
    assert usage.output_image_tokens == extracted.output_image_tokens
    for model in MODELS:
        price = PRICES.lookup("gemini", model)
        assert price is not None
        tier = {"service_tier": usage.service_tier} if usage.service_tier else None
        at = datetime.fromtimestamp(NOON, UTC)
        oracle = genai_prices.calc_price(
            extracted, model, provider_id="google", genai_request_timestamp=at, price_context=tier
        )
        expected = int((oracle.total_price * 10**9).to_integral_value(ROUND_HALF_EVEN))
        assert cost_nano_usd(usage, price.rates(usage, NOON)) == expected


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_figures_of_recorded_pieces_are_what_genai_prices_reads(body: Any) -> None:
    usage = read(body)
    assert usage is not None
    assert_is_the_oracles(body, usage)


def by_modality(total: int, shares: tuple[int, int, int, int]) -> list[dict[str, Any]]:
    """A total as Google splits it: text takes what the others leave."""
    parts = dict(zip(("AUDIO", "IMAGE", "DOCUMENT", "VIDEO"), (total * share // 20 for share in shares), strict=True))
    parts["TEXT"] = total - sum(parts.values())
    return [{"modality": modality, "tokenCount": count} for modality, count in parts.items() if count]


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(
    ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount", "totalTokenCount"),
    st.integers(0, 300_000),
)))  # fmt: skip
def test_figures_of_text_alone_are_read_as_those_of_any_kind(block: dict[str, int]) -> None:
    of_text = [{"modality": "TEXT", "tokenCount": block.get("promptTokenCount", 0)}]
    nothing = [{"modality": "AUDIO", "tokenCount": 0}]
    plain, told = ({"usageMetadata": block | {"promptTokensDetails": details}} for details in (of_text, nothing))
    assert read(plain) == read(told) == read({"usageMetadata": block})


SHARES = st.tuples(*[st.integers(0, 4)] * 4)


@given(*[st.integers(0, 300_000)] * 4, *[SHARES] * 3)
def test_figures_of_any_block_are_what_genai_prices_reads(
    prompt: int, candidates: int, thoughts: int, tools: int, asked: Any, written: Any, found: Any
) -> None:
    block: dict[str, Any] = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": candidates,
        "thoughtsTokenCount": thoughts,
        "toolUsePromptTokenCount": tools,
        "totalTokenCount": prompt + candidates + thoughts + tools,
        "promptTokensDetails": by_modality(prompt, asked),
        "candidatesTokensDetails": by_modality(candidates, written),
        "toolUsePromptTokensDetails": by_modality(tools, found),
    }
    usage = read({"usageMetadata": block})
    if not block["totalTokenCount"]:
        assert usage is None
        return
    assert usage is not None and not usage.is_clamped
    assert_is_the_oracles({"usageMetadata": block, "modelVersion": "gemini-2.5-flash"}, usage)


def test_cached_content_and_its_modalities_are_parts_of_the_prompt() -> None:
    cached = [{"modality": "TEXT", "tokenCount": 60}, {"modality": "AUDIO", "tokenCount": 20}]
    prompt = [{"modality": "TEXT", "tokenCount": 70}, {"modality": "AUDIO", "tokenCount": 30}]
    block = {"promptTokenCount": 100, "cachedContentTokenCount": 80, "candidatesTokenCount": 5, "totalTokenCount": 105,
             "promptTokensDetails": prompt, "cacheTokensDetails": cached}  # fmt: skip
    usage = usage_of(**block)
    assert (usage.cached_tokens, usage.input_audio_tokens, usage.cached_audio_tokens) == (80, 30, 20)
    assert_is_the_oracles({"usageMetadata": block, "modelVersion": "gemini-2.5-flash"}, usage)


def test_total_counts_where_the_parts_leave_something_out() -> None:
    usage = usage_of(promptTokenCount=35, candidatesTokenCount=12, totalTokenCount=109)
    assert (usage.input_tokens, usage.output_tokens) == (35, 74)
    assert usage_of(promptTokenCount=8, totalTokenCount=8).output_tokens == 0
    assert usage_of(promptTokenCount=8, candidatesTokenCount=3, totalTokenCount=9).output_tokens == 3


@pytest.mark.parametrize(
    "block",
    [{}, {"trafficType": "ON_DEMAND"}, {"promptTokenCount": 2**53}, {"promptTokenCount": -1, "totalTokenCount": 5}],
    ids=["empty", "without figures", "more than any model reads", "negative"],
)
def test_figures_that_say_nothing_or_cannot_be_are_not_taken(block: dict[str, Any]) -> None:
    assert read({"usageMetadata": block}) is None


@pytest.mark.parametrize(
    ("said", "tier"),
    [
        ({"serviceTier": "standard"}, None),
        ({"serviceTier": "flex"}, "flex"),
        ({"serviceTier": "PRIORITY"}, "priority"),
        ({"trafficType": "ON_DEMAND"}, None),
        ({"trafficType": "ON_DEMAND_FLEX"}, "flex"),
        ({"trafficType": "PROVISIONED_THROUGHPUT"}, None),
    ],
)
def test_tier_that_served_is_known_by_the_word_of_prices(said: dict[str, str], tier: str | None) -> None:
    assert usage_of(promptTokenCount=1, totalTokenCount=1, **said).service_tier == tier


def test_searches_are_counted_once_each_or_once_a_prompt() -> None:
    grounded = {"candidates": [{"groundingMetadata": {"webSearchQueries": ["a", "b", "", "a"]}}],
                "usageMetadata": {"promptTokenCount": 1}}  # fmt: skip
    for model, searches in (("gemini-2.5-pro", 1), ("gemini-3-pro-preview", 2), (None, 2)):
        usage = read(grounded | {"modelVersion": model})
        assert usage is not None and usage.web_searches == searches


def test_embeddings_spell_their_details_in_their_own_way() -> None:
    details = [{"modality": "IMAGE", "tokenCount": 258}]
    body = {"usageMetadata": {"promptTokenCount": 260, "promptTokenDetails": details}}
    usage = EmbedContent("v1beta", "embedContent").read_answer(json.dumps(body).encode()).usage
    assert usage is not None
    assert (usage.input_tokens, usage.input_image_tokens, usage.output_tokens) == (260, 258, 0)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"not json", b'{"error": null}', b"\xff", b"[" * 100_000])
def test_error_that_cannot_be_read_is_told_by_its_status(body: bytes) -> None:
    assert GEMINI.blames_our_account(401, body)
    assert GEMINI.blames_our_account(403, body)
    assert not any(GEMINI.blames_our_account(status, body) for status in (400, 404, 429, 500, 503))


def test_error_in_an_array_is_read_too() -> None:
    error = {"error": {"message": "API key not valid.", "details": [{"reason": "API_KEY_INVALID"}]}}
    assert GEMINI.blames_our_account(400, json.dumps([error]).encode())


def test_figures_beside_an_error_in_a_stream_are_read() -> None:
    piece = {"error": {"code": 503, "message": "Overloaded"}, "usageMetadata": {"promptTokenCount": 9}}
    reading = GenerateContent("v1beta", streams=True).read_event(json.dumps(piece).encode())
    assert reading.error and reading.corrects is not None
    usage = reading.corrects(None)
    assert usage is not None and usage.input_tokens == 9
