"""The canonical record of what one call used, whatever dialect reported it.

Figures named `*_tokens` count tokens. Subsets are inside their totals: cached, cache writes, audio and images inside
the input; reasoning, audio and images inside the output. The dialects map to it:

    OpenAI     as reported: prompt_tokens already contains cached and written tokens
    Anthropic  input = input_tokens + cache_creation_input_tokens + cache_read_input_tokens
    Gemini     input = promptTokenCount + toolUsePromptTokenCount, output = candidatesTokenCount + thoughtsTokenCount
"""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

MAX_COUNT = 2**53
"""The largest count that is believed, the largest integer that every JSON reader keeps exact."""
_COUNTS = 13
"""The first fields of Usage are counts that a dialect reads from a usage block."""
_SUMMED = _COUNTS + 3
"""They and those behind them add up."""


class OtherModel(msgspec.Struct, frozen=True, gc=False):
    """What another model used inside the same call: an adviser, or one that answered instead."""

    model: str
    usage: "Usage"


class Usage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a call used.

    `cache_write_tokens` are those with the provider's default time to live, `cache_write_1h_tokens` those kept for an
    hour; the two do not overlap. `cached_audio_tokens` and `cached_image_tokens` are the overlap of cached with audio
    and image. Beside tokens: `images` are pictures made, `audio_ms` milliseconds of audio heard or spoken, `characters`
    those of a text that was read aloud, `image_size` the pictures' size such as 1024x1024 and `image_quality` a word
    such as hd, None when there are none or nobody tells. `service_tier` is the one that served the call: OpenAI's word
    of the answer, "batch" for batches, "fast" for Anthropic's fast speed; None for the standard one. `is_clamped` tells
    that the reported figures contradicted each other. What `others` used is not in these counts. `surcharge_percent` is
    what each token costs above its listed price, because of where the call was served.
    `upstream_cost_nano_usd` is what the provider itself says the call cost, None where it does not. `lacks_input` and
    `lacks_output` tell that the provider has not said all of it, or nothing that could be read: our own count stands if
    it is more.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    input_audio_tokens: int = 0
    input_image_tokens: int = 0
    cached_audio_tokens: int = 0
    cached_image_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    output_audio_tokens: int = 0
    output_image_tokens: int = 0
    web_searches: int = 0
    images: int = 0
    audio_ms: int = 0
    characters: int = 0
    service_tier: str | None = None
    image_size: str | None = None
    image_quality: str | None = None
    surcharge_percent: int = 0
    is_clamped: bool = False
    others: tuple[OtherModel, ...] = ()
    upstream_cost_nano_usd: int | None = None
    lacks_input: bool = False
    lacks_output: bool = False

    @property
    def lacks_some(self) -> bool:
        """True where figures of the provider's do not say everything."""
        return self.lacks_input or self.lacks_output

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    @property
    def is_nothing(self) -> bool:
        """True for a call that used nothing which a model could be paid by."""
        counted = self.input_tokens or self.output_tokens or self.images or self.audio_ms or self.characters
        return not (counted or self.others)

    def whole(self) -> "Usage":
        """Return these counts and those of the other models together."""
        return added((self, *(other.usage for other in self.others))) if self.others else self


UNTOLD = Usage(lacks_input=True, lacks_output=True)
"""What a provider says that says nothing."""


def at_least(usage: Usage, *, input_tokens: int = 0, output_tokens: int = 0) -> Usage:
    """Return what was used, with no less input and output than that."""
    if usage.input_tokens >= input_tokens and usage.output_tokens >= output_tokens:
        return usage
    return replace(
        usage,
        input_tokens=max(usage.input_tokens, input_tokens),
        output_tokens=max(usage.output_tokens, output_tokens),
    )


def added(parts: Sequence[Usage]) -> Usage:
    """Return the sums of one or more parts' counts; all else is the first one's, and no other models."""
    counts = [sum(column) for column in zip(*(msgspec.structs.astuple(part)[:_SUMMED] for part in parts), strict=True)]
    names = Usage.__struct_fields__[:_SUMMED]
    is_clamped = any(part.is_clamped for part in parts)
    return replace(parts[0], **dict(zip(names, counts, strict=True)), is_clamped=is_clamped, others=())


def checked_usage(
    *,
    input_tokens: int | None = 0,
    cached_tokens: int | None = 0,
    cache_write_tokens: int | None = 0,
    cache_write_1h_tokens: int | None = 0,
    input_audio_tokens: int | None = 0,
    input_image_tokens: int | None = 0,
    cached_audio_tokens: int | None = 0,
    cached_image_tokens: int | None = 0,
    output_tokens: int | None = 0,
    reasoning_tokens: int | None = 0,
    output_audio_tokens: int | None = 0,
    output_image_tokens: int | None = 0,
    web_searches: int | None = 0,
    service_tier: str | None = None,
) -> Usage:
    """Build a Usage from integers that a provider reported; None counts as 0.

    Never raises: a count outside 0..MAX_COUNT or a subset beyond its total is clamped, and `is_clamped` tells. Cached
    audio or images that were not reported, but must be there because together with the other subsets they exceed the
    input, are inferred as far as they must be; that is no contradiction.
    """
    reported = Usage(
        input_tokens=input_tokens or 0,
        cached_tokens=cached_tokens or 0,
        cache_write_tokens=cache_write_tokens or 0,
        cache_write_1h_tokens=cache_write_1h_tokens or 0,
        input_audio_tokens=input_audio_tokens or 0,
        input_image_tokens=input_image_tokens or 0,
        cached_audio_tokens=cached_audio_tokens or 0,
        cached_image_tokens=cached_image_tokens or 0,
        output_tokens=output_tokens or 0,
        reasoning_tokens=reasoning_tokens or 0,
        output_audio_tokens=output_audio_tokens or 0,
        output_image_tokens=output_image_tokens or 0,
        web_searches=web_searches or 0,
        service_tier=service_tier,
    )
    return reported if _is_consistent(reported) else _clamped(reported)


def with_media(
    usage: Usage,
    *,
    images: int = 0,
    audio_ms: int = 0,
    characters: int = 0,
    image_size: str | None = None,
    image_quality: str | None = None,
) -> Usage:
    """Add what is not measured in tokens. Never raises: a count outside 0..MAX_COUNT is clamped, `is_clamped` tells.

    Apart from `checked_usage`, because CPython calls a function with more than 15 keywords at twice the price.
    """
    clamp = _Clamp()
    return replace(
        usage,
        images=clamp.bound(images, MAX_COUNT),
        audio_ms=clamp.bound(audio_ms, MAX_COUNT),
        characters=clamp.bound(characters, MAX_COUNT),
        image_size=image_size,
        image_quality=image_quality,
        is_clamped=usage.is_clamped or clamp.happened,
    )


def _is_consistent(usage: Usage) -> bool:
    """Tell whether every count is in range and all subsets fit into their totals, the usual case."""
    cached_media = usage.cached_audio_tokens + usage.cached_image_tokens
    media = usage.input_audio_tokens + usage.input_image_tokens
    writes = usage.cache_write_tokens + usage.cache_write_1h_tokens
    parts_of_output = usage.reasoning_tokens + usage.output_audio_tokens + usage.output_image_tokens
    return (
        min(msgspec.structs.astuple(usage)[:_COUNTS]) >= 0
        and usage.cached_tokens + writes + media - cached_media <= usage.input_tokens <= MAX_COUNT
        and cached_media <= usage.cached_tokens
        and usage.cached_audio_tokens <= usage.input_audio_tokens
        and usage.cached_image_tokens <= usage.input_image_tokens
        and parts_of_output <= usage.output_tokens <= MAX_COUNT
        and usage.web_searches <= MAX_COUNT
    )


class _Clamp:
    """Bounds counts one after the other and remembers whether one did not fit."""

    __slots__ = ("happened",)

    def __init__(self) -> None:
        self.happened = False

    def bound(self, count: int, maximum: int) -> int:
        """Return the count, moved into 0..maximum."""
        bounded = min(max(count, 0), maximum)
        self.happened = self.happened or bounded != count
        return bounded

    def parts(self, total: int, *counts: int) -> list[int]:
        """Return the counts as parts of the total that do not overlap; the first ones win."""
        bounded = []
        for count in counts:
            bounded.append(self.bound(count, total))
            total -= bounded[-1]
        return bounded


def _clamped(usage: Usage) -> Usage:
    clamp = _Clamp()
    total = clamp.bound(usage.input_tokens, MAX_COUNT)
    cached, write, write_1h = clamp.parts(
        total, usage.cached_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens
    )
    audio, image = clamp.parts(total, usage.input_audio_tokens, usage.input_image_tokens)
    cached_audio = clamp.bound(usage.cached_audio_tokens, min(cached, audio))
    cached_image = clamp.bound(usage.cached_image_tokens, min(cached - cached_audio, image))
    uncached = total - cached - write - write_1h
    cached_audio, cached_image = _inferred_overlap(cached, uncached, audio, image, cached_audio, cached_image)
    # Audio or images that still do not fit were written to the cache; no provider prices those apart.
    fresh_audio = min(audio - cached_audio, uncached)
    fresh_image = min(image - cached_image, uncached - fresh_audio)
    output = clamp.bound(usage.output_tokens, MAX_COUNT)
    reasoning, output_audio, output_image = clamp.parts(
        output, usage.reasoning_tokens, usage.output_audio_tokens, usage.output_image_tokens
    )
    return Usage(
        input_tokens=total,
        cached_tokens=cached,
        cache_write_tokens=write,
        cache_write_1h_tokens=write_1h,
        input_audio_tokens=cached_audio + fresh_audio,
        input_image_tokens=cached_image + fresh_image,
        cached_audio_tokens=cached_audio,
        cached_image_tokens=cached_image,
        output_tokens=output,
        reasoning_tokens=reasoning,
        output_audio_tokens=output_audio,
        output_image_tokens=output_image,
        web_searches=clamp.bound(usage.web_searches, MAX_COUNT),
        service_tier=usage.service_tier,
        is_clamped=clamp.happened,
    )


def _inferred_overlap(
    cached: int, uncached: int, audio: int, image: int, cached_audio: int, cached_image: int
) -> tuple[int, int]:
    """Raise cached audio, then cached images, just so far that what is not cached fits into the uncached input."""
    excess = (audio - cached_audio) + (image - cached_image) - uncached
    if excess <= 0:
        return cached_audio, cached_image
    more_audio = min(excess, audio - cached_audio, cached - cached_audio - cached_image)
    cached_audio += more_audio
    more_image = min(excess - more_audio, image - cached_image, cached - cached_audio - cached_image)
    return cached_audio, cached_image + more_image
