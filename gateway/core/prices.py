"""The price table: what each provider's models cost and can, an administrator's overrides first.

The table is data (`gateway/data/models.json`), generated from genai-prices by `gateway/cli/prices.py`; this module
reads its bytes. Names are matched whole first, then by pattern, in lower case.
"""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from gateway.core.model_price import ModelPrice, PriceRow, flat_price
from gateway.core.money import parse_fee, parse_rate
from gateway.core.rates import RateCard, resolve

MAX_NAME_LENGTH = 256
"""No provider has a longer model name; a longer one has no price and is not remembered."""
MAX_REMEMBERED_NAMES = 4_096
DEFAULT_CONTEXT_WINDOW = 128_000
DEFAULT_MAX_OUTPUT_TOKENS = 16_384

CapField = Literal["max_tokens", "max_completion_tokens"]


_OVERRIDE_RATES = {
    "input": "input",
    "output": "output",
    "cached_input": "cached",
    "cache_write": "cache_write",
    "cache_write_1h": "cache_write_1h",
    "input_audio": "input_audio",
    "output_audio": "output_audio",
    "characters": "character",
}
"""The keys of `[prices."model"]` in the settings that are USD per million, and the rates they set."""
_OVERRIDE_FEES = ("image", "audio_minute")
"""The keys that are USD each; that of pictures may have a quality and a size behind it."""
_FEE_KEY = re.compile(r"audio_minute|image(_[a-z]{1,32})?(_[0-9]{1,5}x[0-9]{1,5})?")
_MINUTES_PER_HOUR = 60


def override_price(model: str, words: Mapping[str, str]) -> ModelPrice:
    """Read an administrator's price of a model, amounts of USD as strings.

    Raises ValueError, naming the model and the key, for an unknown or missing key and for what `parse_rate` and
    `parse_fee` refuse.
    """
    unknown = sorted(key for key in words if key not in _OVERRIDE_RATES and not _FEE_KEY.fullmatch(key))
    if unknown:
        known = ", ".join((*_OVERRIDE_RATES, *_OVERRIDE_FEES))
        raise ValueError(f'prices."{model}": unknown key {unknown[0]!r}; the keys are {known}')
    card: dict[str, int] = {}
    images: dict[str, int] = {}
    for key, text in words.items():
        try:
            if key in _OVERRIDE_RATES:
                card[_OVERRIDE_RATES[key]] = parse_rate(text)
            elif key == "audio_minute":
                card["audio_hour"] = parse_fee(text) * _MINUTES_PER_HOUR
            else:
                images[key.removeprefix("image").removeprefix("_")] = parse_fee(text)
        except ValueError as error:
            raise ValueError(f'prices."{model}".{key}: {error}') from error
    if missing := _missing(card, images):
        raise ValueError(f'prices."{model}": {missing} is missing; write "0" where it costs nothing')
    return flat_price(resolve(msgspec.convert({"input": 0, **card, "images": images or None}, RateCard)))


def _missing(card: Mapping[str, int], images: Mapping[str, int]) -> str | None:
    """Return the key that is needed and not there: a price without tokens must say what else is paid."""
    if images and "" not in images:
        return "image"
    has_tokens = card.keys() - {"audio_hour", "character"} or not (card or images)
    return next((key for key in ("input", "output") if has_tokens and key not in card), None)


class CardRow(msgspec.Struct, frozen=True, array_like=True):
    """A price row in the data file: [from_seconds, second_of_day, above_input_tokens, card]."""

    from_seconds: int
    second_of_day: int
    above_input_tokens: int
    card: RateCard


class ModelEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model in the data file.

    `names` are matched whole, `patterns` in the file's order: a pattern that begins with ^ is a regular expression,
    any other one a wildcard; all in lower case. `prices` has rows by service tier, "" for the standard one; none at
    all when the model is charged by something that a usage record does not have, such as seconds or pages.
    """

    names: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    context_window: int | None = None
    prices: dict[str, tuple[CardRow, ...]] = {}


class ProviderEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One provider in the data file. Models it does not list itself are looked for at the `fallbacks`."""

    models: tuple[ModelEntry, ...]
    fallbacks: tuple[str, ...] = ()


class FactRow(msgspec.Struct, frozen=True, array_like=True):
    """Facts of the models that a wildcard matches; the first row that matches counts."""

    pattern: str
    max_output_tokens: int
    is_reasoning: bool
    cap_field: CapField


class TableFile(msgspec.Struct, frozen=True):
    """The data file whole. `source` names the package and version that the prices are from."""

    source: str
    facts: tuple[FactRow, ...]
    providers: dict[str, ProviderEntry]


class ModelFacts(msgspec.Struct, frozen=True):
    """What a model can: tokens it reads, tokens it writes at most, and the field in which a chat call caps them."""

    context_window: int
    max_output_tokens: int
    is_reasoning: bool
    cap_field: CapField


class PriceTable:
    """Prices and facts by provider species and model name, an administrator's overrides first."""

    __slots__ = ("_by_name", "_file", "_overrides", "_remembered")

    def __init__(self, file: TableFile, overrides: Mapping[str, ModelPrice]) -> None:
        self._file = file
        self._overrides = {name.lower(): price for name, price in overrides.items()}
        self._by_name = {
            provider: {name: model for model in entry.models for name in model.names}
            for provider, entry in file.providers.items()
        }
        self._remembered: dict[tuple[str, str], tuple[ModelPrice | None, ModelFacts]] = {}

    @classmethod
    def from_json(cls, data: bytes, overrides: Mapping[str, Mapping[str, str]] | None = None) -> "PriceTable":
        """Read the data file and the settings' `[prices."name-or-pattern*"]` tables.

        Raises ValueError for an override that `override_price` refuses, msgspec.DecodeError for a broken file.
        """
        prices = {model: override_price(model, words) for model, words in (overrides or {}).items()}
        return cls(msgspec.json.decode(data, type=TableFile), prices)

    @property
    def source(self) -> str:
        """The package and version that the prices are from."""
        return self._file.source

    def names(self) -> frozenset[str]:
        """Return the names of all models that have an entry of their own, and the overrides that are no patterns."""
        listed = {name for models in self._by_name.values() for name in models}
        return frozenset(listed | {name for name in self._overrides if not set("*?[") & set(name)})

    def labels(self) -> frozenset[str]:
        """Return the names, and the patterns that are a name's beginning and a star: claude-sonnet-4-6*."""
        patterns = {
            pattern for entry in self._file.providers.values() for one in entry.models for pattern in one.patterns
        }
        return self.names() | {pattern for pattern in patterns if _BEGINNING.fullmatch(pattern)}

    def names_of(self, provider: str) -> frozenset[str]:
        """Return the names of the models that have an entry of their own at this provider species."""
        return frozenset(self._by_name.get(_DATA_PROVIDERS.get(provider, provider), ()))

    def lookup(self, provider: str, model: str) -> ModelPrice | None:
        """Return the model's price at this provider species, None if it is not known."""
        return self._known(provider, model)[0]

    def facts(self, provider: str, model: str) -> ModelFacts:
        """Return what the model can; cautious defaults for one that is not known."""
        return self._known(provider, model)[1]

    def _known(self, provider: str, model: str) -> tuple[ModelPrice | None, ModelFacts]:
        known = self._remembered.get((provider, model))
        if known is None:
            known = self._find(self._lister(provider, model.lower()), model.lower())
            if len(model) <= MAX_NAME_LENGTH:
                if len(self._remembered) >= MAX_REMEMBERED_NAMES:
                    self._remembered.clear()
                self._remembered[provider, model] = known
        return known

    def _lister(self, provider: str, name: str) -> str:
        """Return whose prices and facts count at a species: at the demo upstream those of the model's own provider."""
        if provider != "demo":
            return _DATA_PROVIDERS.get(provider, provider)
        return next((lister for lister in _SHOWN_BY_DEMO if self._entry(lister, name) is not None), "openai")

    def _find(self, provider: str, name: str) -> tuple[ModelPrice | None, ModelFacts]:
        if len(name) > MAX_NAME_LENGTH:
            return None, self._facts_of("", None)
        price = self._override(name)
        own = self._entry(provider, name)
        entry = own or self._fallback(provider, name)
        if price is None and entry is not None and entry.prices:
            # Service tiers are the prices of the provider that lists them; who resells the model has its own or none.
            price = _model_price(entry.prices if own else {"": entry.prices[""]})
        return price, self._facts_of(name, entry)

    def _override(self, name: str) -> ModelPrice | None:
        if name in self._overrides:
            return self._overrides[name]
        return next((price for pattern, price in self._overrides.items() if fnmatchcase(name, pattern)), None)

    def _entry(self, provider: str, name: str) -> ModelEntry | None:
        return self._match(provider, name) or self._match(provider, _dashed_date(name))

    def _fallback(self, provider: str, name: str) -> ModelEntry | None:
        listed = self._file.providers.get(provider)
        entries = (self._entry(fallback, name) for fallback in (listed.fallbacks if listed else ()))
        return next((entry for entry in entries if entry is not None), None)

    def _match(self, provider: str, name: str) -> ModelEntry | None:
        if provider not in self._by_name:
            return None
        exact = self._by_name[provider].get(name)
        models = self._file.providers[provider].models
        return exact or next((model for model in models if any(_matches(p, name) for p in model.patterns)), None)

    def _facts_of(self, name: str, entry: ModelEntry | None) -> ModelFacts:
        # A reseller's name has the vendor before it, and only the vendor's own API knows its cap field.
        vendor, _, bare = name.removeprefix("ft:").rpartition("/")
        context = (entry.context_window if entry else None) or DEFAULT_CONTEXT_WINDOW
        for row in self._file.facts:
            if fnmatchcase(bare, row.pattern):
                cap_field: CapField = "max_tokens" if vendor else row.cap_field
                return ModelFacts(context, min(row.max_output_tokens, context), row.is_reasoning, cap_field)
        return ModelFacts(context, min(DEFAULT_MAX_OUTPUT_TOKENS, context), False, "max_tokens")


_DATA_PROVIDERS = {"gemini": "google", "demo": "openai"}
"""The gateway's species whose name in the data file is another one."""

_SHOWN_BY_DEMO = ("openai", "anthropic", "google")

_BEGINNING = re.compile(r"[a-z][a-z0-9.-]+[0-9a-z]\*")
_COMPACT_DATE = re.compile(r"-(20[0-9]{2})(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])(?=-|:|$)")


def _dashed_date(name: str) -> str:
    """Write a date such as -20251211, as some resellers have it, as -2025-12-11."""
    return _COMPACT_DATE.sub(r"-\1-\2-\3", name)


def _matches(pattern: str, name: str) -> bool:
    """Match one of the data file's patterns: ^regex, head*, *tail or *part*."""
    if pattern.startswith("^"):
        return re.search(pattern, name) is not None
    # By hand, because fnmatch compiles each pattern: 8 ms for the first Gemini model.
    head, *parts, tail = pattern.split("*")
    return parts[0] in name if parts else name.startswith(head) and name.endswith(tail)


def _model_price(cards: Mapping[str, tuple[CardRow, ...]]) -> ModelPrice:
    rows = {tier: tuple(_price_row(card_row) for card_row in card_rows) for tier, card_rows in cards.items()}
    return ModelPrice(rows.pop(""), rows)


def _price_row(row: CardRow) -> PriceRow:
    return PriceRow(row.from_seconds, row.second_of_day, row.above_input_tokens, resolve(row.card))
