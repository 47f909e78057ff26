"""What Anthropic's usage blocks are taken for; genai-prices (a development dependency) reads the same."""

from typing import Any

import genai_prices
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.call import Call
from gateway.core.usage import OtherModel, Usage
from gateway.dialects.anthropic_usage import UsageBlock
from gateway.dialects.messages import Messages
from gateway.proxy.meter import Meter
from tests.anthropic_events import STOP, message, message_delta, start, usage
from tests.recorded import recorded_streams

COUNT = st.integers(0, 2_000_000)


@st.composite
def blocks(draw: st.DrawFn) -> dict[str, Any]:
    """A usage block as Anthropic writes them now, or with what older versions of its API left out."""
    usual, hour, written = draw(COUNT), draw(COUNT), draw(COUNT)
    block: dict[str, Any] = {"input_tokens": draw(COUNT), "output_tokens": written}
    if draw(st.booleans()):
        block |= {"cache_creation_input_tokens": usual + hour, "cache_read_input_tokens": draw(COUNT)}
        block["cache_creation"] = {"ephemeral_5m_input_tokens": usual, "ephemeral_1h_input_tokens": hour}
    if draw(st.booleans()):
        block["output_tokens_details"] = {"thinking_tokens": draw(st.integers(0, written))}
    if draw(st.booleans()):
        block["server_tool_use"] = {"web_search_requests": draw(st.integers(0, 9)), "web_fetch_requests": 1}
    return block


@given(block=blocks())
def test_block_is_read_as_genai_prices_reads_it(block: dict[str, Any]) -> None:
    read = Messages().read_answer(message(usage=block)).usage
    assert read is not None
    answer = {"model": "claude-sonnet-4-6", "usage": block}
    oracle = genai_prices.extract_usage(answer, provider_id="anthropic").usage
    writes = read.cache_write_tokens + read.cache_write_1h_tokens
    assert (read.input_tokens, read.cached_tokens, writes) == (
        oracle.input_tokens, oracle.cache_read_tokens or 0, oracle.cache_write_tokens or 0,
    )  # fmt: skip
    assert read.cache_write_1h_tokens == (oracle.cache_write_1h_tokens or 0)
    assert (read.output_tokens, read.reasoning_tokens) == (oracle.output_tokens, oracle.output_reasoning_tokens or 0)
    assert read.web_searches == (oracle.web_searches or 0)


def test_answer_that_calls_a_tool_is_read() -> None:
    called = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": ["Bonn"]}}
    read = Messages().read_answer(message(called))
    assert read.usage == Usage(input_tokens=10, output_tokens=5)
    assert Messages().read_answer(message(called, usage=None)).text == 'weather{"city": ["Bonn"]}'


def test_recorded_figures_of_the_end_are_read_as_genai_prices_reads_them() -> None:
    for recorded in recorded_streams():
        if recorded.path == "/v1/messages":
            answer = {"model": "claude-3-5-haiku-20241022", "usage": recorded.anthropic_usage}
            oracle = genai_prices.extract_usage(answer, provider_id="anthropic").usage
            assert (oracle.input_tokens, oracle.output_tokens) == recorded.figures


@pytest.mark.parametrize(
    "block",
    [
        {},
        {"input_tokens": None, "output_tokens": None},
        {"input_tokens": 2**40, "output_tokens": 1},
        {"input_tokens": -1, "output_tokens": 5},
        {"input_tokens": 1, "output_tokens": 5, "cache_read_input_tokens": -5},
        {"input_tokens": 1, "output_tokens": 1, "iterations": [{"input_tokens": 2**53, "output_tokens": 1}]},
        {"input_tokens": "many"},
    ],
    ids=["empty", "null", "more than any model reads", "negative", "negative part", "an absurd pass", "no number"],
)
def test_figures_that_cannot_be_are_not_taken(block: dict[str, Any]) -> None:
    assert Messages().read_answer(message(usage=block)).usage is None


@pytest.mark.parametrize(
    ("fields", "tier"),
    [
        ({"service_tier": "standard"}, None),
        ({"service_tier": None}, None),
        ({"service_tier": "priority"}, "priority"),
        ({"service_tier": "batch"}, "batch"),
        ({"service_tier": "standard", "speed": "standard"}, None),
        ({"service_tier": "standard", "speed": "fast"}, "fast"),
    ],
)
def test_service_is_named_as_prices_know_it(fields: dict[str, Any], tier: str | None) -> None:
    read = Messages().read_answer(message(usage=usage(1, 1, **fields))).usage
    assert read is not None and read.service_tier == tier


def metered(*events: bytes, early: bool = False) -> Usage:
    """The figures of a stream of these events; with `early` they are those of its start alone."""
    call = Call(operation="messages", model="claude-x", body=b"", streams=True, wants_usage=True)
    meter = Meter(Messages(), call, asked_usage=True, count=len)
    for each in events:
        meter.feed(each)
    assert meter.usage is not None and meter.early is early
    return meter.usage


def test_end_of_a_stream_corrects_field_by_field() -> None:
    creation = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 100}
    cache = {"cache_creation_input_tokens": 100, "cache_read_input_tokens": 50, "cache_creation": creation}
    opened = start(usage=usage(10, 1, speed="fast", **cache))
    assert metered(opened, message_delta(7), STOP) == Usage(
        input_tokens=160, cached_tokens=50, cache_write_1h_tokens=100, output_tokens=7, service_tier="fast"
    )
    ended = message_delta(7, input_tokens=None, cache_read_input_tokens=80, cache_creation_input_tokens=130)
    assert metered(opened, ended, STOP) == Usage(
        input_tokens=220,
        cached_tokens=80,
        cache_write_tokens=30,
        cache_write_1h_tokens=100,
        output_tokens=7,
        service_tier="fast",
    )


def test_later_figures_of_a_stream_stand() -> None:
    assert metered(start(), message_delta(7), message_delta(9), STOP).output_tokens == 9


def test_end_of_a_stream_that_says_nothing_leaves_the_figures_of_the_start() -> None:
    for ended in (message_delta(None), message_delta(5, input_tokens=-1)):
        assert metered(start(), ended, STOP, early=True) == Usage(input_tokens=10, output_tokens=1)


def test_passes_are_what_there_was_and_the_top_is_not() -> None:
    passes = [
        {"type": "compaction", "input_tokens": 55_196, "output_tokens": 900, "cache_read_input_tokens": 4},
        {"type": "message", "model": "claude-x", "input_tokens": 220, "output_tokens": 30},
        {"type": "fallback_message", "model": "claude-y", "input_tokens": 100, "output_tokens": 10},
    ]
    thought: dict[str, Any] = {
        "output_tokens_details": {"thinking_tokens": 20},
        "server_tool_use": {"web_search_requests": 2},
    }
    read = metered(start(), message_delta(40, input_tokens=320, iterations=passes, **thought), STOP)
    assert read == Usage(
        input_tokens=55_420,
        cached_tokens=4,
        output_tokens=930,
        reasoning_tokens=20,
        web_searches=2,
        others=(OtherModel("claude-y", Usage(input_tokens=100, output_tokens=10)),),
    )
    assert (read.whole().input_tokens, read.whole().output_tokens) == (55_520, 940)


def test_correction_without_anything_before_stands_alone() -> None:
    block = msgspec.convert({"output_tokens": 5}, UsageBlock)
    assert block.corrected(None) == Usage(output_tokens=5, lacks_input=True)
