"""`POST /{version}/models/{model}:countTokens`: what a prompt would hold. It costs nothing, here and at Google."""

import msgspec

from gateway.core.call import NOTHING, Call, Head, Reading
from gateway.dialects.gemini import (
    GEMINI,
    asks_events,
    check_same_model,
    decisive,
    one_spelling,
    place,
    read_model,
)
from gateway.dialects.gemini_references import references_in
from gateway.dialects.json_body import decode


class Inner(msgspec.Struct, gc=False):
    """A whole request of `generateContent`, which names its model."""

    model: str | None = None


class Request(msgspec.Struct, gc=False):
    """The fields of a request that the gateway acts on."""

    camel_inner: Inner | None = msgspec.field(default=None, name="generateContentRequest")
    snake_inner: Inner | None = msgspec.field(default=None, name="generate_content_request")


DECISIVE = decisive("generateContentRequest")
INSIDE = decisive("model")
_requests = msgspec.json.Decoder(Request)


class CountTokens:
    """The counting operation of Gemini's dialect."""

    operation = "generate_content.count_tokens"
    dialect = GEMINI
    method = "POST"
    signs = ()

    def __init__(self, version: str) -> None:
        self._version = version

    def path(self, call: Call) -> str:
        """Return the path below the upstream's base URL."""
        return place(self._version, call, "countTokens")

    def parse(self, body: bytes, head: Head, /) -> Call:
        """Read a request. Raises InvalidRequest, NotFound."""
        model = read_model(head)
        asks_events(head, streams=False)
        asked = decode(body, _requests, DECISIVE, INSIDE)
        inner = one_spelling(asked.camel_inner, asked.snake_inner, "generateContentRequest")
        check_same_model(inner.model if inner is not None else None, model)
        return Call(
            operation=self.operation,
            model=model,
            body=body,
            output_cap=0,
            is_free=True,
            references=references_in(body),
        )

    def rewrite(self, call: Call, *, model: str, output_cap: int | None, cap_field: str, ask_usage: bool) -> bytes:
        """Return the client's own bytes unless an alias stands in the body too."""
        del output_cap, cap_field, ask_usage
        if model == call.model:
            return call.body
        fields = msgspec.json.decode(call.body, type=dict[str, object])
        for name in ("generateContentRequest", "generate_content_request"):
            inner = fields.get(name)
            if isinstance(inner, dict) and "model" in inner:
                inner["model"] = f"models/{model}"
        return msgspec.json.encode(fields)

    def read_answer(self, body: bytes) -> Reading:
        """Read nothing: what it counts was not used."""
        del body
        return NOTHING

    def read_event(self, data: bytes) -> Reading:
        """Read nothing, as above."""
        del data
        return NOTHING
