"""The price table and its formula, against genai-prices (a development dependency) and by hand."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache
from pathlib import Path

import genai_prices
import msgspec
import pytest
from genai_prices.data import providers as genai_providers
from genai_prices.data_snapshot import find_provider_by_id
from genai_prices.types import ClauseEquals, ModelInfo, Provider

import gateway
from gateway.cli.prices import render
from gateway.core.prices import (
    ANYTHING,
    DAY_SECONDS,
    MAX_REMEMBERED_NAMES,
    ModelFacts,
    ModelPrice,
    PriceRow,
    PriceTable,
    Reach,
    dearest,
)
from gateway.core.rates import MAX_COST_NANO_USD, RateCard, Rates, cost_nano_usd, rates_text, resolve
from gateway.core.usage import MAX_COUNT, Usage, checked_usage

DATA = Path(gateway.__file__).parent / "data" / "models.json"
SEED = 20_260_101
MODELS_PER_PROVIDER = 40
USAGES_PER_MODEL = 8
ORACLE_PROVIDERS = ("openai", "azure", "anthropic", "google", "groq", "deepseek", "mistral", "x-ai", "openrouter")
CONTEXTS: dict[str, dict[str, str]] = {
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "default": {"service_tier": "default"},
    "scale": {"service_tier": "scale"},
    "batch": {"processing": "batch"},
}
NOON_2026 = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp())


@cache
def table() -> PriceTable:
    return PriceTable.from_json(DATA.read_bytes())


def price_of(provider: str, model: str) -> ModelPrice:
    price = table().lookup(provider, model)
    assert price is not None
    return price


def cost(usage: Usage, provider: str, model: str, at_seconds: int = NOON_2026) -> int:
    return cost_nano_usd(usage, price_of(provider, model).rates(usage, at_seconds))


def exact_name(model: ModelInfo) -> str:
    """A name that the model is asked for with: its id, or the first whole name that it matches."""
    clauses = getattr(model.match, "or_", [model.match])
    return next((clause.equals for clause in clauses if isinstance(clause, ClauseEquals)), model.id)


def is_in_whole_pico(price: ModelPrice, model: ModelInfo) -> bool:
    """False for a few of OpenRouter's derived rates, such as 0.0833333333333333 USD, which we round to pico-USD."""
    return "333333" not in str(model.prices) and "666666" not in str(model.prices)


def oracle_models() -> Iterator[tuple[str, str]]:
    for provider_id in ORACLE_PROVIDERS:
        provider = find_provider_by_id(genai_providers, provider_id)
        assert provider is not None
        priced = []
        for model in provider.models:
            price = table().lookup(provider_id, exact_name(model))
            if price is not None and is_in_whole_pico(price, model):
                priced.append((provider_id, exact_name(model)))
        yield from random.Random(SEED).sample(priced, min(MODELS_PER_PROVIDER, len(priced)))


def random_usage(rng: random.Random, provider: str) -> Usage:
    scale = rng.choice([50, 2_000, 150_000, 300_000, 1_100_000])
    count = rng.randrange
    tiers = ["batch", "fast"] if provider == "anthropic" else [*CONTEXTS, "fast"]
    return checked_usage(
        input_tokens=scale + count(scale),
        cached_tokens=rng.choice([0, count(scale // 5)]),
        cache_write_tokens=rng.choice([0, count(scale // 5)]),
        cache_write_1h_tokens=rng.choice([0, count(scale // 5)]),
        input_audio_tokens=rng.choice([0, 0, count(scale // 5)]),
        input_image_tokens=rng.choice([0, 0, count(scale // 5)]),
        cached_audio_tokens=rng.choice([0, count(scale // 50 + 1)]),
        cached_image_tokens=rng.choice([0, count(scale // 50 + 1)]),
        output_tokens=count(scale),
        reasoning_tokens=rng.choice([0, count(scale // 10)]),
        output_audio_tokens=rng.choice([0, 0, count(scale // 10)]),
        output_image_tokens=rng.choice([0, 0, count(scale // 10)]),
        web_searches=rng.choice([0, 0, 0, 3]),
        service_tier=rng.choice([None, None, *tiers]),
    )


def oracle_cost(usage: Usage, provider: str, model: str, at_seconds: int) -> int:
    tier = usage.service_tier
    fast = {"speed": "fast"} if provider == "anthropic" else {"service_tier": "fast"}
    calculation = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=usage.input_tokens,
            cache_read_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens + usage.cache_write_1h_tokens,
            cache_write_1h_tokens=usage.cache_write_1h_tokens,
            input_audio_tokens=usage.input_audio_tokens,
            input_image_tokens=usage.input_image_tokens,
            cache_audio_read_tokens=usage.cached_audio_tokens,
            cache_image_read_tokens=usage.cached_image_tokens,
            output_tokens=usage.output_tokens,
            output_reasoning_tokens=usage.reasoning_tokens,
            output_audio_tokens=usage.output_audio_tokens,
            output_image_tokens=usage.output_image_tokens,
            web_searches=usage.web_searches,
        ),
        model,
        provider_id=provider,
        genai_request_timestamp=datetime.fromtimestamp(at_seconds, UTC),
        price_context=None if tier is None else (fast if tier == "fast" else CONTEXTS[tier]),
    )
    return int((calculation.total_price * 10**9).to_integral_value(ROUND_HALF_EVEN))


@pytest.mark.parametrize(("provider", "model"), list(oracle_models()))
def test_cost_of_random_usages_is_what_genai_prices_computes(provider: str, model: str) -> None:
    rng = random.Random(f"{SEED} {provider} {model}")
    for _ in range(USAGES_PER_MODEL):
        usage = random_usage(rng, provider)
        at_seconds = rng.randrange(NOON_2026 - 900 * DAY_SECONDS, NOON_2026 + 200 * DAY_SECONDS)
        assert cost(usage, provider, model, at_seconds) == oracle_cost(usage, provider, model, at_seconds)
