"""Functions as OpenAI's models are shown them: a TypeScript namespace, made from the JSON schemas.

The layouts were inferred by several open-source ports from billed requests: comments for descriptions, `?` for what is
not required. Snapshots of 2024 and later write an object on one line when nothing in it is described; before, and for
the legacy `functions`, nested objects were indented and their descriptions left out.
"""

from collections.abc import Iterable, Mapping
from enum import Enum

from gateway.tokens.conversation import Function
from gateway.tokens.loose import compact_json, items, mapping, text

_PLAIN_TYPES = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean", "null": "null"}


class Layout(Enum):
    """How declarations are set, by the age of the model."""

    MODERN = "modern"
    LEGACY = "legacy"


def declare(functions: Iterable[Function], layout: Layout) -> str:
    """The whole namespace of functions."""
    declared = "\n".join(_declare_function(function, layout) for function in functions)
    return f"namespace functions {{\n\n{declared}\n}} // namespace functions"


def _declare_function(function: Function, layout: Layout) -> str:
    comment = "".join(f"{line}\n" for line in _comment(function.description))
    if not mapping(function.parameters.get("properties")):
        return f"{comment}type {function.name} = () => any;\n"
    return f"{comment}type {function.name} = (_: {_object(function.parameters, layout, 0)}) => any;\n"


def _object(schema: Mapping[str, object], layout: Layout, depth: int) -> str:
    """An object type: on one line when nothing inside it is described, else a line for each property."""
    if layout is Layout.MODERN and not _is_described(schema):
        return f"{{ {', '.join(_fields(schema, layout, depth))} }}"
    indent = "  " * depth if layout is Layout.LEGACY else ""
    lines = []
    definitions = mapping(schema.get("properties")).values()
    for field, definition in zip(_fields(schema, layout, depth), definitions, strict=True):
        if layout is Layout.MODERN or depth == 0:
            lines += _comment(text(mapping(definition).get("description")))
        lines.append(f"{field},")
    return "{\n" + "\n".join(f"{indent}{line}" for line in lines) + "\n}"


def _is_described(schema: Mapping[str, object]) -> bool:
    """Whether a property of this object, or of one inside it, has a description."""
    properties = [mapping(definition) for definition in mapping(schema.get("properties")).values()]
    inner = [mapping(definition.get("items")) for definition in properties]
    return any(text(p.get("description")) for p in properties) or any(map(_is_described, [*properties, *inner]))


def _fields(schema: Mapping[str, object], layout: Layout, depth: int) -> list[str]:
    """`name?: type` of each property of an object."""
    required = items(schema.get("required"))
    return [
        f"{name}{'' if name in required else '?'}: {_type(mapping(definition), layout, depth)}"
        for name, definition in mapping(schema.get("properties")).items()
    ]


def _comment(description: str) -> list[str]:
    return [f"// {line}".rstrip() for line in description.split("\n")] if description else []


def _type(schema: Mapping[str, object], layout: Layout, depth: int) -> str:
    """A JSON schema as a type. Kinds that we do not know are `any`."""
    if choices := items(schema.get("anyOf")):
        return " | ".join(_type(mapping(choice), layout, depth) for choice in choices)
    if values := items(schema.get("enum")):
        return " | ".join(compact_json(value) for value in values)
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(_type({**schema, "type": one}, layout, depth) for one in kind)
    if kind == "array":
        return _array(schema, layout, depth)
    if kind == "object":
        return _object(schema, layout, depth + 1) if schema.get("properties") else "object"
    return _PLAIN_TYPES.get(text(kind), "any")


def _array(schema: Mapping[str, object], layout: Layout, depth: int) -> str:
    element = mapping(schema.get("items"))
    if element.get("type") == "object" and layout is Layout.MODERN:
        return f"Array<\n{_type(element, layout, depth)}\n>"
    return f"{_type(element, layout, depth)}[]" if element else "any[]"
