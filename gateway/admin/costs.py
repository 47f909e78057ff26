"""/v1/organization/costs: what was charged, by day. Roles read all, a member's key its own."""

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from gateway.admin.boundary import Access, AdminRequest, AdminRoute
from gateway.admin.buckets import PageOf, TimeRange, paged, read_filter, read_span
from gateway.admin.decoding import Nothing
from gateway.core.money import render_usd
from gateway.store import reports
from gateway.store.reports import Dimension, Group, Line, Query, Sums, Width, total

DEFAULT_DAYS, MOST_DAYS = 7, 180
_LINE_ITEM = frozenset((Dimension.MODEL, Dimension.OPERATION))
_DIMENSIONS = frozenset(("project_id", "user_id", "api_key_id"))
_QUANTITIES = ("input_tokens", "output_tokens", "images", "characters", "audio_ms")
_MS_PER_SECOND = 1_000

Source = Literal["unlabeled"] | None
"""Where a call came from: nobody tells."""
Unit = Literal["tokens", "images", "characters", "duration_seconds"]


class CostsQuery(TimeRange, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query. A line item is a model and an operation, such as `gpt-4o-mini, chat`."""

    bucket_width: Literal["1d"] = "1d"
    line_items: tuple[str, ...] | None = None
    group_by: tuple[Literal["project_id", "user_id", "line_item", "api_key_id", "api_source"], ...] = ()


class Amount(msgspec.Struct, frozen=True, gc=False):
    """Money as a JSON number that is exact to the nano-USD."""

    value: Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "number"})]
    currency: Literal["usd"] = "usd"


class CostsResult(msgspec.Struct, frozen=True, gc=False):
    """One group; what it is not grouped by is null, and so is the quantity without a line item."""

    amount: Amount
    line_item: str | None
    project_id: str | None
    user_id: str | None
    api_key_id: str | None
    quantity: int | None
    quantity_unit: Unit | None
    api_source: Source
    object: Literal["organization.costs.result"] = "organization.costs.result"


async def list_costs(request: AdminRequest[CostsQuery, Nothing]) -> PageOf[CostsResult]:
    """Report costs."""
    asked = request.query
    span = read_span(asked, Width.DAY, MOST_DAYS, DEFAULT_DAYS, request.now)
    by_item = "line_item" in asked.group_by
    groups = frozenset(Dimension(name) for name in asked.group_by if name in _DIMENSIONS)
    if by_item or asked.line_items is not None:
        groups |= _LINE_ITEM
    columns = ("cost_nano_usd", *_QUANTITIES) if by_item else ("cost_nano_usd",)
    query = Query(Width.DAY, span.start, span.end, groups, read_filter(asked, request.caller), columns)
    found = await request.read(lambda connection: reports.lines(connection, query))
    if asked.line_items is not None:
        wanted = frozenset(asked.line_items)
        found = [line for line in found if _line_item(line.group) in wanted]
    source: Source = "unlabeled" if "api_source" in asked.group_by else None
    return paged(found if by_item else _without_items(found), query, span, lambda line: _show(line, source))


def _without_items(found: Iterable[Line]) -> list[Line]:
    """Add up the line items of each group."""
    parts: dict[tuple[int, Group], list[Sums]] = {}
    for line in found:
        group = replace(line.group, model=None, operation=None)
        parts.setdefault((line.start, group), []).append(line.sums)
    return [Line(start, group, total(sums)) for (start, group), sums in parts.items()]


def _line_item(group: Group) -> str | None:
    return None if group.model is None else f"{group.model}, {group.operation}"


def _show(line: Line, source: Source) -> CostsResult:
    group = line.group
    quantity, unit = _quantity(line) if group.operation is not None else (None, None)
    return CostsResult(
        usd(line.sums.cost_nano_usd),
        _line_item(group),
        group.project_id,
        group.user_id,
        group.api_key_id,
        quantity,
        unit,
        source,
    )


def _quantity(line: Line) -> tuple[int, Unit]:
    """Return how much of what a line item is: tokens where the provider counts any, else what there is to count."""
    sums = line.sums
    tokens = sums.input_tokens + sums.output_tokens
    if tokens == 0 and sums.images:
        return sums.images, "images"
    if tokens == 0 and sums.characters:
        return sums.characters, "characters"
    if tokens == 0 and sums.audio_ms:
        return round_seconds(sums.audio_ms), "duration_seconds"
    return tokens, "tokens"


def round_seconds(milliseconds: int) -> int:
    """Return whole seconds, half of one rounded up."""
    return (milliseconds + _MS_PER_SECOND // 2) // _MS_PER_SECOND


def usd(nano_usd: int) -> Amount:
    """Return the exact amount: its decimals, not the nearest float's."""
    return Amount(msgspec.Raw(render_usd(nano_usd).encode()))


ROUTES = (AdminRoute("GET", "/v1/organization/costs", list_costs, Access.OWN, CostsQuery, Nothing),)
