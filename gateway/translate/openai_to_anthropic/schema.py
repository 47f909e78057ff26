"""A JSON Schema as Claude's structured outputs take it.

They are a subset: objects with all their properties named, `anyOf`, `allOf`, `enum`, `const`, references inside the
schema that lead to no circle. Any other keyword is a 400 at Anthropic. Bounds and patterns become words in the
description, as Anthropic's own SDKs do it (anthropic-sdk-python, `lib/_parse/_transform.py`): the answer still has the
shape that was asked for, and mostly keeps to the bounds. Without what no description can say it would have another
shape; that is refused. Source: https://platform.claude.com/docs/en/build-with-claude/structured-outputs
"""

from collections.abc import Iterator, Mapping

import msgspec

from gateway.core.errors import InvalidRequest

FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)  # fmt: skip
TYPES = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})
_MOST_STEPS = 64
"""How many references may lie behind one."""
_SIMPLE = str | int | float | bool | None
_SILENT = frozenset({"$schema", "$id", "$comment"})
"""They say nothing of the answer."""
_OF_TYPE: Mapping[str, frozenset[str]] = {
    "object": frozenset({"properties", "required", "additionalProperties", "minProperties", "maxProperties"}),
    "array": frozenset({"items", "prefixItems", "contains", "minItems", "maxItems", "uniqueItems"}),
    "string": frozenset({"format", "minLength", "maxLength", "pattern"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
}
"""Keywords that bind values of one type only."""

Json = dict[str, object]


def fitted(schema: Mapping[str, msgspec.Raw], param: str) -> tuple[dict[str, msgspec.Raw], list[str]]:
    """Return the schema for Claude, and the keywords that only its descriptions tell of now.

    Raises InvalidRequest that names, below `param`, what no answer of Claude's could be held to.
    """
    read: Json = msgspec.json.decode(msgspec.json.encode(schema))
    fitting = _Fitting(param)
    fitting.check_references(read)
    whole = fitting.schema(read, param)
    return {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in whole.items()}, fitting.lost


class _Fitting:
    """One schema on its way. `lost` are the keywords that became words, each once."""

    def __init__(self, param: str) -> None:
        self._param = param
        self.lost: list[str] = []

    def schema(self, given: object, at: str) -> Json:
        """Return a schema, or one inside another, that stands `at` a place."""
        if not isinstance(given, dict):
            raise _refusal(at, "must be an object with a `type`")
        left: Json = {name: value for name, value in given.items() if name not in _SILENT}
        made: Json = {}
        for name in ("$defs", "definitions"):
            if name in left:
                made[name] = self._each(left.pop(name), f"{at}.{name}")
        if "$ref" in left:
            return made | {"$ref": left["$ref"]}
        variants = left.get("type")
        if isinstance(variants, list):
            return made | self._any_of_types(left, variants, at)
        self._choices(left, made, at)
        self._typed(left, made, at)
        for name in ("title", "description"):
            if name in left:
                made[name] = left.pop(name)
        return self._told(left, made)

    def check_references(self, whole: Json) -> None:
        """Raise InvalidRequest for a reference that leads out of the schema, nowhere, or back to itself."""
        done: set[str] = set()
        for target in _references(whole):
            self._follow(whole, target, (), done)

    def _follow(self, whole: Json, target: str, way: tuple[str, ...], done: set[str]) -> None:
        if target in way or len(way) == _MOST_STEPS:
            raise _refusal(
                self._param, f"`$ref` `{target[:64]}` leads back to itself or too far, and Claude takes neither"
            )
        if target in done:
            return
        found = _found(whole, target)
        if found is None:
            raise _refusal(self._param, f"`$ref` `{target[:64]}` names nothing in it")
        for further in _references(found):
            self._follow(whole, further, (*way, target), done)
        done.add(target)

    def _any_of_types(self, left: Json, types: list[object], at: str) -> Json:
        """Return a choice of types as a choice of schemas, each with the keywords that bind its own."""
        bound = frozenset[str]().union(*_OF_TYPE.values())
        literal = left.keys() & {"enum", "const", "anyOf", "oneOf", "allOf"}
        if literal:
            return self.schema({name: value for name, value in left.items() if name != "type"}, at)
        common = {name: left[name] for name in ("title", "description") if name in left}
        own = {name: value for name, value in left.items() if name not in common and name != "type"}
        parts = [
            {"type": kind}
            | {name: value for name, value in own.items() if name not in bound or name in _OF_TYPE.get(_root(kind), ())}
            for kind in types
        ]
        return common | {"anyOf": [self.schema(part, at) for part in parts]}

    def _choices(self, left: Json, made: Json, at: str) -> None:
        """Carry over what an answer is chosen from."""
        options = left.get("enum")
        if isinstance(options, list) and options and all(isinstance(option, _SIMPLE) for option in options):
            made["enum"] = left.pop("enum")
        if "const" in left and isinstance(left["const"], _SIMPLE):
            made["const"] = left.pop("const")
        for name, kept in (("anyOf", "anyOf"), ("oneOf", "anyOf"), ("allOf", "allOf")):
            parts = left.get(name)
            if isinstance(parts, list) and not made.keys() & {"anyOf", "allOf"}:
                del left[name]
                made[kept] = [self.schema(part, f"{at}.{name}") for part in parts]

    def _typed(self, left: Json, made: Json, at: str) -> None:
        """Carry over the type and what belongs to it."""
        kind = left.pop("type", None)
        if made.keys() & {"enum", "const", "anyOf", "allOf"}:
            return  # they say it already
        if kind not in TYPES:
            raise _refusal(at, "must have a `type`, `enum`, `const`, `anyOf` or `allOf` for Claude")
        made["type"] = kind
        match kind:
            case "object":
                self._object(left, made, at)
            case "array":
                if "items" in left:
                    made["items"] = self.schema(left.pop("items"), f"{at}.items")
                if left.get("minItems") in (0, 1):
                    made["minItems"] = left.pop("minItems")
            case "string" if left.get("format") in FORMATS:
                made["format"] = left.pop("format")

    def _object(self, left: Json, made: Json, at: str) -> None:
        """Carry over an object. Claude writes the properties that are named and no other."""
        others = left.pop("additionalProperties", None)
        properties = left.pop("properties", {})
        if others not in (None, False) and not (others is True and properties):
            raise _refusal(f"{at}.additionalProperties", "Claude writes objects only whose properties are all named")
        made["properties"] = self._each(properties, f"{at}.properties")
        made["additionalProperties"] = False
        if "required" in left:
            made["required"] = left.pop("required")

    def _each(self, schemas: object, at: str) -> Json:
        if not isinstance(schemas, dict):
            raise _refusal(at, "must be an object")
        return {name: self.schema(schema, f"{at}.{name}") for name, schema in schemas.items()}

    def _told(self, left: Json, made: Json) -> Json:
        """Say in words what is left."""
        if left:
            self.lost += [name for name in left if name not in self.lost]
            before = made.get("description")
            words = msgspec.json.encode(left).decode()
            made["description"] = f"{before}\n\n{words}" if isinstance(before, str) and before else words
        return made


def _root(kind: object) -> str:
    return "number" if kind == "integer" else str(kind)


def _references(given: object) -> Iterator[str]:
    """Yield every `$ref` in a schema."""
    if isinstance(given, list):
        for part in given:
            yield from _references(part)
    elif isinstance(given, dict):
        for name, value in given.items():
            if name == "$ref" and isinstance(value, str):
                yield value
            else:
                yield from _references(value)


def _found(whole: Json, target: str) -> object:
    """Return what a reference names in the schema, None for nothing."""
    if target == "#":
        return whole
    found: object = whole if target.startswith("#/") else None
    for step in target[2:].split("/"):
        found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
    return found


def _refusal(param: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"`{param[:256]}` can't be carried over to this model's provider: {why}.", param=param[:256])
