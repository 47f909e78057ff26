"""Listing: one page at a time, oldest first, after a cursor that is the id of the last thing seen."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, Select, select, tuple_

from gateway.core.errors import InvalidRequest

T = TypeVar("T")

AnyRow = Row[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page begins. `after` is the id of the last thing seen, None for the beginning; `limit` is 1 or more.

    With `before`, which excludes `after`, it is the page that ends just before that id, in the same order.
    """

    after: str | None = None
    limit: int = 20
    descending: bool = False
    before: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page and whether another follows it, or precedes it if it was asked for backwards."""

    items: tuple[T, ...]
    has_more: bool


def page(
    connection: Connection,
    query: Select[*tuple[Any, ...]],
    keys: tuple[ColumnElement[int], ColumnElement[str]],
    cursor: Cursor,
    make: Callable[[AnyRow], T],
    within: ColumnElement[bool] | None = None,
) -> Page[T]:
    """Return the page of `query` in the order of `keys`, time and id. Raises InvalidRequest for an unknown cursor.

    `within` says whose list it is: a cursor from another's is unknown. Otherwise the cursor's row is found whether or
    not the query still admits it, because things may be archived or deleted between two pages.
    """
    backwards = cursor.before is not None
    descending = cursor.descending != backwards
    edge = cursor.before if backwards else cursor.after
    if edge is not None:
        found = select(*keys).where(keys[1] == edge)
        found = found if within is None else found.where(within)
        # PostgreSQL takes no NUL in a text, so no id has one.
        place = connection.execute(found).first() if "\0" not in edge else None
        if place is None:
            param = "before" if backwards else "after"
            raise InvalidRequest(
                f"`{param}` is not the id of anything in this list.", param=param, code="invalid_cursor"
            )
        order = tuple_(*keys)
        query = query.where(order < tuple_(*place) if descending else order > tuple_(*place))
    query = query.order_by(*(key.desc() if descending else key.asc() for key in keys))
    rows = connection.execute(query.limit(cursor.limit + 1)).all()
    items = [make(row) for row in rows[: cursor.limit]]
    return Page(tuple(reversed(items) if backwards else items), len(rows) > cursor.limit)
