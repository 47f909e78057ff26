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
    """Where a page begins. `after` is the id of the last thing seen, None for the beginning; `limit` is 1 or more."""

    after: str | None = None
    limit: int = 20
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page and whether another follows it."""

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
    """Return the page of `query` in the order of `keys`, time and id. Raises InvalidRequest for an unknown `after`.

    `within` says whose list it is: a cursor from another's is unknown. Otherwise the cursor's row is found whether or
    not the query still admits it, because things may be archived or deleted between two pages.
    """
    order = tuple_(*keys)
    if cursor.after is not None:
        found = select(*keys).where(keys[1] == cursor.after)
        place = connection.execute(found if within is None else found.where(within)).first()
        if place is None:
            raise InvalidRequest(
                "`after` is not the id of anything in this list.", param="after", code="invalid_cursor"
            )
        query = query.where(order < tuple_(*place) if cursor.descending else order > tuple_(*place))
    query = query.order_by(*(key.desc() if cursor.descending else key.asc() for key in keys))
    rows = connection.execute(query.limit(cursor.limit + 1)).all()
    return Page(tuple(make(row) for row in rows[: cursor.limit]), len(rows) > cursor.limit)
