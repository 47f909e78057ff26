"""Generate the data file of prices and model facts (`gateway/data/models.json`) from the package genai-prices.

A developer's command: genai-prices is not needed to run the gateway. The facts are curated here, by name pattern.
"""

import argparse
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gateway.cli.arguments import commands_of
from gateway.cli.failures import CommandError
from gateway.core.prices import CardRow, FactRow, ModelEntry, ProviderEntry
from gateway.core.rates import RateCard

if TYPE_CHECKING:
    from genai_prices import types as genai

DATA_FILE = Path(__file__).parent.parent / "data" / "models.json"
PROVIDERS = ("openai", "azure", "anthropic", "google", "groq", "deepseek", "mistral", "x-ai", "openrouter")

_MTOK_RATES = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "cache_audio_read_mtok": "cached_audio",
    "input_image_mtok": "input_image",
    "cache_image_read_mtok": "cached_image",
    "output_reasoning_mtok": "reasoning",
    "output_audio_mtok": "output_audio",
    "output_image_mtok": "output_image",
    "input_mchars": "character",
}
_THOUSAND_RATES = {"web_searches_kcount": "web_search", "requests_kcount": "request"}
# Of the two kinds of hours the narrower stands, as in genai-prices itself.
_HOUR_RATES = {"audio_hours": "audio_hour", "input_audio_hours": "audio_hour"}
_UNCOUNTED = {"storage_searches_kcount", "input_video_mtok", "output_video_mtok"}
"""Priced by genai-prices beside tokens, but in no provider's usage block that the gateway reads."""

_PICO_PER_MICRO_USD = Decimal(10**6)
_PICO_PER_MILLI_USD = Decimal(10**9)
_PICO_PER_USD = Decimal(10**12)
_UNITS = {
    key: (name, per_unit)
    for names, per_unit in (
        (_MTOK_RATES, _PICO_PER_MICRO_USD),
        (_THOUSAND_RATES, _PICO_PER_MILLI_USD),
        (_HOUR_RATES, _PICO_PER_USD),
    )
    for key, name in names.items()
}
"""genai-prices' key -> our rate, and the pico-USD of one unit that one USD of it makes."""

FACTS = (
    # OpenAI: reasoning models refuse max_tokens (https://platform.openai.com/docs/guides/reasoning).
    FactRow("o1-mini*", 65_536, True, "max_completion_tokens"),
    FactRow("o1-preview*", 32_768, True, "max_completion_tokens"),
    FactRow("o[134]*", 100_000, True, "max_completion_tokens"),
    FactRow("gpt-5*-chat*", 16_384, False, "max_completion_tokens"),
    FactRow("gpt-[5-9]*", 128_000, True, "max_completion_tokens"),
    FactRow("codex-mini*", 100_000, True, "max_completion_tokens"),
    FactRow("computer-use-preview*", 1_024, False, "max_tokens"),
    FactRow("chatgpt-4o*", 16_384, False, "max_tokens"),
    FactRow("gpt-4.5*", 16_384, False, "max_tokens"),
    FactRow("gpt-4.1*", 32_768, False, "max_tokens"),
    FactRow("gpt-4o-2024-05-13", 4_096, False, "max_tokens"),
    FactRow("gpt-4o*", 16_384, False, "max_tokens"),
    FactRow("gpt-4-turbo*", 4_096, False, "max_tokens"),
    FactRow("gpt-4-1106*", 4_096, False, "max_tokens"),
    FactRow("gpt-4-0125*", 4_096, False, "max_tokens"),
    FactRow("gpt-4*", 8_192, False, "max_tokens"),
    FactRow("gpt-3.5*", 4_096, False, "max_tokens"),
    # Anthropic: before 5 thinking is off unless it is asked for (https://docs.claude.com/en/docs/about-claude).
    FactRow("claude-3-7*", 64_000, False, "max_tokens"),
    FactRow("claude-3-5*", 8_192, False, "max_tokens"),
    FactRow("claude-3*", 4_096, False, "max_tokens"),
    FactRow("claude-2*", 4_096, False, "max_tokens"),
    FactRow("claude-opus-4-[6-9]*", 128_000, False, "max_tokens"),
    FactRow("claude-opus-4-5*", 64_000, False, "max_tokens"),
    FactRow("claude-opus-4*", 32_000, False, "max_tokens"),
    FactRow("claude-sonnet-4*", 64_000, False, "max_tokens"),
    FactRow("claude-haiku-4*", 64_000, False, "max_tokens"),
    FactRow("claude-*", 128_000, True, "max_tokens"),
    # Google: from 2.5 on the models think (https://ai.google.dev/gemini-api/docs/models).
    FactRow("gemini-1*", 8_192, False, "max_tokens"),
    FactRow("gemini-2.0*", 8_192, False, "max_tokens"),
    FactRow("gemini-*-image*", 32_768, False, "max_tokens"),
    FactRow("gemini-*", 65_536, True, "max_tokens"),
    # Others whose thinking is on by default.
    FactRow("deepseek-r*", 65_536, True, "max_tokens"),
    FactRow("gpt-oss*", 65_536, True, "max_tokens"),
    FactRow("magistral*", 40_960, True, "max_tokens"),
    FactRow("grok-[4-9]*", 65_536, True, "max_tokens"),
    FactRow("qwq*", 32_768, True, "max_tokens"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's one command."""
    commands = commands_of(parser)
    summary = "write the price table anew from the installed genai-prices"
    command = commands.add_parser("refresh", help=summary, description=f"{summary.capitalize()}.")
    command.add_argument(
        "--output", type=Path, default=DATA_FILE, metavar="FILE", help="default: the package's own table"
    )
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    try:
        refresh(arguments.output)
    except ImportError as error:
        raise CommandError("The package genai-prices is not installed; it comes with the developers' tools.") from error
    except OSError as error:
        raise CommandError(f"{arguments.output} cannot be written: {error.strerror}.") from error
    print(f"Wrote {arguments.output}. A running server reads it on SIGHUP.")
    return 0


def refresh(destination: Path) -> None:
    """Write the data file anew from the installed genai-prices. Raises ImportError where that is not installed."""
    # A development dependency of 30 MB and 0.2 s: only this command pays for it, and only where it is installed.
    from importlib.metadata import version  # noqa: PLC0415 - what only this command needs

    from genai_prices.data import providers  # noqa: PLC0415 - a developer's package, absent where the gateway runs

    destination.write_bytes(render(f"genai-prices {version('genai-prices')}", providers))


def render(source: str, providers: Iterable["genai.Provider"]) -> bytes:
    """Return the data file: the chosen providers, one model a line, so that a change of prices reads well as a diff."""
    chosen = {provider.id: provider for provider in providers if provider.id in PROVIDERS}
    blocks = [_provider_block(provider_id, _provider_entry(chosen[provider_id])) for provider_id in PROVIDERS]
    facts = b",\n".join(msgspec.json.encode(row) for row in FACTS)
    parts = (
        b'{"source":' + msgspec.json.encode(source),
        b',\n"facts":[\n' + facts + b"]",
        b',\n"providers":{\n' + b",\n".join(blocks) + b"}}\n",
    )
    return b"".join(parts)


def _provider_block(provider_id: str, entry: ProviderEntry) -> bytes:
    models = b",\n".join(msgspec.json.encode(model) for model in entry.models)
    fallbacks = msgspec.json.encode(entry.fallbacks)
    return msgspec.json.encode(provider_id) + b':{"fallbacks":' + fallbacks + b',"models":[\n' + models + b"]}"


def _provider_entry(provider: "genai.Provider") -> ProviderEntry:
    fallbacks = tuple(name for name in provider.fallback_model_providers or () if name in PROVIDERS)
    return ProviderEntry(tuple(_model_entry(provider, model) for model in provider.models), fallbacks)


def _model_entry(provider: "genai.Provider", model: "genai.ModelInfo") -> ModelEntry:
    clauses = list(_alternatives(asdict(model.match)))
    names = {text.lower() for kind, text in clauses if kind == "equals"}
    return ModelEntry(
        # A name that an earlier model's pattern takes is not this model's: exact names are looked up first here.
        names=tuple(sorted(name for name in names if provider.find_model(name) is model)),
        patterns=tuple(_pattern(kind, text) for kind, text in clauses if kind != "equals"),
        context_window=model.context_window,
        prices=_prices(model),
    )


def _alternatives(clause: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield what matches the model, one of: (kind, text). A clause that is a mapping has one key, its kind."""
    ((kind, content),) = clause.items()
    if isinstance(content, str):
        yield kind, content
    elif kind == "or_":
        for part in _parts(content):
            yield from _alternatives(part)
    else:
        yield "regex", "^" + "".join(f"(?=(?s:.*?)(?:{_regex(part)}))" for part in _parts(content))


def _parts(content: object) -> list[Mapping[str, object]]:
    return msgspec.convert(content, list[Mapping[str, object]])


def _regex(clause: Mapping[str, object]) -> str:
    """Return a regular expression that finds what the clause matches."""
    return "|".join(_regex_of(kind, text) for kind, text in _alternatives(clause))


def _regex_of(kind: str, text: str) -> str:
    if kind == "regex":
        return text
    escaped = re.escape(text.lower())
    return {
        "equals": rf"^{escaped}\Z",
        "starts_with": f"^{escaped}",
        "ends_with": rf"{escaped}\Z",
        "contains": escaped,
    }[kind]


def _pattern(kind: str, text: str) -> str:
    """Return the pattern of the data file. Raises ValueError for a text that it cannot say."""
    if kind == "regex":
        if not text.startswith("^"):
            raise ValueError(f"a regular expression of genai-prices is not anchored: {text!r}")
        return text
    if set(text) & set("*?[]"):
        raise ValueError(f"a text of genai-prices has wildcards in it: {text!r}")
    return {"starts_with": f"{text}*", "ends_with": f"*{text}", "contains": f"*{text}*"}[kind].lower()


def _prices(model: "genai.ModelInfo") -> dict[str, tuple[CardRow, ...]]:
    """Return the rows of each service tier, "" for the standard one; nothing if the tokens are not all that is paid."""
    standard = _rows(model, None)
    if standard is None:
        return {}
    prices = {"": standard}
    for variant in model.price_variants or ():
        tier = _service_tier(variant.when)
        rows = _rows(model, variant.when) if tier else None
        if tier and rows and rows != standard:
            prices[tier] = rows
    return prices


def _service_tier(when: Mapping[str, str]) -> str | None:
    """Return the word that `Usage.service_tier` has for a variant, None for one that the gateway cannot select."""
    ((key, word),) = when.items()
    return word if key in {"service_tier", "processing", "speed"} else None


def _rows(model: "genai.ModelInfo", when: Mapping[str, str] | None) -> tuple[CardRow, ...] | None:
    """Return the price's whole course: genai-prices is asked for every moment at which it can change."""
    rows: list[CardRow] = []
    last_day: list[CardRow] = []
    days, seconds = _moments(model)
    for day_start in days:
        day: list[CardRow] = []
        last_cards: list[tuple[int, RateCard]] = []
        for second in seconds:
            at = datetime.fromtimestamp(day_start + second, UTC)
            cards = _cards(model.get_prices(at, when))
            if cards is None:
                return None
            if cards != last_cards:
                day.extend(CardRow(day_start, second, above, card) for above, card in cards)
            last_cards = cards
        if [_hours(row) for row in day] != [_hours(row) for row in last_day]:
            rows.extend(day)
        last_day = day
    return tuple(rows)


def _hours(row: CardRow) -> tuple[int, int, RateCard]:
    return row.second_of_day, row.above_input_tokens, row.card


def _moments(model: "genai.ModelInfo") -> tuple[list[int], list[int]]:
    """Return the Unix seconds of the days and the seconds of the day at which a price of the model can change."""
    conditions = [*(model.prices if isinstance(model.prices, list) else ()), *(model.price_variants or ())]
    days, seconds = {0}, {0}
    for condition in conditions:
        start_date: date | None = getattr(condition.constraint, "start_date", None)
        if start_date is not None:
            days.add(int(datetime.combine(start_date, time(), UTC).timestamp()))
        elif condition.constraint is not None:
            seconds |= {_utc_second(getattr(condition.constraint, name)) for name in ("start_time", "end_time")}
    return sorted(days), sorted(seconds)


def _utc_second(moment: time) -> int:
    """Return the second of the day in UTC; a time without a zone is UTC."""
    offset = moment.utcoffset() or timedelta()
    return int(
        (timedelta(hours=moment.hour, minutes=moment.minute, seconds=moment.second) - offset).total_seconds()
    ) % (24 * 3600)


def _cards(prices: "genai.ModelPrice") -> list[tuple[int, RateCard]] | None:
    """Return the cards and above how many input tokens each applies, None if one of the units is not counted here."""
    rates = {key: price for key, price in vars(prices).items() if price is not None and key not in _UNCOUNTED}
    if rates.keys() - _UNITS.keys():
        return None
    starts = {tier.start for price in rates.values() if not isinstance(price, Decimal) for tier in price.tiers}
    return [(above, _card(rates, above)) for above in (-1, *sorted(starts))]


def _card(prices: Mapping[str, "Decimal | genai.TieredPrices"], above: int) -> RateCard:
    """Return the rates of a call with just more than `above` input tokens."""
    rates = {"input": 0}
    for key in sorted(prices):
        price = prices[key]
        usd = price if isinstance(price, Decimal) else _step(price, above)
        name, per_unit = _UNITS[key]
        rates[name] = int((usd * per_unit).to_integral_value(ROUND_HALF_EVEN))
    return msgspec.convert(rates, RateCard)


def _step(prices: "genai.TieredPrices", above: int) -> Decimal:
    reached = [tier.price for tier in prices.tiers if tier.start <= above]
    return reached[-1] if reached else prices.base
