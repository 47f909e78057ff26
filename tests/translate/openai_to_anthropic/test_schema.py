"""Schemas of answers: what Claude takes of them is what Anthropic's own SDK would send."""

import json
from typing import Any

import msgspec
import pytest
from anthropic import transform_schema
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import InvalidRequest
from gateway.translate.openai_to_anthropic.schema import FORMATS, fitted

PARAM = "response_format.json_schema.schema"
STRING = {"type": "string"}


def fit(schema: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    read = msgspec.json.decode(json.dumps(schema), type=dict[str, msgspec.Raw])
    made, lost = fitted(read, PARAM)
    return json.loads(msgspec.json.encode(made)), lost


def refused(schema: dict[str, Any]) -> str:
    with pytest.raises(InvalidRequest) as caught:
        fit(schema)
    assert caught.value.param is not None and caught.value.param in caught.value.message
    return caught.value.param


def plain(schema: Any) -> Any:
    """The schema without what stands in descriptions, where we write JSON and the SDK writes Python."""
    if isinstance(schema, list):
        return [plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: plain(value) for name, value in schema.items() if name != "description"}


COUNT = st.integers(0, 9)
WORD = st.text("abc", min_size=1, max_size=3)
NOTES = {"title": WORD, "description": WORD, "default": WORD | st.none()}
STRINGS: dict[str, Any] = {
    "minLength": COUNT, "maxLength": COUNT, "pattern": WORD, "format": st.sampled_from([*sorted(FORMATS), "regex"]),
}  # fmt: skip
NUMBERS: dict[str, Any] = dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "multipleOf"), COUNT)


def of(kind: str, optional: dict[str, Any], **required: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"type": st.just(kind), **required}, optional=NOTES | optional)


LEAVES = (
    of("string", STRINGS) | of("integer", NUMBERS) | of("number", NUMBERS) | of("boolean", {}) | of("null", {})
    | st.fixed_dictionaries({"enum": st.lists(WORD | COUNT | st.none(), min_size=1, max_size=3)}, optional=NOTES)
    | st.fixed_dictionaries({"const": WORD | COUNT}, optional=NOTES)
    | st.just({"$ref": "#/$defs/named"})
)  # fmt: skip


def nested(inside: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    properties = st.dictionaries(WORD, inside, min_size=1, max_size=3)
    several = st.lists(inside, min_size=1, max_size=3)
    return (
        of(
            "object",
            {"required": st.lists(WORD, max_size=2), "additionalProperties": st.booleans(), "minProperties": COUNT},
            properties=properties,
        )
        | of("array", {"minItems": COUNT, "maxItems": COUNT, "uniqueItems": st.booleans(), "items": inside})
        | st.one_of([st.fixed_dictionaries({name: several}, optional=NOTES) for name in ("anyOf", "oneOf", "allOf")])
    )


SCHEMAS = st.recursive(LEAVES, nested, max_leaves=12)


@given(SCHEMAS)
def test_schema_is_what_anthropics_own_sdk_makes_of_it(schema: dict[str, Any]) -> None:
    whole = {**schema, "$defs": {"named": {"type": "string", "maxLength": 5}}}
    made, lost = fit(whole)
    assert plain(made) == plain(transform_schema(whole))
    assert "maxLength" in lost
    assert all(f'"{keyword}"' in json.dumps(whole) for keyword in lost)


@given(SCHEMAS)
def test_schema_that_was_fitted_needs_no_fitting(schema: dict[str, Any]) -> None:
    made, _ = fit({**schema, "$defs": {"named": STRING}})
    assert fit(made) == (made, [])


def test_bounds_become_words_behind_the_description() -> None:
    schema = {"type": "array", "description": "Names", "items": STRING, "minItems": 2, "maxItems": 3}
    described = 'Names\n\n{"minItems":2,"maxItems":3}'
    assert fit(schema) == ({"type": "array", "items": STRING, "description": described}, ["minItems", "maxItems"])
    named = {"type": "array", "items": STRING, "minItems": 1}
    assert fit(named) == (named, [])


def test_choice_of_types_is_a_choice_of_schemas_each_with_its_own_bounds() -> None:
    schema = {"type": ["integer", "null"], "minimum": 1, "description": "Age"}
    assert fit(schema) == (
        {"anyOf": [{"type": "integer", "description": '{"minimum":1}'}, {"type": "null"}], "description": "Age"},
        ["minimum"],
    )
    assert fit({"type": ["string", "null"], "enum": ["a", None]}) == ({"enum": ["a", None]}, [])


def test_references_that_lead_somewhere_are_carried() -> None:
    named = {"type": "object", "properties": {"a": {"$ref": "#/definitions/b"}}, "additionalProperties": False}
    schema = {"$ref": "#/$defs/a~1b", "$defs": {"a/b": named}, "definitions": {"b": STRING}}
    assert fit(schema) == (schema, [])


CHAIN = {str(number): {"$ref": f"#/$defs/{number + 1}"} for number in range(5_000)} | {"5000": STRING}
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("no type", {}, PARAM),
    ("unknown type", {"type": "date"}, PARAM),
    ("a type that is no word", {"type": 5}, PARAM),
    ("no type inside", {"type": "array", "items": {"description": "any"}}, f"{PARAM}.items"),
    ("anything inside", {"type": "array", "items": True}, f"{PARAM}.items"),
    ("properties of any name", {"type": "object", "additionalProperties": STRING}, f"{PARAM}.additionalProperties"),
    ("any object", {"type": "object", "additionalProperties": True}, f"{PARAM}.additionalProperties"),
    ("properties that are none", {"type": "object", "properties": []}, f"{PARAM}.properties"),
    ("definitions that are none", {"type": "string", "$defs": 5}, f"{PARAM}.$defs"),
    ("a circle", {"type": "object", "properties": {"next": {"$ref": "#"}}}, PARAM),
    (
        "a circle of two",
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        PARAM,
    ),
    ("a reference to nothing", {"$ref": "#/$defs/a"}, PARAM),
    ("a reference elsewhere", {"$ref": "https://example.com/schema.json"}, PARAM),
    ("a long way", {"$ref": "#/$defs/0", "$defs": CHAIN}, PARAM),
]


@pytest.mark.parametrize(("schema", "param"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_schema_that_claude_cannot_keep_to_is_refused_and_named(schema: dict[str, Any], param: str) -> None:
    assert refused(schema) == param


@given(
    st.recursive(
        st.none() | st.booleans() | COUNT | WORD | st.sampled_from(["#", "#/$defs/a", "object", "array", "string"]),
        lambda inside: st.lists(inside, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "$ref", "$defs", "properties", "items", "anyOf", "enum", "required", "const"]),
            inside, max_size=4,
        ),
        max_leaves=20,
    )
)  # fmt: skip
def test_schema_of_any_kind_is_fitted_or_refused(schema: Any) -> None:
    try:
        fit(schema if isinstance(schema, dict) else {"type": "array", "items": schema})
    except InvalidRequest as refusal:
        assert refusal.param is not None
