"""Streams that real providers sent come back byte for byte, and the ledger has the provider's figures."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.core.call import Call, WireFormat
from gateway.core.upstreams import Upstream
from gateway.dialects.chat_completions import ChatCompletions
from gateway.dialects.completions import Completions
from gateway.dialects.messages import Messages
from gateway.dialects.responses import Responses
from gateway.proxy.meter import Meter
from gateway.settings import CatalogSettings
from tests.anthropic_events import CLAUDE, claude, messages_body
from tests.events import EVENT_STREAM
from tests.gateway import RunningGateway, running_gateway
from tests.provider import Provider
from tests.recorded import Recorded, odd_pieces, pieces, recorded_streams

STREAMS = recorded_streams()
FORMATS: dict[str, WireFormat] = {
    "/v1/chat/completions": ChatCompletions(),
    "/v1/completions": Completions(),
    "/v1/responses": Responses(),
    "/v1/messages": Messages(),
}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}], "stream": True},
    "/v1/completions": {"model": "gpt-4o-mini", "prompt": "Hi", "stream": True},
    "/v1/responses": {"model": "gpt-4o-mini", "input": "Hi", "stream": True, "store": False},
    "/v1/messages": messages_body(stream=True),
}
ASKED = {"stream_options": {"include_usage": True}}


@pytest.fixture
async def gateway(sqlite_url: str, provider: Provider, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A gateway in front of a scripted provider that is OpenAI and Anthropic at once."""
    anthropic = claude(Upstream("anthropic", "openai", provider.base_url, "sk-ant", models=(CLAUDE,)))
    catalog = CatalogSettings(upstreams=(anthropic,))
    async with running_gateway(sqlite_url, provider, tmp_path, catalog=catalog) as running:
        yield running


@pytest.mark.parametrize("cut", ["whole", "bytes", "odd"])
@pytest.mark.parametrize("recorded", STREAMS, ids=lambda recorded: recorded.name)
def test_recorded_stream_is_metered_alike_whatever_pieces_it_comes_in(recorded: Recorded, cut: str) -> None:
    stream = recorded.stream
    cuts = {"whole": [stream], "bytes": pieces(stream, 1), "odd": odd_pieces(stream)}[cut]
    wants_usage = recorded.path == "/v1/messages"
    call = Call(operation="chat", model="gpt-4o-mini", body=b"", streams=True, wants_usage=wants_usage)
    meter = Meter(FORMATS[recorded.path], call, asked_usage=True, count=len)
    shown = b"".join(map(meter.feed, cuts)) + meter.finish()
    assert shown == recorded.without_usage_only_events
    told = (meter.usage.input_tokens, meter.usage.output_tokens) if meter.usage is not None else None
    assert told == recorded.figures


@pytest.mark.parametrize("asked", [True, False])
async def test_recorded_streams_come_back_as_they_were_and_are_charged(gateway: RunningGateway, asked: bool) -> None:
    key = await gateway.key()
    for number, recorded in enumerate(STREAMS, 1):
        gateway.provider.answer(200, EVENT_STREAM, pieces(recorded.stream, 101), framing="chunked")
        answer = await gateway.post(key, recorded.path, BODIES[recorded.path] | (ASKED if asked else {}))
        assert answer.content == (recorded.stream if asked else recorded.without_usage_only_events), recorded.name
        row = (await gateway.usage(number))[-1]
        if recorded.figures is not None:
            assert (row.input_tokens, row.output_tokens) == recorded.figures, recorded.name
            assert row.source == "reported"
        else:
            assert row.source == "counted"
        assert row.outcome == ("upstream_failed" if recorded.fails else "completed"), recorded.name
