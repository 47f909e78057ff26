"""Streams that real providers sent come back byte for byte, and the ledger has the provider's figures."""

import random
from typing import Any

import pytest

from gateway.core.call import Call, WireFormat
from gateway.dialects.chat_completions import ChatCompletions
from gateway.dialects.completions import Completions
from gateway.dialects.responses import Responses
from gateway.proxy.meter import Meter
from tests.events import EVENT_STREAM
from tests.gateway import RunningGateway
from tests.recorded import Recorded, openai_streams

STREAMS = openai_streams()
FORMATS: dict[str, WireFormat] = {
    "/v1/chat/completions": ChatCompletions(),
    "/v1/completions": Completions(),
    "/v1/responses": Responses(),
}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}], "stream": True},
    "/v1/completions": {"model": "gpt-4o-mini", "prompt": "Hi", "stream": True},
    "/v1/responses": {"model": "gpt-4o-mini", "input": "Hi", "stream": True, "store": False},
}
ASKED = {"stream_options": {"include_usage": True}}


def figures(usage: dict[str, Any]) -> tuple[int, int]:
    """Input and output tokens of a provider's usage block, as they are billed."""
    given = usage.get("prompt_tokens", usage.get("input_tokens", 0))
    return given, max(usage.get("completion_tokens", usage.get("output_tokens", 0)), usage["total_tokens"] - given)


def pieces(stream: bytes, size: int) -> list[bytes]:
    return [stream[at : at + size] for at in range(0, len(stream), size)]


def odd_pieces(stream: bytes) -> list[bytes]:
    chance = random.Random(len(stream))
    cuts = sorted(chance.sample(range(len(stream)), min(len(stream), 40)))
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@pytest.mark.parametrize("cut", ["whole", "bytes", "odd"])
@pytest.mark.parametrize("recorded", STREAMS, ids=lambda recorded: recorded.name)
def test_recorded_stream_is_metered_alike_whatever_pieces_it_comes_in(recorded: Recorded, cut: str) -> None:
    stream = recorded.stream
    cuts = {"whole": [stream], "bytes": pieces(stream, 1), "odd": odd_pieces(stream)}[cut]
    call = Call(operation="chat", model="gpt-4o-mini", body=b"", streams=True)
    meter = Meter(FORMATS[recorded.path], call, asked_usage=True, count=len)
    shown = b"".join(map(meter.feed, cuts)) + meter.finish()
    assert shown == recorded.without_usage_only_events
    expected = recorded.usage
    assert (expected is None) == (meter.usage is None)
    if expected is not None and meter.usage is not None:
        assert (meter.usage.input_tokens, meter.usage.output_tokens) == figures(expected)


@pytest.mark.parametrize("asked", [True, False])
async def test_recorded_streams_come_back_as_they_were_and_are_charged(gateway: RunningGateway, asked: bool) -> None:
    key = await gateway.key()
    for number, recorded in enumerate(STREAMS, 1):
        gateway.provider.answer(200, EVENT_STREAM, pieces(recorded.stream, 101), framing="chunked")
        answer = await gateway.post(key, recorded.path, BODIES[recorded.path] | (ASKED if asked else {}))
        assert answer.content == (recorded.stream if asked else recorded.without_usage_only_events), recorded.name
        row = (await gateway.usage(number))[-1]
        if recorded.usage is not None:
            assert (row.input_tokens, row.output_tokens) == figures(recorded.usage), recorded.name
            assert row.source == "reported"
        else:
            assert row.source == "counted"
        assert row.outcome == "completed"
