"""Lists as OpenAI's SDK pages through them: after the last id seen, until `has_more` is false."""

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from gateway.admin.fields import Id, PageSize
from gateway.core.errors import InvalidRequest
from gateway.store.pages import Cursor, Page


class HasId(Protocol):
    """What can stand in a list."""

    @property
    def id(self) -> str:
        """The object's id, by which the next page is asked for."""


T = TypeVar("T")
S = TypeVar("S", bound=HasId)


class Paging(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query of a list, for itself or as the base of one with filters."""

    after: Id | None = None
    limit: PageSize = 20

    @property
    def cursor(self) -> Cursor:
        """Where the page begins, oldest first."""
        return Cursor(self.after, self.limit)


class BothWays(Paging, frozen=True, forbid_unknown_fields=True):
    """The query of a list that can be read backwards too: `before` asks for the page that ends at an id."""

    before: Id | None = None

    @property
    def cursor(self) -> Cursor:
        """Where the page begins or ends. Raises InvalidRequest for a page between two ids."""
        if self.after is not None and self.before is not None:
            raise InvalidRequest("Send either `after` or `before`.", param="before", code="invalid_value")
        return Cursor(self.after, self.limit, before=self.before)


class ListOf(msgspec.Struct, Generic[S], frozen=True):
    """The envelope. Without `last_id` the SDK stops after the first page."""

    object: str
    data: Sequence[S]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(msgspec.Struct, frozen=True):
    """What is answered when something was deleted."""

    object: str
    id: str
    deleted: bool = True


def listed(page: Page[T], show: Callable[[T], S]) -> ListOf[S]:
    """Put a page into the envelope."""
    data = [show(item) for item in page.items]
    return ListOf("list", data, data[0].id if data else None, data[-1].id if data else None, page.has_more)
