"""What becomes of each field of a request that is asked of a provider of another dialect.

Every pair has a table of these. The translation obeys it and docs/compatibility.md prints it, so they cannot differ.
"""

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from gateway.core.errors import InvalidRequest

_PRINTABLE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
MOST_DROPPED = 32
"""More names than that are not listed: they are the caller's own words and go into a header."""


class Fate(msgspec.Struct, frozen=True):
    """What becomes of one field. `how` says it to a reader, and to the caller whose field is refused.

    `word` is "carried", "dropped" (and told in a header) or "refused" (a 400). A dropped or refused field with one of
    the values in `idle` asks for nothing, so it is passed over.
    """

    word: Literal["carried", "dropped", "refused"]
    how: str = ""
    idle: tuple[object, ...] = ()


Fates = Mapping[str, Fate]


def carried(how: str) -> Fate:
    """Return the fate of a field that the provider has a word for."""
    return Fate("carried", how)


def dropped(how: str = "", *idle: object) -> Fate:
    """Return the fate of a field whose loss changes nothing essential."""
    return Fate("dropped", how, idle)


def refused(how: str, *idle: object) -> Fate:
    """Return the fate of a field without which the answer would not be what was asked for."""
    return Fate("refused", how, idle)


def sort_out(fields: Mapping[str, msgspec.Raw], fates: Fates) -> list[str]:
    """Return the names of the fields that are dropped. Raises InvalidRequest for the first that is refused."""
    lost: list[str] = []
    for name, raw in fields.items():
        fate = fates.get(name, _UNKNOWN)
        if fate.word == "carried" or bytes(raw) == b"null":
            continue
        if fate.idle and msgspec.json.decode(raw) in fate.idle:
            continue
        if fate.word == "refused":
            raise refusal(name, fate)
        lost.append(name)
    return lost


def refusal(name: str, fate: Fate, param: str | None = None) -> InvalidRequest:
    """Return the error for a field that this provider cannot be asked for."""
    return InvalidRequest(
        f"`{param or name}` can't be carried over to this model's provider: {fate.how}.", param=param or name
    )


def listable(names: list[str]) -> tuple[str, ...]:
    """Return the names that may stand in a header, each once."""
    plain = dict.fromkeys(name for name in names if _PRINTABLE.fullmatch(name))
    return tuple(plain)[:MOST_DROPPED]


_UNKNOWN = dropped()
