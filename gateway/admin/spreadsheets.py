"""Lists and reports as CSV: which columns, and all pages one after the other.

Columns are the fields of the listed type, those of nested types with a dot (`owner.user.email`); `object` is left out,
it is the same in every row.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

import msgspec
from msgspec import inspect
from msgspec.structs import replace

from gateway.admin.buckets import PageOf
from gateway.admin.lists import ListOf
from gateway.core.csv_lines import accepts_csv, csv_lines
from gateway.core.errors import InvalidRequest

PAGE_SIZE = 100
"""Rows of a list that are read in one transaction, from the second page on."""
Page = ListOf[Any] | PageOf[Any]
Ask = Callable[[msgspec.Struct], Awaitable[tuple[bytes, msgspec.Struct | None]]]
"""Returns a page's lines and the query of the page after it, None for the last; a transaction of its own each time."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column's name, and the fields that lead to its value."""

    name: str
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """The columns of one type of answer. Those of a report begin with its bucket's start and end, in Unix seconds."""

    columns: Sequence[Column]
    has_buckets: bool = False

    def header(self) -> str:
        """Return the first line."""
        bucket = ("start_time", "end_time") if self.has_buckets else ()
        return csv_lines([(*bucket, *(column.name for column in self.columns))])

    def page(self, page: Page) -> str:
        """Return a page's lines."""
        return csv_lines(self._bucket_rows(page) if isinstance(page, PageOf) else map(self.row, page.data))

    def row(self, item: object) -> list[object]:
        """Return one thing's values, in the order of the columns."""
        return [_value(item, column.path) for column in self.columns]

    def _bucket_rows(self, page: PageOf[Any]) -> Iterator[list[object]]:
        for bucket in page.data:
            for result in bucket.results:
                yield [bucket.start_time, bucket.end_time, *self.row(result)]


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for beside the query: CSV, and of all that follows the first page or of that page alone."""

    csv: bool
    follows: bool


def is_tabular(answer: object) -> bool:
    """Tell whether a type of answer is a list or a report."""
    return get_origin(answer) in (ListOf, PageOf)


def sheet_of(answer: object) -> Sheet:
    """Return the sheet of a tabular type of answer, or of a type of thing."""
    if is_tabular(answer):
        (item,) = get_args(answer)
        return Sheet(_columns(inspect.type_info(item)), has_buckets=get_origin(answer) is PageOf)
    return Sheet(_columns(inspect.type_info(answer)))


def read_wish(query: bytes, accept: bytes) -> tuple[Wish, bytes]:
    """Return what is asked for and the query without `format`. Raises InvalidRequest for a format that is none."""
    rest, word = [], b""
    for part in query.split(b"&"):
        if part.startswith(b"format="):
            word = part.removeprefix(b"format=")
        else:
            rest.append(part)
    if word not in (b"", b"csv", b"json"):
        raise InvalidRequest("`format` may be csv or json.", param="format", code="invalid_value")
    wants = word == b"csv" if word else accepts_csv(accept)
    # What ends at an id is one page, too.
    follows = not any(part.startswith((b"limit=", b"before=")) for part in rest)
    return Wish(wants, follows), b"&".join(rest)


def as_json(page: Page) -> bytes:
    """Encode a page; a report bucket by bucket, for each piece of encoding holds up all other threads."""
    if isinstance(page, PageOf):
        page = replace(page, data=[msgspec.Raw(msgspec.json.encode(bucket)) for bucket in page.data])
    return msgspec.json.encode(page)


def next_query(query: msgspec.Struct, page: Page) -> msgspec.Struct | None:
    """Return the query of the page after this one, None after the last."""
    if not page.has_more:
        return None
    if isinstance(page, PageOf):
        return replace(query, page=page.next_page)
    return replace(query, after=page.last_id, limit=PAGE_SIZE)


async def stream(sheet: Sheet, first: bytes, following: msgspec.Struct | None, ask: Ask) -> AsyncIterator[bytes]:
    """Yield the header, the lines of the first page and, page by page, of all that follows it."""
    yield sheet.header().encode() + first
    while following is not None:
        lines, following = await ask(following)
        yield lines


def _value(item: object, path: Sequence[str]) -> object:
    for name in path:
        if item is None:
            return None
        item = getattr(item, name)
    return item


def _columns(kind: inspect.Type, name: tuple[str, ...] = (), path: tuple[str, ...] = ()) -> list[Column]:
    """Return the columns below a type: one for what is no struct, else those of its fields."""
    struct = _struct(kind)
    if struct is None:
        return [Column(".".join(name), path)]
    return [
        column
        for field in struct.fields
        if field.encode_name != "object"
        for column in _columns(field.type, (*name, field.encode_name), (*path, field.name))
    ]


def _struct(kind: inspect.Type) -> inspect.StructType | None:
    """Return the one struct that this is, perhaps beside null."""
    options = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    found = [option for option in options if not isinstance(option, inspect.NoneType)]
    return found[0] if len(found) == 1 and isinstance(found[0], inspect.StructType) else None
