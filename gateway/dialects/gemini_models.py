"""Models as Google lists them: in pages that go forward from a name, with what each can do and how much it takes."""

from collections.abc import Mapping, Sequence

import msgspec

from gateway.core.errors import InvalidRequest
from gateway.dialects.listing import ListedModel

DEFAULT_PAGE_SIZE = 50
MOST_PAGE_SIZE = 1_000
"""More is not refused, but given in pages of this size, as Google does."""
GENERATING = ("generateContent", "countTokens")
EMBEDDING = ("embedContent",)


class Model(msgspec.Struct, frozen=True, rename="camel"):
    """A model as Google shows it; limits are in tokens."""

    name: str
    base_model_id: str
    version: str
    display_name: str
    input_token_limit: int
    output_token_limit: int
    supported_generation_methods: Sequence[str]


class ModelPage(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A page, and what asks for the next one where there is one."""

    models: Sequence[Model]
    next_page_token: str = ""


class GeminiModels:
    """The shapes of Gemini's dialect."""

    def page(self, models: Sequence[ListedModel], query: Mapping[str, str]) -> ModelPage:
        """Return the page behind `pageToken`, the last name of the page before. Raises InvalidRequest."""
        size = _page_size(query.get("pageSize") or str(DEFAULT_PAGE_SIZE))
        token = query.get("pageToken", "")
        rest = [model for model in models if model.id > token]
        more = len(rest) > size
        return ModelPage([self.one(model) for model in rest[:size]], rest[size - 1].id if more else "")

    def one(self, model: ListedModel) -> Model:
        """Return one model."""
        methods = EMBEDDING if "embedding" in model.id else GENERATING
        return Model(
            name=f"models/{model.id}",
            base_model_id=model.id,
            version="",
            display_name=model.display_name,
            input_token_limit=model.input_token_limit,
            output_token_limit=model.output_token_limit,
            supported_generation_methods=methods,
        )


def _page_size(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text[:10]) < 1:
        raise InvalidRequest("`pageSize` must be a number from 1 on.", param="pageSize")
    return min(int(text[:10]), MOST_PAGE_SIZE)
