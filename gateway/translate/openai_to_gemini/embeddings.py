"""OpenAI's embeddings asked of Gemini: each text is a request of a batch, each vector an answer in the same place."""

import binascii
import struct
from typing import Literal

import msgspec

from gateway.core.call import Call, ErrorAnswer, Head, Stamp
from gateway.core.errors import InvalidRequest
from gateway.core.prices import ModelFacts
from gateway.core.usage import Usage
from gateway.dialects.embed_content import EmbedContent
from gateway.translate.fates import Fates, carried, dropped, listable, sort_out
from gateway.translate.gemini_content.body import Camel, Content, Part
from gateway.translate.openai_chat.answer import broken
from gateway.translate.openai_chat.messages import Object
from gateway.translate.openai_chat.request import checked
from gateway.translate.openai_to_gemini.answer import error_of

VERSION = "v1beta"
FATES: Fates = {
    "model": carried("the path"),
    "input": carried("`requests`, texts only"),
    "dimensions": carried("`outputDimensionality`"),
    "encoding_format": carried("the vectors come in it"),
    "user": dropped(),
}


class Request(msgspec.Struct, gc=False):
    """What is to be embedded, and how the vectors are to come."""

    input: str | list[str | int | list[int]]
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None


class One(Camel, frozen=True):
    """A text to embed."""

    model: str
    content: Content
    output_dimensionality: int | None = None


class Many(Camel, frozen=True):
    """A request to `batchEmbedContents`."""

    requests: list[One]


class Vector(msgspec.Struct, gc=False):
    """One vector."""

    values: list[float]


class Vectors(msgspec.Struct, gc=False):
    """An answer."""

    embeddings: list[Vector]


_requests = msgspec.json.Decoder(Request)
_fields = msgspec.json.Decoder(Object)
_vectors = msgspec.json.Decoder(Vectors)


class OpenAIEmbeddingsToGemini:
    """One request for embeddings asked of Gemini."""

    wire_format = EmbedContent(VERSION, "batchEmbedContents")

    def __init__(self, call: Call, model: str, facts: ModelFacts, stamp: Stamp) -> None:
        del facts, stamp
        asked = checked(_requests, call.body)
        self.dropped = listable(sort_out(_fields.decode(call.body), FATES))
        requests = [
            One(f"models/{model}", Content([Part(text=text)]), asked.dimensions) for text in _texts(asked.input)
        ]
        self.call = self.wire_format.parse(msgspec.json.encode(Many(requests)), Head({"model": model}))
        self._asked = call
        self._packs = asked.encoding_format == "base64"

    def answer(self, body: bytes, usage: Usage | None) -> bytes:
        """Return the vectors as OpenAI's clients expect them. Raises UpstreamFailed for what is no such answer."""
        try:
            vectors = _vectors.decode(body).embeddings
        except (msgspec.MsgspecError, RecursionError):
            raise broken("is not what Google's API promises") from None
        data = [
            {"object": "embedding", "index": index, "embedding": _packed(one.values) if self._packs else one.values}
            for index, one in enumerate(vectors)
        ]
        tokens = usage.input_tokens if usage is not None else 0
        told = {"prompt_tokens": tokens, "total_tokens": tokens}
        return msgspec.json.encode({"object": "list", "data": data, "model": self._asked.model, "usage": told})

    def error(self, status: int, body: bytes) -> ErrorAnswer:
        """Return an error in OpenAI's shape."""
        return error_of(status, body)

    def feed(self, events: bytes) -> bytes:
        """Embeddings have no events."""
        return events

    def finish(self, events: bytes, usage: Usage | None) -> bytes:
        """Embeddings have no events."""
        del usage
        return events


def _texts(given: str | list[str | int | list[int]]) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    plain = [text for text in texts if isinstance(text, str)]
    if len(plain) < len(texts) or not plain:
        raise InvalidRequest("`input` must be a text or texts: Gemini takes no tokens of OpenAI's.", param="input")
    return plain


def _packed(values: list[float]) -> str:
    """Return a vector as OpenAI packs it: little-endian floats of 32 bits in base64."""
    return binascii.b2a_base64(struct.pack(f"<{len(values)}f", *values), newline=False).decode()
