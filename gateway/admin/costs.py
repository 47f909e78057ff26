"""/v1/organization/costs: what was charged, by day. Roles read all, a member's key its own."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

import msgspec

from gateway.admin.boundary import Access, AdminRequest, AdminRoute
from gateway.admin.buckets import PageOf, TimeRange, paged, read_filter, read_span
from gateway.admin.decoding import Nothing
from gateway.core.money import render_usd
from gateway.store import reports
from gateway.store.reports import Dimension, Group, Line, Query, Sums, Width, total

DEFAULT_DAYS, MOST_DAYS = 7, 180
_LINE_ITEM = frozenset((Dimension.MODEL, Dimension.OPERATION))


class CostsQuery(TimeRange, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query. A line item is a model and an operation, such as `gpt-4o-mini, chat`."""

    bucket_width: Literal["1d"] = "1d"
    line_items: tuple[str, ...] | None = None
    group_by: tuple[Literal["project_id", "user_id", "line_item", "api_key_id"], ...] = ()


class Amount(msgspec.Struct, frozen=True):
    """Money as a JSON number that is exact to the nano-USD."""

    value: msgspec.Raw
    currency: str = "usd"


class CostsResult(msgspec.Struct, frozen=True):
    """One group; what it is not grouped by is null, and so is the quantity without a line item."""

    amount: Amount
    line_item: str | None
    project_id: str | None
    user_id: str | None
    api_key_id: str | None
    quantity: int | None
    quantity_unit: str | None
    object: str = "organization.costs.result"


async def list_costs(request: AdminRequest[CostsQuery, Nothing]) -> PageOf[CostsResult]:
    """Report costs."""
    asked = request.query
    span = read_span(asked, Width.DAY, MOST_DAYS, DEFAULT_DAYS, request.now)
    by_item = "line_item" in asked.group_by
    groups = frozenset(Dimension(name) for name in asked.group_by if name != "line_item")
    if by_item or asked.line_items is not None:
        groups |= _LINE_ITEM
    columns = ("cost_nano_usd", "input_tokens", "output_tokens") if by_item else ("cost_nano_usd",)
    query = Query(Width.DAY, span.start, span.end, groups, read_filter(asked, request.caller), columns)
    found = await request.read(lambda connection: reports.lines(connection, query))
    if asked.line_items is not None:
        wanted = frozenset(asked.line_items)
        found = [line for line in found if _line_item(line.group) in wanted]
    return paged(found if by_item else _without_items(found), query, span, _show)


def _without_items(found: Iterable[Line]) -> list[Line]:
    """Add up the line items of each group."""
    parts: dict[tuple[int, Group], list[Sums]] = {}
    for line in found:
        group = replace(line.group, model=None, operation=None)
        parts.setdefault((line.start, group), []).append(line.sums)
    return [Line(start, group, total(sums)) for (start, group), sums in parts.items()]


def _line_item(group: Group) -> str | None:
    return None if group.model is None else f"{group.model}, {group.operation}"


def _show(line: Line) -> CostsResult:
    group, item = line.group, _line_item(line.group)
    return CostsResult(
        Amount(msgspec.Raw(render_usd(line.sums.cost_nano_usd).encode())),
        item,
        group.project_id,
        group.user_id,
        group.api_key_id,
        None if item is None else line.sums.input_tokens + line.sums.output_tokens,
        None if item is None else "tokens",
    )


ROUTES = (AdminRoute("GET", "/v1/organization/costs", list_costs, Access.OWN, CostsQuery, Nothing),)
