"""What the meter shows and what it learns, event by event and in whatever pieces they come."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.call import Call
from gateway.core.json_array import ArrayBuffer
from gateway.core.sse import MAX_EVENT_BYTES
from gateway.dialects.chat_completions import ChatCompletions
from gateway.dialects.generate_content import GenerateContent
from gateway.proxy.meter import Meter
from tests.events import DONE, chunk, event, usage, usage_chunk

EVENTS = st.sampled_from(
    [
        chunk("Hello"),
        chunk("wörld \U0001f600"),
        chunk("x", usage=None),
        chunk("y", usage=usage(9, 4)),
        chunk(finish="stop"),
        usage_chunk(10, 3),
        chunk(choices=[], usage=None, prompt_filter_results=[]),
        b": comment\n\n",
        b"event: ping\ndata: {}\n\n",
        b'data: {"error":{"message":"Failed"}}\n\n',
        b"data: not json\n\n",
        b"id: 7\n\n",
    ]
)
LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


def meter(*, wants_usage: bool = False) -> Meter:
    call = Call(operation="chat", model="gpt-4o-mini", body=b"", streams=True, wants_usage=wants_usage)
    return Meter(ChatCompletions(), call, asked_usage=True, count=len)


def read(fed: Meter, pieces: list[bytes]) -> bytes:
    return b"".join(map(fed.feed, pieces)) + fed.finish()


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    places = sorted({place % (len(stream) + 1) for place in places})
    return [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]


@given(st.lists(EVENTS, max_size=12), LINE_ENDS, st.booleans(), st.lists(st.integers(0, 10_000), max_size=20))
def test_meter_reads_alike_whatever_pieces_a_stream_comes_in(
    events: list[bytes], line_end: bytes, ends: bool, places: list[int]
) -> None:
    stream = b"".join([*events, *([DONE] if ends else [])]).replace(b"\n", line_end)
    whole, bytewise, pieced = meter(), meter(), meter()
    shown = read(whole, [stream])
    assert read(bytewise, [stream[at : at + 1] for at in range(len(stream))]) == shown
    assert read(pieced, cut(stream, places)) == shown
    for other in (bytewise, pieced):
        assert (other.usage, other.error, other.ended) == (whole.usage, whole.error, whole.ended)
        assert other.delivered() == whole.delivered()
    hidden = usage_chunk(10, 3).replace(b"\n", line_end)
    assert shown == stream.replace(hidden, b"")


@given(st.lists(EVENTS, max_size=12))
def test_meter_hides_nothing_from_a_client_that_asked_for_usage(events: list[bytes]) -> None:
    stream = b"".join([*events, DONE])
    assert read(meter(wants_usage=True), [stream]) == stream


def test_meter_holds_back_the_end_and_what_is_behind_it() -> None:
    fed = meter()
    assert fed.feed(chunk("a")) == chunk("a")
    assert fed.feed(DONE + b": bye\n\n") == b""
    assert fed.feed(b": more\n\n") == b""
    assert fed.finish() == DONE + b": bye\n\n: more\n\n"


def test_meter_reads_usage_however_it_is_written() -> None:
    compact = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4}}\n\n'
    for spelled in (b'"usage":{', b'"usage": {', b'"usage" : {', b'"usage" :{', b'"usage" :\ndata: {'):
        fed = meter()
        assert fed.feed(compact.replace(b'"usage":{', spelled)) == b""
        assert fed.usage is not None and fed.usage.output_tokens == 4


def test_meter_counts_the_text_delivered_and_no_envelope() -> None:
    fed = meter()
    read(fed, [chunk("Hello "), chunk("there"), chunk(finish="stop"), DONE])
    assert fed.delivered() == len("Hello there")


def test_meter_takes_the_figures_of_an_event_that_was_cut_behind_its_data() -> None:
    told = usage_chunk(10, 3)
    for missing in range(len(told)):
        reader = meter(wants_usage=True)
        reader.feed(chunk("Hello"))
        reader.feed(told[: len(told) - missing])
        reader.look_at_rest()
        assert (reader.usage is not None) == (missing <= 2), missing
        reader.look_at_rest()
        assert reader.delivered() == 5


def test_meter_counts_text_beyond_what_it_keeps() -> None:
    fed = meter()
    for _ in range(100):
        fed.feed(chunk("x" * 2_000))
    assert fed.delivered() == 200_000


def test_meter_tells_progress_once() -> None:
    fed = meter()
    assert fed.moved() is None or fed.moved() is None
    fed.feed(chunk("Hello"))
    assert fed.moved() == 5
    assert fed.moved() is None


@given(st.lists(st.sampled_from(["Hello", '{["', "\\", "wörld"]), max_size=5), st.lists(st.integers(0, 2_000)))
def test_meter_reads_an_array_as_it_reads_the_same_events(words: list[str], places: list[int]) -> None:
    bodies: list[dict[str, Any]] = [{"choices": [{"delta": {"content": word}}]} for word in words]
    bodies.append({"choices": [{"delta": {}}], "usage": usage(9, 4)})
    stream = b"[" + b",\r\n".join(json.dumps(body).encode() for body in bodies) + b"\n]"
    events, call = meter(), Call(operation="chat", model="gpt-4o-mini", body=b"", streams=True)
    read(events, [event(body) for body in bodies])
    for pieces in ([stream], [stream[at : at + 1] for at in range(len(stream))], cut(stream, places)):
        array = Meter(ChatCompletions(), call, asked_usage=True, count=len, array=ArrayBuffer())
        assert b"".join(map(array.feed, pieces)) == stream[:-2]
        assert array.finish() == b"\n]"
        assert (array.usage, array.delivered()) == (events.usage, events.delivered())


def test_event_that_is_too_long_passes_unread_and_later_figures_stand() -> None:
    picture = b'{"candidates":[{"content":{"parts":[{"inlineData":{"data":"' + b"A" * (MAX_EVENT_BYTES + 2_000_000)
    told = b'"}}]}}],"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":1290,"totalTokenCount":1300}}'
    long = b"data: " + picture + told + b"\r\n\r\n"
    last = b"data: {" + told[told.index(b'"usageMetadata"') : -1] + b"}\r\n\r\n"
    call = Call(operation="generate_content", model="m", body=b"", streams=True, wants_usage=True)
    for events, output in (([long], None), ([long, last], 1_290)):
        meter = Meter(GenerateContent("v1beta", streams=True), call, asked_usage=True, count=len)
        stream = b"".join(events)
        pieces = [stream[at : at + 1_000_003] for at in range(0, len(stream), 1_000_003)]
        assert b"".join(map(meter.feed, pieces)) + meter.finish() == stream
        assert (meter.usage.output_tokens if meter.usage is not None else None) == output
        assert meter.delivered() == (output or 0)
