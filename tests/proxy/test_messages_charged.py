"""What messages are charged beside plain tokens: the cache, corrected figures, other models, searches, the place."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from anthropic.types import MessageParam, TextBlockParam

from gateway.core.limits import Interval, Metric
from tests.anthropic_events import CLAUDE, STOP, claude, message, message_delta, messages_body, start, usage, words
from tests.events import EVENT_STREAM, JSON
from tests.gateway import RunningGateway, running_gateway
from tests.provider import Cut, Provider, Step

HI: list[MessageParam] = [{"role": "user", "content": "Hi"}]


@pytest.fixture
async def gateway(sqlite_url: str, provider: Provider, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A whole gateway in front of a scripted Anthropic."""
    async with running_gateway(sqlite_url, provider, tmp_path, upstream=claude) as running:
        yield running


async def test_cache_is_charged_by_what_was_read_and_how_long_it_stays(gateway: RunningGateway) -> None:
    creation = {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 100}
    cache = {"cache_creation_input_tokens": 400, "cache_read_input_tokens": 2_000, "cache_creation": creation}
    gateway.provider.answer(200, JSON, message(usage=usage(10, 5, **cache)))
    brief: TextBlockParam = {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    client = gateway.anthropic(await gateway.key())
    await client.messages.create(model=CLAUDE, max_tokens=100, messages=HI, system=[brief])
    row = await gateway.charged()
    assert (row.input_tokens, row.cached_tokens) == (2_410, 2_000)
    assert (row.cache_write_tokens, row.cache_write_1h_tokens) == (300, 100)
    assert row.cost_nano_usd == 10 * 3_000 + 2_000 * 300 + 300 * 3_750 + 100 * 6_000 + 5 * 15_000


@pytest.mark.parametrize("streams", [True, False])
async def test_tokens_of_a_model_that_runs_where_it_was_told_to_cost_a_tenth_more(
    gateway: RunningGateway, streams: bool
) -> None:
    told = usage(10, 1, inference_geo="us", cache_read_input_tokens=100, server_tool_use={"web_search_requests": 1})
    if streams:
        gateway.provider.answer(200, EVENT_STREAM, [start(usage=told), message_delta(7), STOP], framing="chunked")
    else:
        gateway.provider.answer(200, JSON, message(usage=told | {"output_tokens": 7}))
    await gateway.post(await gateway.key(), "/v1/messages", messages_body(stream=streams, inference_geo="us"))
    row = await gateway.charged()
    assert row.cost_nano_usd == 10 * 3_300 + 100 * 330 + 7 * 16_500 + 10_000_000
    assert json.loads(row.rates)["input"] == 3_300_000


@pytest.mark.parametrize("place", ["global", "not_available", None])
async def test_tokens_of_a_model_that_runs_anywhere_cost_what_is_listed(
    gateway: RunningGateway, place: str | None
) -> None:
    gateway.provider.answer(200, JSON, message(usage=usage(10, 7, inference_geo=place)))
    await gateway.post(await gateway.key(), "/v1/messages", messages_body())
    assert (await gateway.charged()).cost_nano_usd == 10 * 3_000 + 7 * 15_000


async def test_what_a_chosen_place_costs_is_held(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, JSON, message())
    key = await gateway.key(limits=[(Metric.COST, Interval.DAY, 1_000 * 16_000)])
    body = messages_body(max_tokens=1_000)
    refused = await gateway.post(key, "/v1/messages", body | {"inference_geo": "us"})
    assert refused.status_code == 429
    assert (await gateway.post(key, "/v1/messages", body)).status_code == 200


async def test_figures_that_the_end_of_a_stream_corrects_are_charged(gateway: RunningGateway) -> None:
    events = [start(usage=usage(2_479, 1)), message_delta(900, input_tokens=404_500), STOP]
    gateway.provider.answer(200, EVENT_STREAM, events, framing="chunked")
    await gateway.post(await gateway.key(), "/v1/messages", messages_body(stream=True))
    row = await gateway.charged()
    assert (row.input_tokens, row.output_tokens) == (404_500, 900)


@pytest.mark.parametrize("cut", [0, 1, 2])
@pytest.mark.parametrize("said", [[], words("one ", "two ", "three")])
async def test_figures_of_the_start_are_charged_wherever_the_stream_breaks_off(
    gateway: RunningGateway, cut: int, said: list[bytes]
) -> None:
    cache = {"cache_creation_input_tokens": 300, "cache_read_input_tokens": 2_000}
    whole = b"".join([start(usage=usage(10, 1, **cache, cache_creation=None)), *said])
    sent: list[Step] = [whole[: len(whole) - cut], Cut.CLOSE]
    gateway.provider.answer(200, EVENT_STREAM, sent, framing="chunked")
    await gateway.post(await gateway.key(), "/v1/messages", messages_body(stream=True))
    row = await gateway.charged()
    assert (row.outcome, row.input_tokens, row.cached_tokens) == ("upstream_failed", 2_310, 2_000)
    assert row.cache_write_tokens == 300
    assert 1 <= row.output_tokens <= 12


async def test_fast_speed_is_charged_at_its_own_rates(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, JSON, message(usage=usage(10, 7, speed="fast")))
    key = await gateway.key(limits=[(Metric.COST, Interval.DAY, 10**12)])
    asked = messages_body(model="claude-opus-5", speed="fast")
    assert (await gateway.post(key, "/v1/messages", asked)).status_code == 200
    assert (await gateway.charged()).cost_nano_usd == 10 * 10_000 + 7 * 50_000


async def test_fast_speed_without_a_rate_is_refused_under_a_cost_limit_and_recorded_without_a_cost(
    gateway: RunningGateway,
) -> None:
    limited = await gateway.key(limits=[(Metric.COST, Interval.DAY, 10**12)])
    refused = await gateway.post(limited, "/v1/messages", messages_body(speed="fast"))
    assert (refused.status_code, refused.json()["error"]["type"]) == (403, "permission_error")
    assert "fast speed" in refused.json()["error"]["message"]
    gateway.provider.answer(200, JSON, message(usage=usage(10, 7, speed="standard")))
    gateway.provider.answer(200, JSON, message(usage=usage(10, 7, speed="fast")))
    free = await gateway.key(limits=[(Metric.TOKENS, Interval.DAY, 10**12)])
    for _ in range(2):
        assert (await gateway.post(free, "/v1/messages", messages_body(speed="fast"))).status_code == 200
    standard, fast = await gateway.usage(2)
    assert standard.cost_nano_usd == 10 * 3_000 + 7 * 15_000
    assert (fast.cost_nano_usd, fast.input_tokens, fast.output_tokens) == (None, 10, 7)


async def test_passes_of_other_models_are_charged_at_their_own_price(gateway: RunningGateway) -> None:
    passes = [
        {"type": "message", "input_tokens": 20, "output_tokens": 10},
        {"type": "compaction", "input_tokens": 55_000, "output_tokens": 900},
        {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 1_000, "output_tokens": 100},
    ]
    gateway.provider.answer(200, JSON, message(usage=usage(20, 10, iterations=passes)))
    await gateway.post(await gateway.key(), "/v1/messages", messages_body())
    row = await gateway.charged()
    assert (row.input_tokens, row.output_tokens) == (56_020, 1_010)
    assert row.cost_nano_usd == 55_020 * 3_000 + 910 * 15_000 + 1_000 * 5_000 + 100 * 25_000
