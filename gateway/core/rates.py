"""Rates per token and the one formula that turns usage into cost. All integers; rates are pico-USD, costs nano-USD.

The formula and its fallbacks are those of genai-prices (MIT), which the tests hold it against.
"""

import msgspec

from gateway.core.money import nano_half_even
from gateway.core.usage import Usage

MAX_COST_NANO_USD = 2**53
"""9 million USD for one call: a bound that keeps any sum of rows far inside int64, whatever usage was reported."""


class RateCard(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Rates as someone wrote them: pico-USD per token, per web search and per request. None: see `resolve`."""

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


class Rates(msgspec.Struct, frozen=True, gc=False):
    """Rates with every fallback filled in. `text` is stored with a usage record: compact JSON of the card they came
    from, always the same for the same rates.
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
    text: str


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
        text=msgspec.json.encode(card).decode(),
    )


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
    return min(nano_half_even(pico), MAX_COST_NANO_USD)


def _input_media_surcharge(usage: Usage, rates: Rates) -> int:
    """Return what audio and images cost beyond the same number of text tokens, cached ones against cached text."""
    return (
        (usage.input_audio_tokens - usage.cached_audio_tokens) * (rates.input_audio - rates.input)
        + usage.cached_audio_tokens * (rates.cached_audio - rates.cached)
        + (usage.input_image_tokens - usage.cached_image_tokens) * (rates.input_image - rates.input)
        + usage.cached_image_tokens * (rates.cached_image - rates.cached)
    )
