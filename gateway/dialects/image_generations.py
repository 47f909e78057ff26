"""`POST /v1/images/generations`: pictures from a text, in JSON, whole or streamed."""

from typing import Annotated

import msgspec

from gateway.core.call import Call, Head, Reading
from gateway.dialects.aliased import Aliased
from gateway.dialects.json_body import check_model, decode
from gateway.dialects.openai import OPENAI, Choices
from gateway.dialects.pictures import MOST_PARTIAL, Order, media_of, most_tokens, read_picture_event, read_pictures
from gateway.dialects.references import references_in


class Request(msgspec.Struct, gc=False):
    """The fields of a request that the gateway acts on."""

    model: str
    prompt: str
    n: Choices | None = None
    size: str | None = None
    quality: str | None = None
    output_format: str | None = None
    stream: bool | None = None
    partial_images: Annotated[int, msgspec.Meta(ge=0, le=MOST_PARTIAL)] | None = None


DECISIVE = (
    b'"model"', b'"prompt"', b'"n"', b'"size"', b'"quality"', b'"output_format"', b'"stream"', b'"partial_images"',
)  # fmt: skip
NAMING_FIELDS = ("image", "images", "mask")
SIGNS = (b".completed", b'"error"', b"[DONE]")
_requests = msgspec.json.Decoder(Request)


class ImageGenerations(Aliased):
    """The operation of OpenAI's dialect that makes pictures from a text."""

    operation = "images.generations"
    dialect = OPENAI
    method = "POST"
    signs = SIGNS

    def path(self, call: Call) -> str:
        """Return the path below the upstream's base URL."""
        del call
        return "/images/generations"

    def parse(self, body: bytes, _head: Head, /) -> Call:
        """Read a request. Raises InvalidRequest."""
        asked = decode(body, _requests, DECISIVE)
        count = asked.n or 1
        order = Order(count, asked.size, asked.quality, asked.output_format, asked.partial_images or 0)
        return Call(
            operation=self.operation,
            model=check_model(asked.model),
            body=body,
            streams=asked.stream is True,
            wants_usage=True,
            output_cap=most_tokens(order),
            choices=count,
            references=references_in(body, NAMING_FIELDS),
            media=media_of(order),
        )

    def read_answer(self, body: bytes) -> Reading:
        """Read usage and the number of pictures, not the pictures."""
        return read_pictures(body)

    def read_event(self, data: bytes) -> Reading:
        """Read one event."""
        return read_picture_event(data)
