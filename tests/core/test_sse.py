"""Where events end, on every line end and in every cut; the wire format is that of the HTML standard, section 9.2.6."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.sse import MAX_EVENT_BYTES, EventBuffer, data_of, last_boundary, split_events

STREAMS = st.lists(
    st.sampled_from(
        [
            b"data: a",
            b"data:b",
            b": c",
            b"event: e",
            b"event: e\ndata: a\n\n",
            b"data",
            b"\n",
            b"\r",
            b"\r\n",
            b"\n\n",
            b"\xc3\xa9",
        ]
    ),
    max_size=30,
).map(b"".join)


def reference_events(stream: bytes) -> list[str]:
    """The data of all complete events, read as the standard says: line by line on a decoded text."""
    events: list[str] = []
    data: list[str] = []
    seen = False
    text = stream.decode().removeprefix("\ufeff")
    lines = re.split("\r\n|\n|\r", text)
    for line in lines[:-1]:
        if not line:
            if seen:
                events.append("\n".join(data))
            data, seen = [], False
        else:
            seen = True
            name, _, value = line.partition(":")
            if name == "data":
                data.append(value.removeprefix(" "))
    return events


def fed(pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    buffer = EventBuffer()
    whole = [whole for piece in pieces if (whole := buffer.feed(piece))]
    return whole, buffer.rest()


@given(STREAMS, st.lists(st.integers(0, 300), max_size=10))
def test_buffer_returns_the_same_events_whatever_pieces_they_come_in(stream: bytes, places: list[int]) -> None:
    cuts = sorted({place % (len(stream) + 1) for place in places})
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    for cut in ([stream], [stream[at : at + 1] for at in range(len(stream))], pieces):
        whole, rest = fed(cut)
        assert b"".join(whole) + rest == stream
        assert all(last_boundary(part + b"x") == len(part) for part in whole)
        read = [data_of(event).decode() for part in whole for event in split_events(part)]
        expected = [data for data in reference_events(stream + b"\n" if stream.endswith(b"\r") else stream)]
        # A blank line alone is no event to a reader; it is one to us, and has no data.
        assert [data for data in read if data] == [data for data in expected if data][: len([d for d in read if d])]
        assert len([data for data in expected if data]) - len([data for data in read if data]) <= 1


@given(STREAMS)
def test_split_events_joined_are_the_stream(stream: bytes) -> None:
    assert b"".join(split_events(stream)) == stream


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: a\n\n", b"a"),
        (b"data:a\n\n", b"a"),
        (b"data:  a\n\n", b" a"),
        (b"data: a\r\n\r\n", b"a"),
        (b"data: a\r\r", b"a"),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b"data\ndata: b\n\n", b"\nb"),
        (b": comment\n\n", b""),
        (b"event: x\nid: 1\ndata: a\nretry: 3\n\n", b"a"),
        (b"\xef\xbb\xbfdata: a\n\n", b"a"),
        (b"datax: a\n\n", b""),
        (b"data: a: b\n\n", b"a: b"),
    ],
)
def test_data_of_an_event_is_what_the_standard_says(event: bytes, data: bytes) -> None:
    assert data_of(event) == data


def test_buffer_waits_for_the_byte_behind_a_carriage_return() -> None:
    buffer = EventBuffer()
    assert buffer.feed(b"data: a\r") == b""
    assert buffer.feed(b"\n") == b""
    assert buffer.feed(b"\r") == b""
    assert buffer.feed(b"\n") == b"data: a\r\n\r\n"


def test_buffer_passes_on_an_event_that_is_too_long_to_keep() -> None:
    buffer = EventBuffer()
    half = b"data: " + b"x" * (MAX_EVENT_BYTES // 2)
    assert buffer.feed(half) == b""
    assert buffer.feed(half) == half + half


def test_buffer_of_a_long_line_in_small_pieces_is_fast() -> None:
    buffer = EventBuffer()
    for _ in range(20_000):
        assert buffer.feed(b"x" * 100) == b""
    assert len(buffer.feed(b"\n\n")) == 2_000_002
