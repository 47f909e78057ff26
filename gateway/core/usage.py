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


class _Clamp:
    """Bounds counts one after the other and remembers whether one did not fit."""

    __slots__ = ("happened",)

    def __init__(self) -> None:
        self.happened = False

    def bound(self, count: int | None, maximum: int) -> int:
        """Return the count, moved into 0..maximum; None counts as 0."""
        if count is None:
            return 0
        bounded = min(max(count, 0), maximum)
        self.happened = self.happened or bounded != count
        return bounded

    def parts(self, total: int, *counts: int | None) -> list[int]:
        """Return the counts as parts of the total that do not overlap; the first ones win."""
        bounded = []
        for count in counts:
            bounded.append(self.bound(count, total))
            total -= bounded[-1]
        return bounded


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
    clamp = _Clamp()
    total_in = clamp.bound(input_tokens, MAX_COUNT)
    cached, write, write_1h = clamp.parts(total_in, cached_tokens, cache_write_tokens, cache_write_1h_tokens)
    audio, image = clamp.parts(total_in, input_audio_tokens, input_image_tokens)
    cached_audio = clamp.bound(cached_audio_tokens, min(cached, audio))
    cached_image = clamp.bound(cached_image_tokens, min(cached - cached_audio, image))
    uncached = total_in - cached - write - write_1h
    cached_audio, cached_image = _inferred_overlap(cached, uncached, audio, image, cached_audio, cached_image)
    # Audio or images that still do not fit were written to the cache; no provider prices those apart.
    fresh_audio = min(audio - cached_audio, uncached)
    fresh_image = min(image - cached_image, uncached - fresh_audio)
    total_out = clamp.bound(output_tokens, MAX_COUNT)
    reasoning, audio_out, image_out = clamp.parts(total_out, reasoning_tokens, output_audio_tokens, output_image_tokens)
    return Usage(
        input_tokens=total_in,
        cached_tokens=cached,
        cache_write_tokens=write,
        cache_write_1h_tokens=write_1h,
        input_audio_tokens=cached_audio + fresh_audio,
        input_image_tokens=cached_image + fresh_image,
        cached_audio_tokens=cached_audio,
        cached_image_tokens=cached_image,
        output_tokens=total_out,
        reasoning_tokens=reasoning,
        output_audio_tokens=audio_out,
        output_image_tokens=image_out,
        web_searches=clamp.bound(web_searches, MAX_COUNT),
        service_tier=service_tier,
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
