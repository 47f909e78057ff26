"""The canonical record of what one call used, whatever dialect reported it.

Every figure is a count of tokens but `web_searches`. Subsets are inside their totals: cached, cache writes, audio and
images inside the input; reasoning, audio and images inside the output. The dialects map to it:

    OpenAI     as reported: prompt_tokens already contains cached and written tokens
    Anthropic  input = input_tokens + cache_creation_input_tokens + cache_read_input_tokens
    Gemini     input = promptTokenCount + toolUsePromptTokenCount, output = candidatesTokenCount + thoughtsTokenCount
"""

import msgspec

MAX_COUNT = 2**53
"""The largest count that is believed, the largest integer that every JSON reader keeps exact."""
_COUNTS = 13
"""The first fields of Usage are counts, what follows is not."""


class Usage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a call used.

    `cache_write_tokens` are those with the provider's default time to live, `cache_write_1h_tokens` those kept for an
    hour; the two do not overlap. `cached_audio_tokens` and `cached_image_tokens` are the overlap of cached with audio
    and image. `service_tier` is the one that served the call: OpenAI's word of the answer, "batch" for batches, "fast"
    for Anthropic's fast speed; None for the standard one. `is_clamped` tells that the reported figures contradicted
    each other.
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
    service_tier: str | None = None
    is_clamped: bool = False

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


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
