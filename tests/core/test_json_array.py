"""Where the elements of a streamed array end, in every cut, whatever stands in their strings."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.json_array import MAX_ELEMENT_BYTES, ArrayBuffer, object_of, split_elements

TEXTS = st.text(st.sampled_from(['"', "\\", "{", "}", "[", "]", ",", "é", "\n", "a", "\U0001f600"]), max_size=12)
VALUES = st.recursive(
    TEXTS | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(TEXTS, VALUES, max_size=4), max_size=6)
SEPARATORS = st.sampled_from([b",", b", ", b"\n,\r\n", b",\r\n"])


def array(elements: list[bytes], separator: bytes) -> bytes:
    return b"[" + separator.join(elements) + b"\n]"


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    places = sorted({place % (len(stream) + 1) for place in places})
    return [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]


def read(pieces: list[bytes]) -> tuple[list[Any], bytes, bytes]:
    """Return the elements passed on, all bytes passed on, and the rest."""
    buffer = ArrayBuffer()
    passed = [whole for piece in pieces if (whole := buffer.feed(piece))]
    elements = [json.loads(object_of(element)) for whole in passed for element in split_elements(whole)]
    return elements, b"".join(passed), buffer.rest()


@given(OBJECTS, SEPARATORS, st.booleans(), st.integers(0, 2), st.lists(st.integers(0, 10_000), max_size=12))
def test_buffer_returns_the_same_elements_whatever_pieces_they_come_in(
    objects: list[dict[str, Any]], separator: bytes, ascii_only: bool, indent: int, places: list[int]
) -> None:
    written = [json.dumps(it, ensure_ascii=ascii_only, indent=indent or None).encode() for it in objects]
    stream = array(written, separator)
    for pieces in ([stream], [stream[at : at + 1] for at in range(len(stream))], cut(stream, places)):
        elements, passed, rest = read(pieces)
        assert elements == objects
        assert passed + rest == stream
        assert rest == (b"\n]" if objects else stream)


@given(st.binary(max_size=200), st.lists(st.integers(0, 300), max_size=8))
def test_buffer_loses_nothing_of_what_is_no_array(stream: bytes, places: list[int]) -> None:
    def passed(pieces: list[bytes]) -> tuple[bytes, bytes]:
        buffer = ArrayBuffer()
        return b"".join(map(buffer.feed, pieces)), buffer.rest()

    whole, rest = passed([stream])
    assert whole + rest == stream
    assert passed(cut(stream, places)) == (whole, rest)
    assert passed([stream[at : at + 1] for at in range(len(stream))]) == (whole, rest)
    assert b"".join(split_elements(stream)) == stream


def test_buffer_passes_an_element_on_as_soon_as_it_is_whole() -> None:
    buffer = ArrayBuffer()
    assert buffer.feed(b'[{"a":1') == b""
    assert buffer.feed(b'}\n,\r\n{"b":"}') == b'[{"a":1}'
    assert buffer.feed(b'"}\n]') == b'\n,\r\n{"b":"}"}'
    assert buffer.rest() == b"\n]"
    assert buffer.rest() == b""


@pytest.mark.parametrize(("pieces", "sent"), [([], b""), ([b'[{"a":1},{"b"'], b'[{"a":1}'), ([b"["], b"")])
def test_closing_an_array_that_broke_off_leaves_whole_json(pieces: list[bytes], sent: bytes) -> None:
    buffer = ArrayBuffer()
    assert b"".join(map(buffer.feed, pieces)) == sent
    assert json.loads(sent + buffer.closing(b'{"error":{}}'))[-1] == {"error": {}}


def test_buffer_passes_on_an_element_that_is_too_long_to_keep() -> None:
    buffer = ArrayBuffer()
    begun, more = b'[{"a":"' + b"x" * (MAX_ELEMENT_BYTES // 2), b"x" * (MAX_ELEMENT_BYTES // 2)
    assert buffer.feed(begun) == b""
    assert buffer.feed(more) == begun + more
    assert buffer.feed(b'"},{"b":1}]') == b'"},{"b":1}'


def test_buffer_of_a_long_element_in_small_pieces_is_fast() -> None:
    buffer = ArrayBuffer()
    assert buffer.feed(b'[{"a":"') == b""
    for _ in range(20_000):
        assert buffer.feed(b"x" * 100) == b""
    assert len(buffer.feed(b'"}]')) == 2_000_009
