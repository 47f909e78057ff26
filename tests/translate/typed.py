"""Whether JSON fits a type of Anthropic's SDK, to the last field: pydantic looks into its iterables too late."""

import functools
import types
import typing
from collections.abc import Iterable
from typing import Any, Literal, Union

from typing_extensions import is_typeddict

_hints = functools.cache(typing.get_type_hints)


def misfit(value: Any, wanted: Any, place: str = "$") -> str | None:
    """Where the value is not of the type, None if it fits. No field may be missing or unknown."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (Union, types.UnionType):
        misfits = [misfit(value, one, place) for one in arguments]
        # The deepest is of the type that was meant.
        return None if None in misfits else max((found for found in misfits if found), key=len)
    if is_typeddict(wanted):
        return _typed_dict(value, wanted, place)
    if origin is dict:
        return _all(value.items(), arguments[1], place) if isinstance(value, dict) else place
    if origin is not None and origin is not Literal:  # what is left are lists by other names
        return _all(enumerate(value), arguments[0], place) if isinstance(value, list) else place
    return None if _is_plain(value, wanted, arguments) else place


def _is_plain(value: Any, wanted: Any, choices: tuple[Any, ...]) -> bool:
    if choices:
        return value in choices
    if wanted is object or value is None:
        return wanted in (object, type(None))
    if isinstance(value, bool) or wanted is bool:
        return isinstance(value, bool) and wanted is bool
    return isinstance(value, (int, float) if wanted is float else wanted)


def _typed_dict(value: Any, wanted: Any, place: str) -> str | None:
    if not isinstance(value, dict):
        return place
    hints = _hints(wanted)
    odd = (wanted.__required_keys__ - value.keys()) | (value.keys() - hints.keys())
    if odd:
        return f"{place}.{min(odd)}"
    return next((found for name, one in value.items() if (found := misfit(one, hints[name], f"{place}.{name}"))), None)


def _all(values: Iterable[tuple[Any, Any]], wanted: Any, place: str) -> str | None:
    return next((found for name, one in values if (found := misfit(one, wanted, f"{place}.{name}"))), None)
