"""Models as Anthropic lists them: in pages that go forward or back from an id."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from gateway.core.errors import InvalidRequest
from gateway.dialects.listing import ListedModel

DEFAULT_LIMIT = 20
MOST_LIMIT = 1_000


class Model(msgspec.Struct, frozen=True):
    """A model as Anthropic shows it. `created_at` is the epoch where nobody tells."""

    id: str
    display_name: str
    created_at: datetime
    type: str = "model"
    lifecycle: str = "active"


class ModelPage(msgspec.Struct, frozen=True):
    """A page; the ids at its ends are the cursors of its neighbours, None when it is empty."""

    data: list[Model]
    has_more: bool
    first_id: str | None
    last_id: str | None


class AnthropicModels:
    """The shapes of Anthropic's dialect."""

    def page(self, models: Sequence[ListedModel], query: Mapping[str, str]) -> ModelPage:
        """Return the page behind `after_id` or before `before_id`. Raises InvalidRequest for an id not in the list."""
        limit = _limit(query.get("limit", str(DEFAULT_LIMIT)))
        if "after_id" in query:
            rest = models[_place(models, query["after_id"], "after_id") + 1 :]
            chosen = rest[:limit]
        elif "before_id" in query:
            rest = models[: _place(models, query["before_id"], "before_id")]
            chosen = rest[-limit:]
        else:
            rest, chosen = models, models[:limit]
        data = [self.one(model) for model in chosen]
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return ModelPage(data, len(chosen) < len(rest), first, last)

    def one(self, model: ListedModel) -> Model:
        """Return one model."""
        return Model(model.id, model.display_name, datetime.fromtimestamp(model.created, UTC))


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:5]) <= MOST_LIMIT:
        raise InvalidRequest(f"`limit` must be a number from 1 to {MOST_LIMIT}.", param="limit")
    return int(text)


def _place(models: Sequence[ListedModel], id: str, param: str) -> int:
    for place, model in enumerate(models):
        if model.id == id:
            return place
    raise InvalidRequest(f"`{param}` is not the id of a model in this list.", param=param)
