"""Rates and the one formula that turns usage into cost. All integers; rates are pico-USD, costs nano-USD.

The formula and its fallbacks are those of genai-prices (MIT), which the tests hold it against.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from gateway.core.money import PICO_PER_NANO, nano_half_even
from gateway.core.usage import Usage

MAX_COST_NANO_USD = 2**53
"""9 million USD for one call: a bound that keeps any sum of rows far inside int64, whatever usage was reported."""


MS_PER_HOUR = 3_600_000


class Unit(StrEnum):
    """What a model can be paid by."""

    TOKENS = "tokens"
    IMAGES = "images"
    AUDIO = "audio"
    CHARACTERS = "characters"


class RateCard(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Rates as someone wrote them: pico-USD per token, web search, request, hour of audio, character and picture.

    `images` has the price of a picture by `quality_size`, `quality` or `size`, and by "" for all others. None in it and
    in the two before it: the model is not paid by that. None elsewhere: see `resolve`.
    """

    input: int
    output: int = 0
    cached: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    input_audio: int | None = None
    cached_audio: int | None = None
    input_image: int | None = None
    cached_image: int | None = None
    reasoning: int | None = None
    output_audio: int | None = None
    output_image: int | None = None
    web_search: int = 0
    request: int = 0
    audio_hour: int | None = None
    character: int | None = None
    images: dict[str, int] | None = None


_TOKEN_RATES = (
    "input", "output", "cached", "cache_write", "cache_write_1h", "input_audio", "cached_audio", "input_image",
    "cached_image", "reasoning", "output_audio", "output_image",
)  # fmt: skip


class Rates(msgspec.Struct, frozen=True, gc=False):
    """Rates with every fallback filled in, and the units they are for. `text` is stored with a usage record: compact
    JSON of the card they came from, always the same for the same rates.
    """

    input: int
    output: int
    cached: int
    cache_write: int
    cache_write_1h: int
    input_audio: int
    cached_audio: int
    input_image: int
    cached_image: int
    reasoning: int
    output_audio: int
    output_image: int
    web_search: int
    request: int
    audio_hour: int
    character: int
    images: Mapping[str, int]
    units: frozenset[Unit]
    text: str

    def image(self, quality: str | None, size: str | None) -> int:
        """Return the price of one picture; None is what nobody told."""
        for kind in (f"{quality}_{size}", quality, size):
            if kind is not None and kind in self.images:
                return self.images[kind]
        return self.images.get("", 0)


def resolve(card: RateCard) -> Rates:
    """Fill in what the card leaves open: a part of the input or output without a rate costs what the whole costs.

    An hour's cache write falls back to the plain one; cached audio and images to the dearer of what they both are,
    the uncached rate where that has one of its own.
    """
    cached = _first(card.cached, card.input)
    cache_write = _first(card.cache_write, card.input)
    return Rates(
        input=card.input,
        output=card.output,
        cached=cached,
        cache_write=cache_write,
        cache_write_1h=_first(card.cache_write_1h, cache_write),
        input_audio=_first(card.input_audio, card.input),
        cached_audio=_first(card.cached_audio, card.input_audio, cached),
        input_image=_first(card.input_image, card.input),
        cached_image=_first(card.cached_image, card.input_image, cached),
        reasoning=_first(card.reasoning, card.output),
        output_audio=_first(card.output_audio, card.output),
        output_image=_first(card.output_image, card.output),
        web_search=card.web_search,
        request=card.request,
        audio_hour=card.audio_hour or 0,
        character=card.character or 0,
        images=card.images or {},
        units=_units(card),
        text=msgspec.json.encode(card).decode(),
    )


def raised(rates: Rates, percent: int) -> Rates:
    """Return rates at which each token costs so many percent more, rounded up to a pico-USD; fees stay as they are."""
    card = msgspec.json.decode(rates.text, type=RateCard)
    dearer = {name: more_by(rate, percent) for name in _TOKEN_RATES if (rate := getattr(card, name)) is not None}
    return resolve(msgspec.structs.replace(card, **dearer))


def more_by(rate: int, percent: int) -> int:
    """Return a rate that is so many percent higher, rounded up."""
    return rate - (-rate * percent // 100)


def _units(card: RateCard) -> frozenset[Unit]:
    """Return what a call must be measured in to be paid by this card. One that names no other unit is for tokens."""
    beside = {Unit.IMAGES: card.images, Unit.AUDIO: card.audio_hour, Unit.CHARACTERS: card.character}
    units = {unit for unit, rate in beside.items() if rate is not None}
    if not units or card.input or card.output:
        units.add(Unit.TOKENS)
    return frozenset(units)


def _first(*rates: int | None) -> int:
    return next(rate for rate in rates if rate is not None)


def cost_nano_usd(usage: Usage, rates: Rates) -> int:
    """Return what the usage costs at these rates, rounded once, half to even, and at most MAX_COST_NANO_USD.

    The rates must be those that apply to the usage: see `prices.ModelPrice.rates`.
    """
    cached = usage.cached_tokens
    write = usage.cache_write_tokens
    write_1h = usage.cache_write_1h_tokens
    pico = (
        (usage.input_tokens - cached - write - write_1h) * rates.input
        + cached * rates.cached
        + usage.output_tokens * rates.output
        + rates.request
    )
    if write or write_1h:
        pico += write * rates.cache_write + write_1h * rates.cache_write_1h
    if usage.input_audio_tokens or usage.input_image_tokens:
        pico += _input_media_surcharge(usage, rates)
    if usage.reasoning_tokens or usage.output_audio_tokens or usage.output_image_tokens:
        pico += (
            usage.reasoning_tokens * (rates.reasoning - rates.output)
            + usage.output_audio_tokens * (rates.output_audio - rates.output)
            + usage.output_image_tokens * (rates.output_image - rates.output)
        )
    if usage.web_searches:
        pico += usage.web_searches * rates.web_search
    if usage.images or usage.audio_ms or usage.characters:
        pico += usage.images * rates.image(usage.image_quality, usage.image_size) + usage.characters * rates.character
        # An hour's rate is no whole number of pico-USD a millisecond: all is counted in parts of one.
        parts = pico * MS_PER_HOUR + usage.audio_ms * rates.audio_hour
        return min(nano_half_even(parts, PICO_PER_NANO * MS_PER_HOUR), MAX_COST_NANO_USD)
    return min(nano_half_even(pico), MAX_COST_NANO_USD)


def _input_media_surcharge(usage: Usage, rates: Rates) -> int:
    """Return what audio and images cost beyond the same number of text tokens, cached ones against cached text."""
    return (
        (usage.input_audio_tokens - usage.cached_audio_tokens) * (rates.input_audio - rates.input)
        + usage.cached_audio_tokens * (rates.cached_audio - rates.cached)
        + (usage.input_image_tokens - usage.cached_image_tokens) * (rates.input_image - rates.input)
        + usage.cached_image_tokens * (rates.cached_image - rates.cached)
    )
