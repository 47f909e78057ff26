"""Fields inside of a request's objects that no translation has a word for: none of them is lost unnamed.

The shapes of a request forbid unknown fields inside, so a body without any is read at once. Of another they are taken
out and named, as `field.inner` by the field at the top that they stand below, and the fates say what becomes of them.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import TypeVar

import msgspec
from msgspec import inspect

from gateway.dialects.json_body import validation_error
from gateway.dialects.lenient import alternatives, fields_in, kind_of, shapes_of, struct_of, values_in

Fields = Mapping[str, msgspec.Raw]
T = TypeVar("T")


def _nothing(_kind: str) -> bool:
    return False


def read_named(
    body: bytes, decoder: "msgspec.json.Decoder[T]", is_lost: Callable[[str], bool] = _nothing
) -> tuple[T, Fields]:
    """Return the request, and by their names the fields at its top and the unknown ones inside of them.

    Of an object inside whose `type` `is_lost`, only that is read, and nothing in it is named. Raises InvalidRequest.
    """
    fields = fields_in(body)
    try:
        return decoder.decode(body), fields
    except msgspec.ValidationError:
        pass
    known, unread = _known(fields, decoder.type, is_lost)
    try:
        return decoder.decode(known), fields | unread
    except msgspec.ValidationError as error:
        raise validation_error(str(error)) from None


def _known(fields: Fields, kind: type, is_lost: Callable[[str], bool]) -> tuple[bytes, dict[str, msgspec.Raw]]:
    """Return the body without what is unknown inside of its fields, and that."""
    unread: dict[str, msgspec.Raw] = {}
    shapes = shapes_of(kind)
    read = {
        name: _Reader(name, unread, is_lost).read(value, shapes[name])
        for name, value in fields.items()
        if name in shapes
    }
    return msgspec.json.encode(read), unread


class _Reader:
    """Walks what stands below one field at the top, along the shape that it should have."""

    def __init__(self, top: str, unread: dict[str, msgspec.Raw], is_lost: Callable[[str], bool]) -> None:
        self._top = top
        self._unread = unread
        self._is_lost = is_lost

    def read(self, value: msgspec.Raw, shape: inspect.Type) -> msgspec.Raw:
        """Return a value without unknown fields; one of another shape as it is."""
        shapes = alternatives(shape)
        match bytes(value)[:1]:
            case b"{":
                if (struct := struct_of(value, shapes)) is not None:
                    return self._object(value, struct)
            case b"[":
                inner = next((one.item_type for one in shapes if isinstance(one, inspect.ListType)), None)
                if inner is not None:
                    return _raw([self.read(one, inner) for one in values_in(value)])
        return value

    def _object(self, value: msgspec.Raw, struct: inspect.StructType) -> msgspec.Raw:
        if _is_known(value, struct.cls):
            return value  # as nearly all of a long conversation is
        kind = kind_of(value)
        if isinstance(kind, str) and self._is_lost(kind):
            return _raw({"type": kind})
        known = shapes_of(struct.cls)
        read: dict[str, msgspec.Raw] = {}
        for name, inside in fields_in(value).items():
            if name in known:
                read[name] = self.read(inside, known[name])
            elif name == struct.tag_field:
                read[name] = inside
            elif bytes(inside) != b"null":
                self._unread[f"{self._top}.{name}"] = inside
        return _raw(read)


def _is_known(value: msgspec.Raw, kind: type) -> bool:
    try:
        _decoder(kind).decode(value)
    except msgspec.ValidationError:
        return False
    return True


@cache
def _decoder(kind: type) -> "msgspec.json.Decoder[object]":
    return msgspec.json.Decoder(kind)


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
