"""Things at Google that a body names anywhere inside: cached contents, uploaded files, file search stores.

All callers share one account there, so each of these must be the caller's own. Other URLs are public or the client's.
"""

import re
from collections.abc import Iterator

from gateway.dialects.references import Pairs, as_pairs, fields_of

_SIGNS = (b"achedContent", b"ached_content", b"ileUri", b"ile_uri", b"ileSearch", b"ile_search", b"\\u00")
_NAMING = frozenset({"cachedContent", "cached_content", "fileSearchStoreNames", "file_search_store_names"})
_PLACES = frozenset({"fileUri", "file_uri"})
# A file by its name, or by the URL that uploading it returns; and a bucket, which the account may have been let into.
_OF_THE_ACCOUNT = re.compile(
    r"(?:https?://[^/?#]*generativelanguage[^/?#]*/(?:[^?#]*/)?)?(files/[^/?#:]+)|(gs://.*)", re.DOTALL | re.IGNORECASE
)
_CLIENTS_OWN = frozenset(
    {
        "args", "response", "parameters", "parametersJsonSchema", "parameters_json_schema", "responseSchema",
        "response_schema", "responseJsonSchema", "response_json_schema", "labels", "partMetadata", "part_metadata",
    }
)  # fmt: skip


def references_in(body: bytes) -> tuple[str, ...]:
    """Return the names that stand in a JSON body, each once. Empty ones say nothing."""
    if not any(sign in body for sign in _SIGNS):
        return ()
    return tuple(dict.fromkeys(filter(None, _walk(as_pairs(body)))))


def _walk(value: object) -> Iterator[str]:
    if isinstance(value, list) and not isinstance(value, Pairs):
        for element in value:
            yield from _walk(element)
        return
    for name, inside in fields_of(value):
        if name in _NAMING:
            yield from (each for each in (inside if isinstance(inside, list) else [inside]) if isinstance(each, str))
        elif name in _PLACES and isinstance(inside, str):
            yield _of_the_account(inside)
        elif name not in _CLIENTS_OWN:
            yield from _walk(inside)


def _of_the_account(uri: str) -> str:
    """Return the name of a file that the account keeps, "" for a URI that anybody may read."""
    found = _OF_THE_ACCOUNT.match(uri.strip())
    return (found[1] or found[2]) if found is not None else ""
