"""Rows as CSV (RFC 4180) that is safe in a spreadsheet.

Nothing in a cell is a formula: a text that could be one gets an apostrophe before it, as OWASP advises against CSV
injection.
"""

import re
from collections.abc import Iterable, Sequence

import msgspec

MEDIA_TYPE = "text/csv; charset=utf-8"
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""What makes a cell a formula when it stands first; the last four are wide forms that some locales take for them."""
_QUOTED = re.compile(r'[",\r\n]|^ | $')


def csv_lines(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as lines that each end with CRLF."""
    return "".join(",".join(map(_quoted, map(cell, row))) + "\r\n" for row in rows)


def accepts_csv(accept: bytes) -> bool:
    """Tell whether a client that names the types it accepts wants CSV. Who takes JSON too gets that."""
    return b"text/csv" in accept and b"application/json" not in accept


def cell(value: object) -> str:
    """Return what a cell shows: nothing for None, a number as it is, a text so that it stays text, all else as JSON."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str():
            return _guarded(value)
        case _:
            return _guarded(msgspec.json.encode(value).decode())


def _guarded(text: str) -> str:
    if text.lstrip(" ").startswith(_FORMULA) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def _quoted(text: str) -> str:
    if _QUOTED.search(text):
        return '"' + text.replace('"', '""') + '"'
    return text
