"""/v1/organization/usage: how many calls and tokens, by bucket of time. Roles read all, a member's key its own."""

from typing import Literal

import msgspec

from gateway.admin.boundary import Access, AdminRequest, AdminRoute
from gateway.admin.buckets import ModelNames, PageOf, TimeRange, paged, read_filter, read_span, with_models
from gateway.admin.decoding import Nothing
from gateway.store import reports
from gateway.store.reports import Dimension, Line, Query, Width

COMPLETIONS = frozenset(("chat", "completions", "responses", "messages", "generate_content"))
EMBEDDINGS = frozenset(("embeddings",))

# Width, default and largest number of buckets, as OpenAI documents them.
WIDTHS = {"1m": (Width.MINUTE, 60, 1440), "1h": (Width.HOUR, 24, 168), "1d": (Width.DAY, 7, 31)}
_COMPLETIONS_COLUMNS = (
    "succeeded", "input_tokens", "cached_tokens", "cache_write_tokens", "input_audio_tokens", "input_image_tokens",
    "output_tokens", "output_audio_tokens",
)  # fmt: skip
_EMBEDDINGS_COLUMNS = ("succeeded", "input_tokens")


class CompletionsQuery(TimeRange, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query of `usage/completions`."""

    bucket_width: Literal["1m", "1h", "1d"] = "1d"
    models: ModelNames = None
    batch: bool | None = None
    group_by: tuple[Literal["project_id", "user_id", "api_key_id", "model", "batch", "service_tier"], ...] = ()


class EmbeddingsQuery(TimeRange, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query of `usage/embeddings`."""

    bucket_width: Literal["1m", "1h", "1d"] = "1d"
    models: ModelNames = None
    group_by: tuple[Literal["project_id", "user_id", "api_key_id", "model"], ...] = ()


class CompletionsResult(msgspec.Struct, frozen=True):
    """One group; what it is not grouped by is null. Audio and image tokens include those read from the cache."""

    input_tokens: int
    output_tokens: int
    num_model_requests: int
    input_cached_tokens: int
    input_cache_write_tokens: int
    input_uncached_tokens: int
    input_audio_tokens: int
    input_image_tokens: int
    output_audio_tokens: int
    project_id: str | None
    user_id: str | None
    api_key_id: str | None
    model: str | None
    batch: bool | None
    service_tier: str | None
    object: str = "organization.usage.completions.result"


class EmbeddingsResult(msgspec.Struct, frozen=True):
    """One group; what it is not grouped by is null."""

    input_tokens: int
    num_model_requests: int
    project_id: str | None
    user_id: str | None
    api_key_id: str | None
    model: str | None
    object: str = "organization.usage.embeddings.result"


async def list_completions(request: AdminRequest[CompletionsQuery, Nothing]) -> PageOf[CompletionsResult]:
    """Report chat, completions, responses, messages and generateContent."""
    asked = request.query
    width, default, most = WIDTHS[asked.bucket_width]
    span = read_span(asked, width, most, default, request.now)
    filter = with_models(read_filter(asked, request.caller), asked.models, asked.batch, COMPLETIONS)
    groups = frozenset(map(Dimension, asked.group_by))
    query = Query(width, span.start, span.end, groups, filter, _COMPLETIONS_COLUMNS)
    found = await request.read(lambda connection: reports.lines(connection, query))
    return paged(found, query, span, _completions)


async def list_embeddings(request: AdminRequest[EmbeddingsQuery, Nothing]) -> PageOf[EmbeddingsResult]:
    """Report embeddings."""
    asked = request.query
    width, default, most = WIDTHS[asked.bucket_width]
    span = read_span(asked, width, most, default, request.now)
    filter = with_models(read_filter(asked, request.caller), asked.models, None, EMBEDDINGS)
    groups = frozenset(map(Dimension, asked.group_by))
    query = Query(width, span.start, span.end, groups, filter, _EMBEDDINGS_COLUMNS)
    found = await request.read(lambda connection: reports.lines(connection, query))
    return paged(found, query, span, _embeddings)


def _completions(line: Line) -> CompletionsResult:
    group, sums = line.group, line.sums
    return CompletionsResult(
        input_tokens=sums.input_tokens,
        output_tokens=sums.output_tokens,
        num_model_requests=sums.succeeded,
        input_cached_tokens=sums.cached_tokens,
        input_cache_write_tokens=sums.cache_write_tokens,
        input_uncached_tokens=sums.input_tokens - sums.cached_tokens - sums.cache_write_tokens,
        input_audio_tokens=sums.input_audio_tokens,
        input_image_tokens=sums.input_image_tokens,
        output_audio_tokens=sums.output_audio_tokens,
        project_id=group.project_id,
        user_id=group.user_id,
        api_key_id=group.api_key_id,
        model=group.model,
        batch=None if group.batch is None else bool(group.batch),
        # The ledger leaves it empty where the provider named none, which means the standard one.
        service_tier="default" if group.service_tier == "" else group.service_tier,
    )


def _embeddings(line: Line) -> EmbeddingsResult:
    group = line.group
    return EmbeddingsResult(
        line.sums.input_tokens, line.sums.succeeded, group.project_id, group.user_id, group.api_key_id, group.model
    )


ROUTES = (
    AdminRoute("GET", "/v1/organization/usage/completions", list_completions, Access.OWN, CompletionsQuery, Nothing),
    AdminRoute("GET", "/v1/organization/usage/embeddings", list_embeddings, Access.OWN, EmbeddingsQuery, Nothing),
)
