"""Reading JSON that nobody has checked: what is not of the expected kind counts as absent."""

from collections.abc import Mapping, Sequence

import msgspec

_ABSENT: Mapping[str, object] = {}


def text(value: object) -> str:
    """The string, or "" for anything else."""
    return value if isinstance(value, str) else ""


def mapping(value: object) -> Mapping[str, object]:
    """The object, or an empty one for anything else."""
    return value if isinstance(value, Mapping) else _ABSENT


def items(value: object) -> Sequence[object]:
    """The array, or an empty one for anything else (a string is not an array)."""
    return value if isinstance(value, list | tuple) else ()


def mappings(value: object) -> list[Mapping[str, object]]:
    """The objects among an array's elements."""
    return [item for item in items(value) if isinstance(item, Mapping)]


def compact_json(value: object) -> str:
    """Any JSON value as text without spaces. Raises RecursionError or ValueError for what JSON cannot hold."""
    return msgspec.json.encode(value).decode()
