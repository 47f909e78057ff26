"""JSON objects that stand in strings, as the arguments and results of functions do."""

import msgspec

from gateway.dialects.json_body import MAX_DEPTH, is_deeper

MOST_LEVELS = MAX_DEPTH - 28
"""Around an object from a string stand some levels of a body."""


def object_in(text: str) -> msgspec.Raw | None:
    """Return a JSON object that stands in a string, None if it is none or too deep to stand in another body."""
    try:
        msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError):
        return None
    return None if is_deeper(text.encode(), MOST_LEVELS) else msgspec.Raw(text)
