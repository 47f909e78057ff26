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
_SURROGATES = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair: one character
    rb"|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|\\.",  # any other escape, so that its second character begins none
    re.DOTALL,
)
_REPLACEMENT = b"\\ufffd"
T = TypeVar("T")


def decode(
    body: bytes, decoder: "msgspec.json.Decoder[T]", decisive: Sequence[bytes], inside: Sequence[bytes] = ()
) -> T:
    """Decode a body. `decisive` are the quoted names of the fields that must not stand twice at the top, `inside` those
    that must not in any object right below.

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
        raise validation_error(str(error)) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error}.") from None
    if body.find(b"\\u00") >= 0:  # not `in`: for bytes that first raises an error of its own
        _check_twice(body, decisive, inside)
    for name in decisive if not inside else (*decisive, *inside):
        if body.count(name) > 1:
            _check_twice(body, decisive, inside)
            break
    return decoded


def without_lone_surrogates(body: bytes) -> bytes:
    """Return the body with U+FFFD for each half of a surrogate pair that stands alone, in as many bytes.

    Such halves come from texts cut in the middle of an emoji. They are no character, and our decoder refuses them where
    others are lenient each in its own way; so the provider gets exactly what was read here, as with every body.
    """
    return _SURROGATES.sub(lambda found: found[0] if found["lone"] is None else _REPLACEMENT, body)


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


def is_deeper(body: bytes, levels: int) -> bool:
    """Tell whether JSON is nested deeper than that: take away pairs of brackets, innermost first, so often."""
    # Lists and objects count alike, else one turn would take a list and the object around it. Whether brackets match
    # is for the decoder to say.
    if body.count(b"[") + body.count(b"{") <= levels:
        return False
    brackets = _STRINGS.sub(b"", body).translate(_ALIKE, _NO_BRACKETS)
    for _ in range(levels):
        shorter = brackets.replace(b"[]", b"")
        if len(shorter) == len(brackets):
            break
        brackets = shorter
    return bool(brackets)


def _check_depth(body: bytes) -> None:
    if is_deeper(body, MAX_DEPTH):
        raise InvalidRequest(f"The request body is not valid JSON, or nested deeper than {MAX_DEPTH} levels.")


def _check_twice(body: bytes, decisive: Sequence[bytes], inside: Sequence[bytes]) -> None:
    class Pairs(list[tuple[str, object]]):
        """An object's fields, as they stand."""

    try:
        fields = JSONDecoder(object_pairs_hook=Pairs).decode(body.decode())
    except (JSONDecodeError, RecursionError, ValueError):
        raise InvalidRequest("The request body is not valid JSON.") from None
    if isinstance(fields, Pairs):
        _check_once(fields, decisive, "")
        for name, value in fields if inside else ():
            if isinstance(value, Pairs):
                _check_once(value, inside, f"{name}.")


def _check_once(fields: list[tuple[str, object]], names: Sequence[bytes], path: str) -> None:
    """Refuse one of these quoted names that stands twice among an object's fields."""
    wanted = {name[1:-1].decode() for name in names}
    seen = [name for name, _ in fields if name in wanted]
    twice = next((name for name in seen if seen.count(name) > 1), None)
    if twice is not None:
        raise InvalidRequest(f"`{path}{twice}` stands in the body twice; send it once.", param=path + twice)


def validation_error(text: str, below: str = "") -> InvalidRequest:
    """Return the error for what msgspec said of a body, or of the part of it that stands `below` this field."""
    match = _PATH.search(text)
    reason = text[: match.start()] if match else text
    missing = re.search(r"missing required field `(\w+)`", reason)
    parts = (below, match["path"] if match else "", missing[1] if missing else "")
    param = ".".join(part for part in parts if part) or None
    where = f"`{param}`: " if param else "The request body: "
    return InvalidRequest(f"{where}{reason[:1].lower()}{reason[1:]}.", param=param)
