"""Streams that OpenAI and its kin sent are well-formed streams to Anthropic's clients, in whatever pieces they come."""

import json
from typing import Any

import pytest

from gateway.core.call import Call, Stamp
from gateway.core.prices import ModelFacts
from gateway.core.usage import Usage
from gateway.proxy.meter import Meter
from gateway.translate.anthropic_to_openai import AnthropicToOpenAI
from tests.recorded import Recorded, body_of, odd_pieces, pieces, recorded_streams

STREAMS = [recorded for recorded in recorded_streams() if recorded.path == "/v1/chat/completions"]
FACTS = ModelFacts(128_000, 16_384, False, "max_tokens")
ASKED = json.dumps({"model": "m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "Hi"}]})


def told(cuts: list[bytes]) -> list[Any]:
    """The events that a client reads of a stream that comes in these pieces."""
    call = Call("messages", "m", ASKED.encode(), streams=True, wants_usage=True, thinks=True)
    spoken = AnthropicToOpenAI(call, "m", FACTS, Stamp("req_1", 1))
    meter = Meter(spoken.wire_format, spoken.call, asked_usage=True, count=len)
    shown = b"".join([spoken.feed(meter.feed(cut)) for cut in cuts])
    shown += spoken.finish(meter.finish(), meter.usage or Usage(output_tokens=1))
    return [body_of(event + b"\n\n") for event in shown.split(b"\n\n") if event]


def text_of(recorded: Recorded) -> str:
    """All that the model says in a stream."""
    choices = [choice for body in recorded.bodies for choice in (body.get("choices") or [])[:1]]
    return "".join((choice.get("delta") or {}).get("content") or "" for choice in choices)


@pytest.mark.parametrize("recorded", STREAMS, ids=lambda recorded: recorded.name)
def test_recorded_stream_opens_and_closes_each_block_and_says_the_same(recorded: Recorded) -> None:
    events = told([recorded.stream])
    kinds = [event["type"] for event in events]
    if any(body.get("error") for body in recorded.bodies):
        assert kinds[-1] == "error"
        return
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"]
    opened = [event["index"] for event in events if event["type"] == "content_block_start"]
    closed = [event["index"] for event in events if event["type"] == "content_block_stop"]
    assert opened == closed == list(range(len(opened)))
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert "".join(delta["text"] for delta in deltas if delta["type"] == "text_delta") == text_of(recorded)
    assert told(pieces(recorded.stream, 1)) == told(odd_pieces(recorded.stream)) == events
