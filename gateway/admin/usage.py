"""/v1/organization/usage: how many calls, and of what each kind of call uses how much, by bucket of time.

The kinds are OpenAI's, told apart by the ledger's operations; `total` is ours: all of them together, with their cost.
One function reports every kind, `KINDS` is the table. Roles read all, a member's key its own.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Generic, Literal, TypeVar

from msgspec import Meta

from gateway.admin import usage_results as results
from gateway.admin.boundary import Access, AdminRequest, AdminRoute
from gateway.admin.buckets import ModelNames, PageOf, TimeRange, paged, read_filter, read_span
from gateway.admin.decoding import Nothing
from gateway.store import reports
from gateway.store.reports import Dimension, Filter, Line, Query, Width
from gateway.store.usage import SUMS

COMPLETIONS = frozenset(("chat", "completions", "responses", "messages", "generate_content"))
EMBEDDINGS = frozenset(("embeddings", "embed_content"))
MODERATIONS = frozenset(("moderations",))
SPEECHES = frozenset(("audio.speech",))
TRANSCRIPTIONS = frozenset(("audio.transcriptions", "audio.translations"))
IMAGES = frozenset(results.IMAGE_SOURCES)

# Width, default and largest number of buckets, as OpenAI documents them.
WIDTHS = {"1m": (Width.MINUTE, 60, 1440), "1h": (Width.HOUR, 24, 168), "1d": (Width.DAY, 7, 31)}
# Words of `group_by` that are called otherwise in the ledger. Where a call came from (`api_source`) nobody tells.
_DIMENSIONS: Mapping[str, Dimension | None] = {
    **{name.value: name for name in Dimension},
    "source": Dimension.OPERATION,
    "size": Dimension.IMAGE_SIZE,
    "api_source": None,
}

Caller = Literal["project_id", "user_id", "api_key_id", "model"]
Anything = Literal["operation", "service_account_id", "batch", "service_tier"]
ImageSize = Annotated[str, Meta(max_length=32)]


class UsageQuery(TimeRange, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query of most kinds."""

    bucket_width: Literal["1m", "1h", "1d"] = "1d"
    models: ModelNames = None
    group_by: tuple[Caller, ...] = ()


class CompletionsQuery(UsageQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query of `usage/completions`."""

    batch: bool | None = None
    group_by: tuple[Caller | Literal["batch", "service_tier", "api_source"], ...] = ()  # type: ignore[assignment]


class ImagesQuery(UsageQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query of `usage/images`. What is asked by size is known as long as the records are kept."""

    sizes: tuple[ImageSize, ...] | None = None
    sources: tuple[Literal["image.generation", "image.edit", "image.variation"], ...] | None = None
    group_by: tuple[Caller | Literal["size", "source"], ...] = ()  # type: ignore[assignment]


class TotalQuery(UsageQuery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query of `usage/total`."""

    batch: bool | None = None
    group_by: tuple[Caller | Anything, ...] = ()  # type: ignore[assignment]


R = TypeVar("R", bound=results.UsageResult)


@dataclass(frozen=True, slots=True)
class Kind(Generic[R]):
    """A kind of usage: its URL's last word, what it takes, what it adds up, what it answers.

    `operations` None are all; `show` also gets the words of `group_by`.
    """

    name: str
    query: type[UsageQuery]
    operations: frozenset[str] | None
    columns: Sequence[str]
    show: Callable[[Line, frozenset[str]], R]
    answer: object


_TEXT = (
    "succeeded", "input_tokens", "cached_tokens", "cache_write_tokens", "input_audio_tokens", "input_image_tokens",
    "output_tokens", "output_audio_tokens",
)  # fmt: skip
_INPUT = ("succeeded", "input_tokens")

TOTAL = Kind("total", TotalQuery, None, SUMS, results.total, PageOf[results.TotalResult])
KINDS: Sequence[Kind[Any]] = (
    Kind("completions", CompletionsQuery, COMPLETIONS, _TEXT, results.completions, PageOf[results.CompletionsResult]),
    Kind("embeddings", UsageQuery, EMBEDDINGS, _INPUT, results.embeddings, PageOf[results.EmbeddingsResult]),
    Kind("moderations", UsageQuery, MODERATIONS, _INPUT, results.moderations, PageOf[results.ModerationsResult]),
    Kind("images", ImagesQuery, IMAGES, ("succeeded", "images"), results.images, PageOf[results.ImagesResult]),
    Kind("audio_speeches", UsageQuery, SPEECHES, ("succeeded", "characters"), results.speeches,
         PageOf[results.SpeechesResult]),
    Kind("audio_transcriptions", UsageQuery, TRANSCRIPTIONS, ("succeeded", "audio_ms"), results.transcriptions,
         PageOf[results.TranscriptionsResult]),
    TOTAL,
)  # fmt: skip


async def report(kind: Kind[R], request: AdminRequest[UsageQuery, Nothing]) -> PageOf[R]:
    """Report one kind."""
    asked = request.query
    width, default, most = WIDTHS[asked.bucket_width]
    span = read_span(asked, width, most, default, request.now)
    words = frozenset(asked.group_by)
    filter = _narrowed(read_filter(asked, request.caller), asked, kind.operations)
    query = Query(width, span.start, span.end, _dimensions(words), filter, kind.columns)
    found = await request.read(lambda connection: reports.lines(connection, query))
    return paged(found, query, span, lambda line: kind.show(line, words))


def _dimensions(words: Iterable[str]) -> frozenset[Dimension]:
    return frozenset(name for word in words if (name := _DIMENSIONS[word]) is not None)


def _narrowed(filter: Filter, asked: UsageQuery, operations: frozenset[str] | None) -> Filter:
    """Narrow a filter to the kind's operations and to what is asked of it."""
    models = None if asked.models is None else frozenset(asked.models)
    filter = replace(filter, models=models, operations=operations)
    match asked:
        case CompletionsQuery() | TotalQuery():
            return replace(filter, batch=asked.batch)
        case ImagesQuery():
            sizes = None if asked.sizes is None else frozenset(asked.sizes)
            sources = results.IMAGE_SOURCES.values() if asked.sources is None else asked.sources
            operations = frozenset(name for name, source in results.IMAGE_SOURCES.items() if source in sources)
            return replace(filter, image_sizes=sizes, operations=operations)
        case _:
            return filter


report_total = partial(report, TOTAL)
_REPORTERS = {kind.name: partial(report, kind) for kind in KINDS} | {TOTAL.name: report_total}

ROUTES: tuple[AdminRoute[Any, Any], ...] = tuple(
    AdminRoute(
        "GET", f"/v1/organization/usage/{kind.name}", _REPORTERS[kind.name], Access.OWN, kind.query, Nothing,
        answer=kind.answer,
    )
    for kind in KINDS
)  # fmt: skip
