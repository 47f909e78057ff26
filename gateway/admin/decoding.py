"""What came in, turned into typed values: unknown names, wrong types and values out of range are refused by name."""

import re
from typing import Any, TypeVar, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec
from msgspec import inspect

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
        raise _refusal(str(error), "field", shape) from None
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
        if (array := name.removesuffix("[]")) in arrays:
            values.setdefault(array, []).append(value)  # type: ignore[union-attr]  # arrays hold lists only
        elif name in values:
            raise InvalidRequest(f"`{name}` is there twice.", param=name, code="invalid_value")
        else:
            values[name] = value
    try:
        return msgspec.convert(values, shape, strict=False)
    except msgspec.ValidationError as error:
        raise _refusal(str(error), "query parameter", shape) from None


def _is_array(annotation: Any) -> bool:
    """Tell whether a type is an array, perhaps beside null or with bounds."""
    return get_origin(annotation) in (list, tuple) or any(map(_is_array, get_args(annotation)))


def _refusal(message: str, kind: str, shape: type[msgspec.Struct]) -> InvalidRequest:
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
    if text.startswith("Invalid enum value"):
        text = f"{text}; it may be {', '.join(_choices(shape, inside))}"
    where = f"`{inside}`: " if inside else ""
    return InvalidRequest(f"{where}{text}.", param=inside or None, code="invalid_value")


def _choices(shape: type[msgspec.Struct], place: str) -> list[str]:
    """Return the words that the field at `place`, such as `limits[0].metric`, may have."""
    kinds = [inspect.type_info(shape)]
    for step in place.split("."):
        name, *items = step.split("[")
        kinds = [
            kind
            for struct in kinds
            if isinstance(struct, inspect.StructType)
            for field in struct.fields
            if field.encode_name == name
            for kind in _options(field.type)
        ]
        for _ in items:
            kinds = [
                kind
                for array in kinds
                if isinstance(array, inspect.ListType | inspect.VarTupleType)
                for kind in _options(array.item_type)
            ]
    words: list[str] = []
    for kind in kinds:
        match kind:
            case inspect.EnumType():
                words += [str(member.value) for member in kind.cls]
            case inspect.LiteralType():
                words += [str(value) for value in kind.values]
            case _:
                pass
    return words


def _options(kind: inspect.Type) -> tuple[inspect.Type, ...]:
    return kind.types if isinstance(kind, inspect.UnionType) else (kind,)
