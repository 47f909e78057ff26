"""Answers in which a value has not the shape that it should: all others are read, and the odd one is named.

A provider's figures must not be lost because one of them, or something beside them, has changed its type. A count that
stands there as a text of digits or with a fraction is still that count; what is no count at all is left out.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from math import ceil, isfinite
from typing import TypeVar

import msgspec
from msgspec import inspect

T = TypeVar("T", bound=msgspec.Struct)
Unread = frozenset[str]
"""The names of the fields whose values could not be read, wherever they stood."""
ALL_READ: Unread = frozenset()
MOST_DIGITS = 19
"""No count has more, and a longer text takes long to read."""


class Typed(msgspec.Struct, gc=False):
    """Of an object, of which kind it is."""

    type: object = None


_kinds = msgspec.json.Decoder(Typed)
fields_in = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
values_in = msgspec.json.Decoder(list[msgspec.Raw]).decode
_SCALARS: Mapping[type[inspect.Type], type] = {
    inspect.StrType: str, inspect.BoolType: bool, inspect.FloatType: float, inspect.NoneType: type(None),
}  # fmt: skip


def read_lenient(data: bytes, decoder: "msgspec.json.Decoder[T]") -> tuple[T | None, Unread]:
    """Return an answer and what could not be read in it; None for what is no such thing at all."""
    try:
        return decoder.decode(data), ALL_READ
    except msgspec.ValidationError:
        pass
    except (msgspec.MsgspecError, RecursionError):
        return None, ALL_READ
    reader = _Reader()
    try:
        return decoder.decode(reader.object(msgspec.Raw(data), shapes_of(decoder.type))), frozenset(reader.unread)
    except (msgspec.MsgspecError, RecursionError):
        return None, ALL_READ


def text_of_answer(body: bytes, unread: Unread, figures: frozenset[str]) -> str:
    """Return what counts as the text of an answer in which more than `figures` could not be read: all of it.

    "" where nothing else is amiss, so that its text is where it should be.
    """
    return "" if unread <= figures else body.decode(errors="replace")


@cache
def shapes_of(kind: type) -> Mapping[str, inspect.Type]:
    """Return the fields of a struct, by the names that they have in JSON."""
    return {field.encode_name: inspect.type_info(field.type) for field in msgspec.structs.fields(kind)}


def names_in(kind: type) -> frozenset[str]:
    """Return the names of a struct's fields, and of those of all structs inside."""
    names: set[str] = set()
    waiting: list[inspect.Type] = list(shapes_of(kind).values())
    names.update(shapes_of(kind))
    while waiting:
        shape = waiting.pop()
        if isinstance(shape, inspect.StructType):
            inner = shapes_of(shape.cls)
            waiting += [inner[name] for name in inner.keys() - names]
            names.update(inner)
        elif isinstance(shape, inspect.ListType):
            waiting.append(shape.item_type)
        elif isinstance(shape, inspect.UnionType):
            waiting += shape.types
    return frozenset(names)


def struct_of(value: msgspec.Raw, shapes: Sequence[inspect.Type]) -> inspect.StructType | None:
    """Return the shape of an object among those that it may have: of several the one whose tag it has."""
    structs = [shape for shape in shapes if isinstance(shape, inspect.StructType)]
    kind = kind_of(value) if len(structs) > 1 else None
    return next((struct for struct in structs if len(structs) == 1 or struct.tag == kind), None)


def kind_of(value: msgspec.Raw) -> object:
    """Return the `type` that an object has, None for none."""
    return _kinds.decode(value).type


def alternatives(shape: inspect.Type) -> Sequence[inspect.Type]:
    """Return the shapes that a value may have."""
    return shape.types if isinstance(shape, inspect.UnionType) else (shape,)


class _Reader:
    """Walks an answer along the shape that it should have. `unread` are the fields of which something is left out."""

    def __init__(self) -> None:
        self.unread: set[str] = set()

    def object(self, value: msgspec.Raw, shapes: Mapping[str, inspect.Type]) -> msgspec.Raw:
        """Return an object without what cannot be read of it."""
        read: dict[str, msgspec.Raw] = {}
        for name, inside in fields_in(value).items():
            if name not in shapes:
                read[name] = inside  # a tag, or nothing that anybody reads
            elif (fitting := self._fitting(name, inside, alternatives(shapes[name]))) is not None:
                read[name] = fitting
        return msgspec.Raw(msgspec.json.encode(read))

    def _fitting(self, name: str, value: msgspec.Raw, shapes: Sequence[inspect.Type]) -> msgspec.Raw | None:
        """Return a field's value as one of these shapes; None, and its name is noted, where it has none of them."""
        fitting = self._as_one_of(name, bytes(value), shapes)
        if fitting is None:
            self.unread.add(name)
        return fitting

    def _as_one_of(self, name: str, raw: bytes, shapes: Sequence[inspect.Type]) -> msgspec.Raw | None:
        value = msgspec.Raw(raw)
        if any(isinstance(one, inspect.RawType | inspect.AnyType) for one in shapes):
            return value
        match raw[:1]:
            case b"{":
                if (struct := struct_of(value, shapes)) is not None:
                    return self.object(value, shapes_of(struct.cls))
                return value if any(isinstance(one, inspect.DictType) for one in shapes) else None
            case b"[":
                item = next((one.item_type for one in shapes if isinstance(one, inspect.ListType)), None)
                return None if item is None else self._list(name, value, item)
        if any(isinstance(one, inspect.IntType) for one in shapes) and (count := _count(raw)) is not None:
            return msgspec.Raw(b"%d" % count)
        return value if _is_scalar(raw, shapes) else None

    def _list(self, name: str, value: msgspec.Raw, item: inspect.Type) -> msgspec.Raw | None:
        """Return the elements that can be read; None where none can, which is not the same as an empty list."""
        given = values_in(value)
        read = [one for each in given if (one := self._fitting(name, each, alternatives(item))) is not None]
        return msgspec.Raw(msgspec.json.encode(read)) if read or not given else None


def _is_scalar(raw: bytes, shapes: Sequence[inspect.Type]) -> bool:
    """Tell whether a value is a text, a number, a truth or null, as one of the shapes has it."""
    value = msgspec.json.decode(raw)
    kinds = tuple(_SCALARS[type(shape)] for shape in shapes if type(shape) in _SCALARS)
    return type(value) in kinds or (float in kinds and type(value) is int)


def _count(raw: bytes) -> int | None:
    """Return a count, however it is written; None for what is none."""
    value = msgspec.json.decode(raw)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < MOST_DIGITS:
        return int(value)
    return ceil(value) if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) else None
