"""Ids of things at the provider that a body names anywhere inside: files, vector stores, containers, stored items.

All callers share one account there, so each of these must be the caller's own. What a tool declares, metadata and
attributes are the client's own matter and not looked into.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from json import JSONDecoder

import msgspec

NAMING = frozenset(
    {
        "file_id", "file_ids", "input_file_id", "vector_store_id", "vector_store_ids", "container", "container_id",
        "part_ids", "skill_id",
    }
)  # fmt: skip
SIGNS = (b"file_id", b"vector_store_id", b"container", b"part_ids", b"item_reference", b"skill_id", b'"id"', b"\\u00")
_SURE_SIGNS = (b"file_id", b"vector_store_id", b"container", b"part_ids", b"item_reference", b"skill_id")
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")
_CLIENTS_OWN = frozenset({"parameters", "metadata", "attributes"})
_ITEM_SIGNS = (b"_call", b'"reasoning"', b"mcp_", b"\\u00")
_WHOLE_ITEMS = frozenset({"message", "function_call", "custom_tool_call"})
"""Items that are all there, whatever their ids. Of others the provider may know by the id what is not."""


class Pairs(list[tuple[str, object]]):
    """An object's fields as they stand, the same one perhaps twice."""


_pairs = JSONDecoder(object_pairs_hook=Pairs)


def references_in(body: bytes, fields: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the ids that stand below these top-level fields of a JSON body, or anywhere in it, each once."""
    if not any(sign in body for sign in SIGNS):
        return ()
    names_some = any(sign in body for sign in _SURE_SIGNS) or _ESCAPED_LETTER.search(body) is not None
    asked = as_pairs(body) if names_some else msgspec.json.decode(body)
    if fields is None:
        found: Iterable[str] = _walk(asked)
    else:
        found = (reference for name, value in fields_of(asked) if name in fields for reference in _walk(value))
    return tuple(dict.fromkeys(found))


def mentions_in(body: bytes, field: str) -> tuple[str, ...]:
    """Return the ids of items that the provider may go by: thoughts, and what its own tools found.

    They may come from elsewhere or be made up, as those of servers that store nothing are.
    """
    if not any(sign in body for sign in _ITEM_SIGNS):
        return ()
    items = msgspec.json.decode(body, type=dict[str, object]).get(field)
    ids = [_mention(item) for item in items if isinstance(item, dict)] if isinstance(items, list) else ()
    return tuple(dict.fromkeys(name for name in ids if isinstance(name, str)))


def _mention(item: dict[str, object]) -> object:
    kind = item.get("type") or "message"
    is_whole = isinstance(kind, str) and kind in _WHOLE_ITEMS
    return None if is_whole or item.get("encrypted_content") else item.get("id")


def as_pairs(body: bytes) -> object:
    """Decode so that a field which stands in one object twice is seen twice: the provider may read the other one."""
    return _pairs.decode(body.decode())


def fields_of(value: object) -> Iterable[tuple[str, object]]:
    """Return the fields of an object, nothing of any other value."""
    return value if isinstance(value, Pairs) else value.items() if isinstance(value, dict) else ()


def _walk(value: object) -> Iterator[str]:
    if isinstance(value, list) and not isinstance(value, Pairs):
        for element in value:
            yield from _walk(element)
        return
    fields = fields_of(value)
    yield from _item_references(fields)
    for name, inside in fields:
        if name in NAMING:
            yield from _names(inside)
        if name not in _CLIENTS_OWN:
            yield from _walk(inside)


def _item_references(fields: Iterable[tuple[str, object]]) -> Iterator[str]:
    """Return what stands for an item of an earlier response: nothing but an id, the type may be left out."""
    if not any(name == "id" for name, _ in fields):
        return
    is_reference = any(name == "type" and value == "item_reference" for name, value in fields)
    if is_reference or all(name in ("id", "type") for name, _ in fields):
        yield from (value for name, value in fields if name == "id" and isinstance(value, str))


def _names(value: object) -> Iterator[str]:
    for name in value if isinstance(value, list) else (value,):
        if isinstance(name, str):
            yield name
