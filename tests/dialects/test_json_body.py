"""Bodies that two readers could read differently are refused; everything else about a body stays the client's own."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.core.errors import InvalidRequest
from gateway.dialects.json_body import MAX_DEPTH, change, decode, without_lone_surrogates

DECISIVE = (b'"model"', b'"n"')


class Body(msgspec.Struct):
    """What the tests decode."""

    model: str
    n: int | None = None


DECODER = msgspec.json.Decoder(Body)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
OTHERS = st.dictionaries(st.text(max_size=8).filter(lambda name: name not in ("model", "n")), VALUES, max_size=5)


def written(fields: list[tuple[str, Any]], *, ascii_only: bool) -> bytes:
    """An object with these fields in this order, repeated ones too."""
    pairs = (f"{json.dumps(n, ensure_ascii=ascii_only)}: {json.dumps(v, ensure_ascii=ascii_only)}" for n, v in fields)
    return ("{" + ", ".join(pairs) + "}").encode("utf-8", "surrogatepass")


def has_surrogates(value: object) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in json.dumps(value, ensure_ascii=False))


@given(OTHERS, st.booleans())
def test_decode_reads_what_the_json_module_reads(others: dict[str, Any], ascii_only: bool) -> None:
    assume(not has_surrogates(others))
    body = written([("model", "m"), *others.items()], ascii_only=ascii_only)
    assert json.loads(body) == {"model": "m", **others}
    assert decode(body, DECODER, DECISIVE) == Body("m")


@given(st.binary(max_size=60))
def test_decode_refuses_whatever_the_json_module_refuses(noise: bytes) -> None:
    body = b'{"model":"m","x":' + noise + b"}"
    try:
        read = json.loads(body.decode())
    except (ValueError, RecursionError):
        with pytest.raises(InvalidRequest):
            decode(body, DECODER, DECISIVE)
        return
    try:
        decoded = decode(body, DECODER, DECISIVE)
    except InvalidRequest:
        return
    assert (decoded.model, decoded.n) == (read["model"], read.get("n"))


@given(OTHERS, st.integers(0, 5), st.sampled_from(["model", "n"]))
def test_decode_refuses_a_decisive_field_that_stands_twice(others: dict[str, Any], place: int, twice: str) -> None:
    assume(not has_surrogates(others))
    fields = [("model", "m"), ("n", 1), *others.items()]
    fields.insert(place % (len(fields) + 1), (twice, "m" if twice == "model" else 2))
    with pytest.raises(InvalidRequest) as raised:
        decode(written(fields, ascii_only=True), DECODER, DECISIVE)
    assert raised.value.param == twice


@pytest.mark.parametrize("spelled", [b'"m\\u006fdel"', b'"\\u006dodel"', b'"\\u006D\\u006f\\u0064\\u0065\\u006C"'])
def test_decode_refuses_a_decisive_field_that_is_escaped_the_second_time(spelled: bytes) -> None:
    for body in (b'{"model":"m",%b:"x"}' % spelled, b'{%b:"x","model":"m"}' % spelled):
        with pytest.raises(InvalidRequest) as raised:
            decode(body, DECODER, DECISIVE)
        assert raised.value.param == "model"


def test_decode_takes_a_decisive_name_that_stands_elsewhere_too() -> None:
    body = b'{"model":"m","messages":[{"model":1,"n":2},{"model":3}],"text":"\\"model\\": 1","n":4}'
    assert decode(body, DECODER, DECISIVE) == Body("m", 4)


@given(st.integers(1, 3 * MAX_DEPTH), st.sampled_from(["[", "{"]), st.text(alphabet='[]{}"\\', max_size=20))
def test_decode_bounds_the_depth_and_nothing_else(depth: int, bracket: str, text: str) -> None:
    inside = "[" * depth + "]" * depth if bracket == "[" else '{"a":' * depth + "1" + "}" * depth
    body = f'{{"model":"m","t":{json.dumps(text)},"x":{inside}}}'.encode()
    if depth < MAX_DEPTH:
        assert decode(body, DECODER, DECISIVE) == Body("m")
    else:
        with pytest.raises(InvalidRequest):
            decode(body, DECODER, DECISIVE)


def test_decode_counts_lists_and_objects_alike() -> None:
    allowed = b'{"model":"m","x":' + b'[{"a":' * 63 + b"[1]" + b"}]" * 63 + b"}"
    too_deep = b'{"model":"m","x":' + b'[{"a":' * 64 + b"1" + b"}]" * 64 + b"}"
    assert decode(allowed, DECODER, DECISIVE) == Body("m")
    with pytest.raises(InvalidRequest):
        decode(too_deep, DECODER, DECISIVE)


@given(OTHERS, st.booleans())
def test_change_replaces_one_value_and_keeps_the_bytes_of_all_others(others: dict[str, Any], ascii_only: bool) -> None:
    assume(not has_surrogates(others))
    body = written([("model", "m"), *others.items()], ascii_only=ascii_only)
    changed = change(body, {"model": "other", "n": 3})
    assert json.loads(changed) == {"model": "other", **others, "n": 3}
    for value in others.values():
        assert json.dumps(value, ensure_ascii=ascii_only).encode() in changed


@given(st.text(st.characters() | st.sampled_from('\ud83d\ude00\\u"dD8'), max_size=20))
def test_lone_surrogates_alone_are_replaced_and_the_rest_keeps_its_bytes(words: str) -> None:
    body = json.dumps({"model": "m", "text": words}).encode()
    mended = without_lone_surrogates(body)
    assert len(mended) == len(body)
    expected = words.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert json.loads(mended)["text"].count("\ufffd") >= expected.count("\ufffd") > 0 or mended == body
    assert not has_surrogates(json.loads(mended))
    assert decode(mended, DECODER, DECISIVE) == Body("m")
    assert without_lone_surrogates(mended) == mended
