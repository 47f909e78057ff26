"""What OpenAI's image routes have in common: how many tokens a picture is, and how an answer tells what was used.

Two formulas are known: gpt-image-1's table of three sizes is 65/64 tokens for 16 by 16 pixels at high quality, and
gpt-image-2 has the one of OpenAI's cost calculator (community.openai.com/t/1382699). Later models only differ in how
fine each quality is. A hold takes the dearest of them, a picture that nobody reports is charged by the newer formula.
"""

import re
from collections.abc import Mapping
from json import JSONDecodeError, JSONDecoder

import msgspec
from msgspec.structs import replace

from gateway.core.call import NOTHING, Reading
from gateway.core.media import Media
from gateway.core.rates import Unit
from gateway.core.usage import Usage, added, with_media
from gateway.dialects.openai import UsageBlock, usage_from

PARTIAL_TOKENS = 100
"""Each partial picture of a stream costs so much more (OpenAI's image generation guide)."""
INPUT_PICTURE_TOKENS = 600
MOST_INPUT_PICTURE_TOKENS = 8_192
"""A picture that is edited: at low fidelity 65 and 129 for each tile of 512 pixels, at high fidelity up to 6,240
more."""
MOST_PARTIAL = 16
_FINENESS: Mapping[str | None, int] = {"low": 16, "medium": 48, "standard": 48, "high": 96, "xhigh": 128, "max": 192}
_MOST_FINENESS: Mapping[str | None, int] = {"low": 32, "xhigh": 128, "max": 192}
_HIGH_FINENESS = 96
_SIZE = re.compile(r"[1-9][0-9]{1,4}x[1-9][0-9]{1,4}")
_QUALITY = re.compile(r"[a-z0-9_-]{1,32}")
_USUAL_SIZE = "1024x1024"
_LARGEST_SIZE = "2880x2880"
"""8,294,400 pixels, the most of a picture and of all frames of an animation together; a square takes the most."""
_LARGEST_OF_FIRST_MODEL = 1024 * 1536
_WHOLE_BYTES = 256 * 1024
"""A longer answer is mostly pictures: its figures stand before or behind them."""
_END_BYTES = 64 * 1024
_BEHIND_PICTURES = re.compile(rb"\}\s*\]\s*,")


class Order(msgspec.Struct, frozen=True):
    """The pictures that a request asks for; None is what it leaves to the provider."""

    count: int
    size: str | None
    quality: str | None
    output_format: str | None
    partial_images: int


def media_of(order: Order, **tokens: int) -> Media:
    """Return what the pictures are measured in; `tokens` are those of a form's input."""
    size = order.size if order.size and _SIZE.fullmatch(order.size) else None
    quality = order.quality if order.quality and order.quality != "auto" else None
    return Media(
        unit=Unit.IMAGES,
        images=order.count,
        image_size=size,
        image_quality=quality if quality and _QUALITY.fullmatch(quality) else None,
        output_tokens=_tokens(order, _FINENESS.get(quality, _HIGH_FINENESS)),
        # Vector graphics are written by a second model at a price of its own.
        is_open=order.output_format is not None and order.output_format.lower() == "svg",
        **tokens,
    )


def most_tokens(order: Order) -> int:
    """Return what one of the pictures can be at most, as far as anybody knows."""
    return _tokens(order, _MOST_FINENESS.get(order.quality, _HIGH_FINENESS))


def _tokens(order: Order, fineness: int) -> int:
    size = order.size if order.size and _SIZE.fullmatch(order.size) else _USUAL_SIZE
    is_animated = order.output_format is not None and order.output_format.lower() == "gif"
    width, height = map(int, (_LARGEST_SIZE if is_animated else size).split("x"))
    long, short = max(width, height), min(width, height)
    rows = (2 * fineness * short + long) // (2 * long)
    tokens = -(-fineness * rows * (2_000_000 + width * height) // 4_000_000)
    if fineness >= _HIGH_FINENESS and width * height <= _LARGEST_OF_FIRST_MODEL:
        tokens = max(tokens, -(-width * height * 65 // (256 * 64)))
    return tokens + PARTIAL_TOKENS * order.partial_images


class Answer(msgspec.Struct, gc=False):
    """An answer or an event, but for the pictures in it."""

    type: str = ""
    data: list[msgspec.Raw] | None = None
    size: str | None = None
    quality: str | None = None
    usage: UsageBlock | None = None
    error: object = None


_answers = msgspec.json.Decoder(Answer)


def read_pictures(body: bytes) -> Reading:
    """Read a whole answer, or its beginning and its end where the pictures between them are gone."""
    answer = _decoded(body) if len(body) <= _WHOLE_BYTES else None
    if answer is None:
        answer = _from_end(body[-_END_BYTES:]) or _from_beginning(body[:_END_BYTES])
    return NOTHING if answer is None else Reading(usage=_usage(answer, len(answer.data or ())))


def read_picture_event(data: bytes) -> Reading:
    """Read one event of a stream: partial pictures say nothing, each finished one tells what it used."""
    if data.startswith(b"[DONE]"):
        return Reading(ends=True)
    answer = _decoded(data)
    if answer is None:
        return NOTHING
    if answer.type.endswith(".completed"):
        picture = _usage(answer, 1)
        return Reading(corrects=lambda before: picture if before is None else added((before, picture)), completes=True)
    return Reading(error=bool(answer.error) or answer.type == "error")


def _decoded(body: bytes) -> Answer | None:
    try:
        return _answers.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return None


def _from_end(end: bytes) -> Answer | None:
    """Read what stands behind the pictures."""
    behind = [match.end() for match in _BEHIND_PICTURES.finditer(end)]
    starts = [*behind[-1:], end.rfind(b'"usage"')]
    answers = (_decoded(b"{" + end[start:]) for start in starts if start >= 0)
    return next((answer for answer in answers if answer is not None and answer.usage is not None), None)


def _from_beginning(beginning: bytes) -> Answer | None:
    """Read the usage that stands before the pictures."""
    at = beginning.find(b'"usage"')
    if at < 0:
        return None
    text = beginning[at:].decode("latin-1")
    try:
        _, end = JSONDecoder().raw_decode(text, text.index("{"))
    except (JSONDecodeError, RecursionError, ValueError):
        return None
    return _decoded(b"{" + text[:end].encode("latin-1") + b"}")


def _usage(answer: Answer, images: int) -> Usage:
    tokens = usage_from(answer.usage, None) or Usage()
    details = answer.usage.output_tokens_details if answer.usage is not None else None
    pictures = details.image_tokens if details is not None and details.image_tokens is not None else None
    if pictures is None:
        # Without details all that these models write is pictures.
        pictures = tokens.output_tokens
    tokens = replace(tokens, output_image_tokens=min(max(pictures, 0), tokens.output_tokens - tokens.reasoning_tokens))
    size = answer.size if answer.size and _SIZE.fullmatch(answer.size) else None
    quality = answer.quality if answer.quality and _QUALITY.fullmatch(answer.quality) else None
    return with_media(tokens, images=images, image_size=size, image_quality=quality)
