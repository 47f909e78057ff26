"""Functions as OpenAI's models are shown them: a TypeScript namespace, made from the JSON schemas.

The layout was inferred by several open-source ports from billed requests: comments for descriptions, `?` for what is
not required, one line for functions without any description (snapshots of 2024 and later).
"""

from collections.abc import Iterable, Mapping

from gateway.tokens.conversation import Function
from gateway.tokens.loose import compact_json, items, mapping, text

_PLAIN_TYPES = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean", "null": "null"}


def declare(functions: Iterable[Function], *, one_line: bool) -> str:
    """The whole namespace. `one_line`: functions none of whose properties is described go on one line."""
    declared = "\n".join(_declare_function(function, one_line) for function in functions)
    return f"namespace functions {{\n\n{declared}\n}} // namespace functions"


def _declare_function(function: Function, one_line: bool) -> str:
    comment = "".join(f"// {line}\n" for line in function.description.split("\n")) if function.description else ""
    properties = mapping(function.parameters.get("properties"))
    if not properties:
        return f"{comment}type {function.name} = () => any;\n"
    if one_line and not _is_described(function.parameters):
        return f"{comment}type {function.name} = (_: {{ {', '.join(_fields(function.parameters))} }}) => any;\n"
    return f"{comment}type {function.name} = (_: {{\n{_block(function.parameters)}\n}}) => any;\n"


def _is_described(schema: Mapping[str, object]) -> bool:
    """Whether a property of this object, or of one inside it, has a description."""
    properties = [mapping(definition) for definition in mapping(schema.get("properties")).values()]
    inner = [mapping(definition.get("items")) for definition in properties]
    return any(text(p.get("description")) for p in properties) or any(map(_is_described, [*properties, *inner]))


def _fields(schema: Mapping[str, object]) -> list[str]:
    """`name?: type` of each property of an object."""
    required = items(schema.get("required"))
    properties = mapping(schema.get("properties"))
    return [f"{name}{'' if name in required else '?'}: {type_of(mapping(p))}" for name, p in properties.items()]


def _block(schema: Mapping[str, object]) -> str:
    """The properties of an object a line each, with their descriptions as comments above."""
    lines = []
    for field, definition in zip(_fields(schema), mapping(schema.get("properties")).values(), strict=True):
        if description := text(mapping(definition).get("description")):
            lines += [f"// {line}".rstrip() for line in description.split("\n")]
        lines.append(f"{field},")
    return "\n".join(lines)


def type_of(schema: Mapping[str, object]) -> str:
    """A JSON schema as a type. Kinds that we do not know are `any`."""
    if choices := items(schema.get("anyOf")):
        return " | ".join(type_of(mapping(choice)) for choice in choices)
    if values := items(schema.get("enum")):
        return " | ".join(compact_json(value) for value in values)
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(type_of({**schema, "type": one}) for one in kind)
    if kind == "array":
        return _array_type(schema)
    if kind == "object":
        return f"{{\n{_block(schema)}\n}}" if schema.get("properties") else "object"
    return _PLAIN_TYPES.get(text(kind), "any")


def _array_type(schema: Mapping[str, object]) -> str:
    element = mapping(schema.get("items"))
    if element.get("type") == "object":
        return f"Array<\n{type_of(element)}\n>"
    return f"{type_of(element)}[]" if element else "any[]"
