"""JSON request bodies: refused when two readers could read them differently, changed without touching the rest.

The provider must read what we accounted for. So a body is UTF-8, not nested beyond 128 levels, without NaN, and none of
the fields that decide about money stands in it twice.
"""

import re
from collections.abc import Mapping, Sequence
from json import JSONDecodeError, JSONDecoder
from typing import TypeVar

import msgspec

from gateway.core.errors import InvalidRequest

MAX_DEPTH = 128
MAX_MODEL_LENGTH = 256
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ALIKE = bytes.maketrans(b"{}", b"[]")
_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_MODEL = re.compile(r"[!-~]+")
T = TypeVar("T")


def decode(body: bytes, decoder: "msgspec.json.Decoder[T]", decisive: Sequence[bytes]) -> T:
    """Decode a body. `decisive` are the quoted names of the fields that must not stand twice at the top.

    Raises InvalidRequest that says what is wrong and, in `param`, where.
    """
    if not body.strip():
        raise InvalidRequest("The request body is empty; send a JSON object.")
    if not body.isascii():
        _check_utf8(body)
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        _check_depth(body)
    try:
        decoded = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _validation_error(str(error)) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error}.") from None
    if b"\\u00" in body:
        _check_twice(body, decisive)
    for name in decisive:
        if body.count(name) > 1:
            _check_twice(body, decisive)
            break
    return decoded


def check_model(model: str) -> str:
    """Return the model's name. Raises InvalidRequest for one that no provider could have."""
    if len(model) > MAX_MODEL_LENGTH or _MODEL.fullmatch(model) is None:
        raise InvalidRequest(
            f"`model` must be 1 to {MAX_MODEL_LENGTH} printable ASCII characters without spaces.", param="model"
        )
    return model


def change(body: bytes, changes: Mapping[str, object]) -> bytes:
    """Replace or add top-level fields; every other value keeps its bytes."""
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    fields.update({name: msgspec.Raw(msgspec.json.encode(value)) for name, value in changes.items()})
    return msgspec.json.encode(fields)


def _check_utf8(body: bytes) -> None:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The request body is not UTF-8: byte {error.start} does not belong there.") from None


def _check_depth(body: bytes) -> None:
    """Take away pairs of brackets, innermost first, as often as levels are allowed."""
    # Lists and objects count alike, else one turn would take a list and the object around it. Whether brackets match
    # is for the decoder to say.
    brackets = _STRINGS.sub(b"", body).translate(_ALIKE, _NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        shorter = brackets.replace(b"[]", b"")
        if len(shorter) == len(brackets):
            break
        brackets = shorter
    if brackets:
        raise InvalidRequest(f"The request body is not valid JSON, or nested deeper than {MAX_DEPTH} levels.")


def _check_twice(body: bytes, decisive: Sequence[bytes]) -> None:
    names = {name[1:-1].decode() for name in decisive}

    class Pairs(list[tuple[str, object]]):
        """An object's fields, as they stand."""

    try:
        fields = JSONDecoder(object_pairs_hook=Pairs).decode(body.decode())
    except (JSONDecodeError, RecursionError, ValueError):
        raise InvalidRequest("The request body is not valid JSON.") from None
    seen = [name for name, _ in fields if name in names] if isinstance(fields, Pairs) else []
    twice = next((name for name in seen if seen.count(name) > 1), None)
    if twice is not None:
        raise InvalidRequest(f"`{twice}` stands in the body twice; send it once.", param=twice)


def _validation_error(text: str) -> InvalidRequest:
    match = _PATH.search(text)
    param = (match["path"] if match else "") or None
    reason = text[: match.start()] if match else text
    if param is None and (missing := re.search(r"missing required field `(\w+)`", reason)):
        param = missing[1]
    where = f"`{param}`: " if param else "The request body: "
    return InvalidRequest(f"{where}{reason[:1].lower()}{reason[1:]}.", param=param)
