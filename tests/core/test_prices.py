"""The price table and its formula, against genai-prices (a development dependency) and by hand."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache
from pathlib import Path

import genai_prices
import pytest
from genai_prices.data import providers as genai_providers
from genai_prices.data_snapshot import find_provider_by_id
from genai_prices.types import ClauseEquals, ModelInfo

import gateway
from gateway.cli.prices import refresh
from gateway.core.model_price import DAY_SECONDS, ModelPrice
from gateway.core.prices import MAX_NAME_LENGTH, MAX_REMEMBERED_NAMES, ModelFacts, PriceTable
from gateway.core.rates import Unit, cost_nano_usd
from gateway.core.usage import Usage, checked_usage, with_media

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
    tokens = checked_usage(
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
    # Groq charges for 10 seconds at least, which no price in the table says.
    return with_media(tokens, audio_ms=rng.choice([0, 10_000 + count(scale)]), characters=rng.choice([0, count(scale)]))


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
            audio_seconds=Decimal(usage.audio_ms) / 1000,
            input_audio_seconds=Decimal(usage.audio_ms) / 1000,
            input_characters=usage.characters,
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


def test_gpt_4o_with_cached_input_costs_the_known_amount() -> None:
    usage = Usage(input_tokens=1149, cached_tokens=1024, output_tokens=20)
    assert cost(usage, "openai", "gpt-4o") == 1_792_500  # 0.0017925 USD


def test_lookup_of_every_name_finds_the_model_that_genai_prices_finds() -> None:
    for provider_id in ORACLE_PROVIDERS:
        provider = find_provider_by_id(genai_providers, provider_id)
        assert provider is not None
        for model in provider.models:
            for name in {model.id, exact_name(model), f"{model.id}-2025-12-11", f"{model.id}-20251211"}:
                found = provider.find_model(name, all_providers=genai_providers)
                price = table().lookup(provider_id, name)
                if found is None:
                    assert price is None, (provider_id, name)
                elif price is not None:
                    assert_rates_of(price, found)


def assert_rates_of(price: ModelPrice, model: ModelInfo) -> None:
    usage = Usage(input_tokens=1000, output_tokens=100)
    oracle = model.get_prices(datetime.fromtimestamp(NOON_2026, UTC)).calc_price(
        genai_prices.Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=0, cache_write_tokens=0)
    )
    expected = int((oracle["total_price"] * 10**9).to_integral_value(ROUND_HALF_EVEN))
    assert cost_nano_usd(usage, price.rates(usage, NOON_2026)) == expected


@pytest.mark.parametrize("name", ["no-such-model", "", "gpt-4o\x00", "x" * (MAX_NAME_LENGTH + 1)])
def test_lookup_of_an_unknown_model_finds_no_price(name: str) -> None:
    assert table().lookup("openai", name) is None


def test_lookup_at_an_unknown_provider_finds_no_price() -> None:
    assert table().lookup("nobody", "gpt-4o") is None


def test_lookup_of_the_species_gemini_finds_the_prices_of_google() -> None:
    assert table().lookup("gemini", "gemini-2.5-pro") is not None


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "gpt-4o"), ("anthropic", "claude-sonnet-4-6"), ("google", "gemini-2.5-flash")]
)
def test_lookup_at_the_demo_upstream_finds_the_prices_of_the_models_own_provider(provider: str, model: str) -> None:
    assert price_of("demo", model).standard == price_of(provider, model).standard


def test_lookup_of_a_name_in_capitals_finds_the_same_model() -> None:
    assert price_of("openai", "GPT-4o").standard[0].rates.text == price_of("openai", "gpt-4o").standard[0].rates.text


def test_lookup_of_a_known_name_returns_the_same_object_again() -> None:
    assert table().lookup("openai", "gpt-4o") is table().lookup("openai", "gpt-4o")


def test_labels_have_the_models_that_only_a_pattern_prices() -> None:
    labels = table().labels()
    assert {"gpt-4o", "claude-sonnet-4-6*", "claude-haiku-4-5*"} <= labels
    assert all(label.rstrip("*") and label.count("*") <= 1 for label in labels)


def test_lookup_of_more_names_than_are_remembered_still_finds_prices() -> None:
    fresh = PriceTable.from_json(DATA.read_bytes())
    for number in range(MAX_REMEMBERED_NAMES + 10):
        fresh.lookup("nobody", f"model-{number}")
    assert fresh.lookup("openai", "gpt-4o") is not None


def test_lookup_at_azure_falls_back_to_openai_without_its_service_tiers() -> None:
    assert price_of("openai", "gpt-5").service_tiers
    assert not price_of("azure", "gpt-5").service_tiers


@pytest.mark.parametrize(
    ("provider", "model", "usage", "cost"),
    [
        ("openai", "whisper-1", Usage(audio_ms=60_000), 6_000_000),
        ("openai", "whisper-1", Usage(audio_ms=1), 100),
        ("groq", "whisper-large-v3", Usage(audio_ms=3_600_000), 111_000_000),
        ("groq", "whisper-large-v3", Usage(audio_ms=10_001), 308_364),  # 308,364.17 nano-USD
        ("openai", "tts-1", Usage(characters=1_000), 15_000_000),
        ("openai", "tts-1-hd", Usage(characters=1), 30_000),
        ("openai", "gpt-4o-transcribe", Usage(input_tokens=14, input_audio_tokens=14, output_tokens=45), 534_000),
        ("openai", "gpt-4o-mini-tts", Usage(input_tokens=10, output_tokens=100), 1_206_000),
        (
            "openai",
            "gpt-image-1",
            Usage(input_tokens=1_050, input_image_tokens=1_000, output_tokens=4_160),
            10_000_000 + 250_000 + 166_400_000,
        ),
    ],
)
def test_cost_of_sound_text_read_aloud_and_pictures(provider: str, model: str, usage: Usage, cost: int) -> None:
    assert cost_nano_usd(usage, price_of(provider, model).rates(usage, NOON_2026)) == cost


def test_units_are_what_a_call_must_be_measured_in() -> None:
    units = {name: price_of("openai", name).units for name in ("gpt-4o", "whisper-1", "tts-1", "gpt-image-1")}
    assert units == {
        "gpt-4o": {Unit.TOKENS},
        "whisper-1": {Unit.AUDIO},
        "tts-1": {Unit.CHARACTERS},
        "gpt-image-1": {Unit.TOKENS},
    }
    assert price_of("mistral", "voxtral-small-2507").units == {Unit.TOKENS, Unit.AUDIO}


def overridden(**words: str) -> PriceTable:
    return PriceTable.from_json(DATA.read_bytes(), {"gpt-4o": words, "house-*": words})


def test_override_by_name_beats_the_table() -> None:
    price = overridden(input="0.30", output="1.20").lookup("openai", "gpt-4o")
    assert price is not None
    usage = Usage(input_tokens=1_000_000, cached_tokens=500_000, output_tokens=1_000_000)
    assert cost_nano_usd(usage, price.rates(usage, NOON_2026)) == 1_500_000_000  # cached as dear as the rest


def test_override_by_pattern_prices_a_model_that_the_table_lacks() -> None:
    prices = overridden(input="1", output="2", cached_input="0.1", cache_write="1.25", cache_write_1h="2")
    price = prices.lookup("openai", "House-7b")
    assert price is not None
    assert price.standard[0].rates.text == (
        '{"input":1000000,"output":2000000,"cached":100000,"cache_write":1250000,"cache_write_1h":2000000}'
    )
    assert prices.lookup("openai", "warehouse-7b") is None


def test_override_by_the_minute_and_by_the_character_needs_no_tokens() -> None:
    price = overridden(audio_minute="0.006", characters="15").lookup("openai", "gpt-4o")
    assert price is not None and price.units == {Unit.AUDIO, Unit.CHARACTERS}
    assert price.standard[0].rates.text == '{"input":0,"audio_hour":360000000000,"character":15000000}'


def test_override_that_says_nothing_is_paid_is_a_price_all_the_same() -> None:
    price = overridden(audio_minute="0").lookup("openai", "gpt-4o")
    assert price is not None and price.units == {Unit.AUDIO}


def test_override_of_pictures_goes_by_quality_and_size_then_by_either_then_by_none() -> None:
    words = {"image": "0.04", "image_hd": "0.08", "image_1024x1792": "0.07", "image_hd_1024x1792": "0.12"}
    price = overridden(**words).lookup("openai", "gpt-4o")
    assert price is not None and price.units == {Unit.IMAGES}
    for quality, size, cents in (
        (None, None, 4),
        ("standard", "1024x1024", 4),
        ("hd", None, 8),
        ("hd", "1024x1024", 8),
        (None, "1024x1792", 7),
        ("standard", "1024x1792", 7),
        ("hd", "1024x1792", 12),
    ):
        usage = Usage(images=3, image_quality=quality, image_size=size)
        assert cost_nano_usd(usage, price.rates(usage, NOON_2026)) == 3 * cents * 10_000_000


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"image_hd": "1"}, "image is missing"),
        ({"image": "1001"}, '"gpt-4o".image'),
        ({"image_1024×1024": "1", "image": "1"}, "unknown key"),  # noqa: RUF001 - a sign that looks like an x
        ({"audio_minute": "0.0000000000001"}, "more than 12 decimals"),
        ({"audio_minute": "1", "input": "1"}, "output is missing"),
        ({}, "input is missing"),
        ({"output": "1"}, "input is missing"),
        ({"input": "1"}, "output is missing"),
        ({"input": "1", "output": "1", "chached_input": "1"}, "unknown key 'chached_input'"),
        ({"input": "-1", "output": "1"}, '"gpt-4o".input'),
        ({"input": "0.0000001", "output": "1"}, "more than 6 decimals"),
    ],
)
def test_override_that_makes_no_sense_is_refused_by_name(words: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValueError, match="gpt-4o") as refusal:
        overridden(**words)
    assert complaint in str(refusal.value)


@pytest.mark.parametrize(
    ("provider", "model", "facts"),
    [
        ("openai", "gpt-4o", ModelFacts(128_000, 16_384, False, "max_tokens")),
        ("openai", "gpt-4o-mini", ModelFacts(128_000, 16_384, False, "max_tokens")),
        ("openai", "ft:gpt-4.1-2025-04-14:us::x", ModelFacts(128_000, 32_768, False, "max_tokens")),
        ("openai", "gpt-4.1", ModelFacts(1_000_000, 32_768, False, "max_tokens")),
        ("openai", "gpt-4", ModelFacts(8_192, 8_192, False, "max_tokens")),
        ("openai", "gpt-3.5-turbo", ModelFacts(16_385, 4_096, False, "max_tokens")),
        ("openai", "o3-mini", ModelFacts(200_000, 100_000, True, "max_completion_tokens")),
        ("openai", "gpt-5", ModelFacts(400_000, 128_000, True, "max_completion_tokens")),
        ("openai", "gpt-9-unheard-of", ModelFacts(128_000, 128_000, True, "max_completion_tokens")),
        ("openai", "unheard-of", ModelFacts(128_000, 16_384, False, "max_tokens")),
        ("anthropic", "claude-3-haiku-20240307", ModelFacts(200_000, 4_096, False, "max_tokens")),
        ("gemini", "gemini-2.0-flash", ModelFacts(1_000_000, 8_192, False, "max_tokens")),
        ("openrouter", "openai/gpt-5", ModelFacts(400_000, 128_000, True, "max_tokens")),
    ],
)
def test_facts_of_a_model_are_the_curated_ones(provider: str, model: str, facts: ModelFacts) -> None:
    assert table().facts(provider, model) == facts


def test_data_file_is_what_the_installed_genai_prices_generates(tmp_path: Path) -> None:
    refresh(tmp_path / "models.json")
    assert (tmp_path / "models.json").read_bytes() == DATA.read_bytes()


def test_data_file_is_small_enough_to_read_at_every_start() -> None:
    assert DATA.stat().st_size < 400_000
