"""How a dialect lists models: the same models, in the shape that its SDKs read."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec


class ListedModel(msgspec.Struct, frozen=True):
    """A model that a key may call. `created` is in Unix seconds, 0 where nobody tells; the limits are in tokens."""

    id: str
    created: int
    owned_by: str
    display_name: str
    input_token_limit: int
    output_token_limit: int


class Listing(Protocol):
    """The shapes of one dialect."""

    def page(self, models: Sequence[ListedModel], query: Mapping[str, str]) -> msgspec.Struct:
        """Return the list, or the page of it that the query asks for. Raises InvalidRequest."""

    def one(self, model: ListedModel) -> msgspec.Struct:
        """Return one model."""
