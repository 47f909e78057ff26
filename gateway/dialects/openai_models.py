"""Models as OpenAI lists them: all at once."""

from collections.abc import Mapping, Sequence

import msgspec

from gateway.dialects.listing import ListedModel


class Model(msgspec.Struct, frozen=True):
    """A model as OpenAI shows it."""

    id: str
    created: int
    owned_by: str
    object: str = "model"


class ModelList(msgspec.Struct, frozen=True):
    """The list."""

    data: list[Model]
    object: str = "list"


class OpenAIModels:
    """The shapes of OpenAI's dialect."""

    def page(self, models: Sequence[ListedModel], _query: Mapping[str, str]) -> ModelList:
        """Return all models: this API has no pages."""
        return ModelList([self.one(model) for model in models])

    def one(self, model: ListedModel) -> Model:
        """Return one model."""
        return Model(model.id, model.created, model.owned_by)
