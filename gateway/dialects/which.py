"""Which dialect a request speaks: told by its path's prefix, and at the root by its path and headers."""

import re
from collections.abc import Iterable, Mapping

from gateway.core.call import Dialect
from gateway.dialects.anthropic import ANTHROPIC
from gateway.dialects.gemini import GEMINI
from gateway.dialects.openai import OPENAI

PREFIXES: Mapping[str, Dialect] = {
    "openai": OPENAI,
    "claude": ANTHROPIC,
    "anthropic": ANTHROPIC,
    "google": GEMINI,
    "gemini": GEMINI,
    "v1beta": GEMINI,
}
"""The first part of a path that belongs to one dialect alone."""
HEADERS: Mapping[bytes, Dialect] = {b"anthropic-version": ANTHROPIC, b"x-goog-api-key": GEMINI}
"""Headers that only one dialect's clients send."""

_VERB = re.compile(r"/v1/models/[^/:]+:[A-Za-z]+")
"""What Google's clients ask of a model. The names of fine-tuned models have more colons."""


def dialect_of(path: str, headers: Iterable[tuple[bytes, bytes]]) -> Dialect:
    """Return the dialect in which a request wants its answer."""
    prefixed = PREFIXES.get(path[1:].partition("/")[0])
    if prefixed is not None:
        return prefixed
    if path.startswith("/v1/messages"):
        return ANTHROPIC
    if _VERB.fullmatch(path) is not None:
        return GEMINI
    return next((HEADERS[name] for name, _ in headers if name in HEADERS), OPENAI)
