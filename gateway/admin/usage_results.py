"""What usage reports answer: one result per group, in OpenAI's shapes. What a result is not grouped by is null."""

from collections.abc import Mapping
from typing import Literal, TypedDict

import msgspec

from gateway.admin.costs import Amount, Source, round_seconds, usd
from gateway.store.reports import Line

IMAGE_SOURCES: Mapping[str, str] = {
    "images.generations": "image.generation",
    "images.edits": "image.edit",
    "images.variations": "image.variation",
}
"""The ledger's operation -> OpenAI's word for where a picture comes from."""


class Caller(TypedDict):
    """Whose line it is, and of which model."""

    project_id: str | None
    user_id: str | None
    api_key_id: str | None
    model: str | None


class UsageResult(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the results of all kinds have. Counted are the calls that the provider answered with 2xx."""

    num_model_requests: int
    project_id: str | None
    user_id: str | None
    api_key_id: str | None
    model: str | None


class CompletionsResult(UsageResult, frozen=True, kw_only=True):
    """Chat, completions, responses, messages, generateContent. Audio and images include those read from the cache."""

    input_tokens: int
    output_tokens: int
    input_cached_tokens: int
    input_cache_write_tokens: int
    input_uncached_tokens: int
    input_audio_tokens: int
    input_image_tokens: int
    output_audio_tokens: int
    batch: bool | None
    service_tier: str | None
    api_source: Source
    object: Literal["organization.usage.completions.result"] = "organization.usage.completions.result"


class EmbeddingsResult(UsageResult, frozen=True, kw_only=True):
    """Embeddings."""

    input_tokens: int
    object: Literal["organization.usage.embeddings.result"] = "organization.usage.embeddings.result"


class ModerationsResult(UsageResult, frozen=True, kw_only=True):
    """Moderations."""

    input_tokens: int
    object: Literal["organization.usage.moderations.result"] = "organization.usage.moderations.result"


class ImagesResult(UsageResult, frozen=True, kw_only=True):
    """Pictures that were made or changed."""

    images: int
    size: str | None
    source: str | None
    object: Literal["organization.usage.images.result"] = "organization.usage.images.result"


class SpeechesResult(UsageResult, frozen=True, kw_only=True):
    """Text that was read aloud."""

    characters: int
    object: Literal["organization.usage.audio_speeches.result"] = "organization.usage.audio_speeches.result"


class TranscriptionsResult(UsageResult, frozen=True, kw_only=True):
    """Audio that was written down or translated. Seconds are rounded once, after adding up milliseconds."""

    seconds: int
    object: Literal["organization.usage.audio_transcriptions.result"] = "organization.usage.audio_transcriptions.result"


class TotalResult(UsageResult, frozen=True, kw_only=True):
    """Everything together; ours. `requests` are all that were sent to a provider, whatever came back.

    The amount leaves out calls of models without a price, which `unpriced_requests` counts.
    """

    requests: int
    input_tokens: int
    input_cached_tokens: int
    input_cache_write_tokens: int
    output_tokens: int
    output_reasoning_tokens: int
    images: int
    seconds: int
    characters: int
    amount: Amount
    unpriced_requests: int
    operation: str | None
    service_account_id: str | None
    batch: bool | None
    service_tier: str | None
    object: Literal["organization.usage.total.result"] = "organization.usage.total.result"


def completions(line: Line, words: frozenset[str]) -> CompletionsResult:
    """Show a line of `usage/completions`."""
    sums = line.sums
    return CompletionsResult(
        num_model_requests=sums.succeeded,
        **_caller(line),
        input_tokens=sums.input_tokens,
        output_tokens=sums.output_tokens,
        input_cached_tokens=sums.cached_tokens,
        input_cache_write_tokens=sums.cache_write_tokens,
        input_uncached_tokens=sums.input_tokens - sums.cached_tokens - sums.cache_write_tokens,
        input_audio_tokens=sums.input_audio_tokens,
        input_image_tokens=sums.input_image_tokens,
        output_audio_tokens=sums.output_audio_tokens,
        batch=_batch(line),
        service_tier=_service_tier(line),
        api_source="unlabeled" if "api_source" in words else None,
    )


def embeddings(line: Line, _words: frozenset[str]) -> EmbeddingsResult:
    """Show a line of `usage/embeddings`."""
    return EmbeddingsResult(
        num_model_requests=line.sums.succeeded, **_caller(line), input_tokens=line.sums.input_tokens
    )


def moderations(line: Line, _words: frozenset[str]) -> ModerationsResult:
    """Show a line of `usage/moderations`."""
    return ModerationsResult(
        num_model_requests=line.sums.succeeded, **_caller(line), input_tokens=line.sums.input_tokens
    )


def images(line: Line, _words: frozenset[str]) -> ImagesResult:
    """Show a line of `usage/images`."""
    operation = line.group.operation
    return ImagesResult(
        num_model_requests=line.sums.succeeded,
        **_caller(line),
        images=line.sums.images,
        size=line.group.image_size,
        source=None if operation is None else IMAGE_SOURCES[operation],
    )


def speeches(line: Line, _words: frozenset[str]) -> SpeechesResult:
    """Show a line of `usage/audio_speeches`."""
    return SpeechesResult(num_model_requests=line.sums.succeeded, **_caller(line), characters=line.sums.characters)


def transcriptions(line: Line, _words: frozenset[str]) -> TranscriptionsResult:
    """Show a line of `usage/audio_transcriptions`."""
    return TranscriptionsResult(
        num_model_requests=line.sums.succeeded, **_caller(line), seconds=round_seconds(line.sums.audio_ms)
    )


def total(line: Line, _words: frozenset[str]) -> TotalResult:
    """Show a line of `usage/total`."""
    group, sums = line.group, line.sums
    return TotalResult(
        num_model_requests=sums.succeeded,
        **_caller(line),
        requests=sums.requests,
        input_tokens=sums.input_tokens,
        input_cached_tokens=sums.cached_tokens,
        input_cache_write_tokens=sums.cache_write_tokens,
        output_tokens=sums.output_tokens,
        output_reasoning_tokens=sums.reasoning_tokens,
        images=sums.images,
        seconds=round_seconds(sums.audio_ms),
        characters=sums.characters,
        amount=usd(sums.cost_nano_usd),
        unpriced_requests=sums.unpriced_requests,
        operation=group.operation,
        service_account_id=group.service_account_id,
        batch=_batch(line),
        service_tier=_service_tier(line),
    )


def _caller(line: Line) -> Caller:
    group = line.group
    return {
        "project_id": group.project_id,
        "user_id": group.user_id,
        "api_key_id": group.api_key_id,
        "model": group.model,
    }


def _batch(line: Line) -> bool | None:
    return None if line.group.batch is None else bool(line.group.batch)


def _service_tier(line: Line) -> str | None:
    """The ledger leaves it empty where the provider named none, which means the standard one."""
    return "default" if line.group.service_tier == "" else line.group.service_tier
