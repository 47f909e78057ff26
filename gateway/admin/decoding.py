"""What came in, turned into typed values: unknown names, wrong types and values out of range are refused by name."""

import re
from typing import Any, TypeVar, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec

from gateway.admin.fields import WORDS
from gateway.core.errors import InvalidRequest

T = TypeVar("T", bound=msgspec.Struct)

_PATH = re.compile(r" - at `\$\.?(.*)`$")
_FIELD = re.compile(r"(?:unknown|required) field `([^`]*)`")


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body or query in which nothing is expected."""


def decode_body(body: bytes, shape: type[T]) -> T:
    """Read a JSON object; an empty body is an empty object. Raises InvalidRequest with `param`."""
    try:
        return msgspec.json.decode(body or b"{}", type=shape)
    except msgspec.ValidationError as error:
        raise _refusal(str(error), "field") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.", code="invalid_json") from None


def decode_query(query: bytes, shape: type[T]) -> T:
    """Read a query string. Arrays may be written `name[]=` or `name=`. Raises InvalidRequest with `param`."""
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=200)
    except (UnicodeDecodeError, ValueError):
        raise InvalidRequest("The query string is not valid.", code="invalid_query") from None
    arrays = {field.encode_name for field in msgspec.structs.fields(shape) if _is_array(field.type)}
    values: dict[str, str | list[str]] = {}
    for name, value in pairs:
        name = name.removesuffix("[]")
        if name in arrays:
            values.setdefault(name, []).append(value)  # type: ignore[union-attr]  # arrays hold lists only
        elif name in values:
            raise InvalidRequest(f"`{name}` is there twice.", param=name, code="invalid_value")
        else:
            values[name] = value
    try:
        return msgspec.convert(values, shape, strict=False)
    except msgspec.ValidationError as error:
        raise _refusal(str(error), "query parameter") from None


def _is_array(annotation: Any) -> bool:
    return any(get_origin(option) in (list, tuple) for option in (annotation, *get_args(annotation)))


def _refusal(message: str, kind: str) -> InvalidRequest:
    """Word msgspec's message for whoever sent the value."""
    place = _PATH.search(message)
    field = _FIELD.search(message)
    text = message[: place.start()] if place else message
    inside = place[1] if place else ""
    if field is not None:
        param = ".".join(part for part in (inside, field[1]) if part)
        if "unknown" in field[0]:
            return InvalidRequest(f"Unknown {kind}: `{param}`.", param=param, code="unknown_parameter")
        return InvalidRequest(f"Missing {kind}: `{param}`.", param=param, code="missing_parameter")
    for pattern, words in WORDS.items():
        if repr(pattern) in text:
            text = f"Expected {words}"
    where = f"`{inside}`: " if inside else ""
    return InvalidRequest(f"{where}{text}.", param=inside or None, code="invalid_value")
