"""How usage and costs are paged: by buckets of time, the empty ones too, with the next bucket's start as the cursor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta

from gateway.admin.fields import Id
from gateway.core.errors import InvalidRequest
from gateway.store.principals import AdminPrincipal, Principal
from gateway.store.reports import Filter, Line, Query, Width, buckets

R = TypeVar("R", bound=msgspec.Struct)

Moment = Annotated[int, Meta(ge=0, le=32_503_680_000)]
"""Unix seconds up to the year 3000."""
ModelName = Annotated[str, Meta(max_length=200)]
Ids = tuple[Id, ...] | None
ModelNames = tuple[ModelName, ...] | None
_CURSOR = "page_"


class TimeRange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of both queries. `start_time` is inclusive, `end_time` exclusive and by default now.

    Both are widened to whole buckets.
    """

    start_time: Moment
    end_time: Moment | None = None
    limit: Annotated[int, Meta(ge=1)] | None = None
    page: Annotated[str, Meta(max_length=40)] | None = None
    project_ids: Ids = None
    user_ids: Ids = None
    api_key_ids: Ids = None


class Bucket(msgspec.Struct, Generic[R], frozen=True):
    """One bucket, [start_time, end_time)."""

    start_time: int
    end_time: int
    results: Sequence[R]
    object: str = "bucket"


class PageOf(msgspec.Struct, Generic[R], frozen=True):
    """The envelope."""

    data: Sequence[Bucket[R]]
    has_more: bool
    next_page: str | None
    object: str = "page"


@dataclass(frozen=True, slots=True)
class Span:
    """The buckets of one page: [start, end) of whole buckets, and whether others follow."""

    width: Width
    start: int
    end: int
    has_more: bool


def read_span(asked: TimeRange, width: Width, most: int, default: int, now: int) -> Span:
    """Return what this page covers. Raises InvalidRequest for a limit, a range or a cursor that cannot be."""
    limit = default if asked.limit is None else asked.limit
    if limit > most:
        raise InvalidRequest(f"`limit` is at most {most} for this bucket width.", param="limit", code="invalid_value")
    if asked.end_time is not None and asked.end_time <= asked.start_time:
        raise InvalidRequest("`end_time` must be after `start_time`.", param="end_time", code="invalid_value")
    first = asked.start_time - asked.start_time % width
    # Without an end the bucket of this very second is the last.
    end = now + 1 if asked.end_time is None else asked.end_time
    last_end = max(first, end + -end % width)
    start = first if asked.page is None else _read_cursor(asked.page, first, last_end, width)
    stop = min(start + limit * width, last_end)
    return Span(width, start, stop, stop < last_end)


def read_filter(asked: TimeRange, caller: AdminPrincipal | Principal) -> Filter:
    """Return whose usage is asked for; a member's key sees its own alone, whatever it asks for."""
    keys = _set(asked.api_key_ids)
    if isinstance(caller, Principal):
        own = frozenset((caller.api_key_id,))
        keys = own if keys is None else keys & own
    return Filter(project_ids=_set(asked.project_ids), user_ids=_set(asked.user_ids), api_key_ids=keys)


def paged(found: Sequence[Line], query: Query, span: Span, show: Callable[[Line], R]) -> PageOf[R]:
    """Put a report into the envelope."""
    data = [
        Bucket(start, start + span.width, [show(line) for line in inside])
        for start, inside in buckets(found, query).items()
    ]
    return PageOf(data, span.has_more, _cursor(span.end) if span.has_more else None)


def _cursor(start: int) -> str:
    return f"{_CURSOR}{start:x}"


def _read_cursor(text: str, first: int, end: int, width: Width) -> int:
    try:
        start = int(text.removeprefix(_CURSOR), 16)
    except ValueError:
        start = -1
    # int() takes signs, spaces and underscores, too.
    if text != _cursor(start) or not first <= start < end or start % width:
        raise InvalidRequest("`page` is not a `next_page` of this report.", param="page", code="invalid_cursor")
    return start


def _set(values: Sequence[str] | None) -> frozenset[str] | None:
    return None if values is None else frozenset(values)
