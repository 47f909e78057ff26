"""Ids of things at the provider that a body names anywhere inside: files, vector stores, containers, stored items.

All callers share one account there, so each of these must be the caller's own. What a tool declares, and metadata, is
the client's own matter and not looked into.
"""

from collections.abc import Iterator, Sequence

import msgspec

SIGNS = (b"file_id", b"vector_store_id", b"container", b"item_reference", b'"id"', b"\\u00")
_NAMING = frozenset({"file_id", "file_ids", "vector_store_id", "vector_store_ids", "container", "container_id"})
_CLIENTS_OWN = frozenset({"parameters", "metadata"})


def references_in(body: bytes, fields: Sequence[str]) -> tuple[str, ...]:
    """Return the ids that stand below these top-level fields of a JSON body, each once."""
    if not any(sign in body for sign in SIGNS):
        return ()
    asked = msgspec.json.decode(body, type=dict[str, object])
    found = (reference for field in fields for reference in _walk(asked.get(field)))
    return tuple(dict.fromkeys(found))


def _walk(value: object) -> Iterator[str]:
    if isinstance(value, list):
        for element in value:
            yield from _walk(element)
    elif isinstance(value, dict):
        if _is_item_reference(value):
            yield str(value["id"])
        for name, inside in value.items():
            if name in _NAMING:
                yield from _names(inside)
            if name not in _CLIENTS_OWN:
                yield from _walk(inside)


def _is_item_reference(item: dict[str, object]) -> bool:
    """Tell whether it stands for an item of an earlier response: nothing but an id, the type may be left out."""
    return isinstance(item.get("id"), str) and (item.get("type") == "item_reference" or item.keys() <= {"id", "type"})


def _names(value: object) -> Iterator[str]:
    for name in value if isinstance(value, list) else (value,):
        if isinstance(name, str):
            yield name
