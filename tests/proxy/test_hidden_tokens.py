"""What a reasoning model thought and nobody saw is charged, though no figures came. Design: the ledger, "Outcomes"."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.core.estimates import FIRST_EXPECTATION_TOKENS
from gateway.core.limits import Interval, Metric
from tests.anthropic_events import claude, messages_body, start
from tests.events import EVENT_STREAM, JSON, chunk, completion, event, usage, usage_chunk
from tests.gateway import RunningGateway, UsageRow, running_gateway
from tests.provider import Cut, Provider, Step
from tests.proxy.test_outcomes import LIMITS, Leaver, closed_promptly, leaver

MODEL = "o3"
HI_TOKENS = 7
THOUGHT = 4_512
LEARNT = FIRST_EXPECTATION_TOKENS + (THOUGHT - FIRST_EXPECTATION_TOKENS) // 8


@pytest.fixture
async def hasty(database_url: str, provider: Provider, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A gateway that hardly waits for the figures of calls whose clients have left."""
    async with running_gateway(database_url, provider, tmp_path, disconnect_drain_seconds=0.01) as running:
        yield running


async def hung_up(gateway: RunningGateway, steps: list[Step], heard: bytes, **fields: Any) -> None:
    """Have a client read up to these words of a stream and leave; return when the gateway has left too."""
    gateway.provider.answer(200, EVENT_STREAM, [*steps, Cut.HANG], framing="chunked")
    client = await leaver(gateway, **{"model": MODEL, "stream": True, **fields})
    await left(gateway, client, heard)


async def left(gateway: RunningGateway, client: Leaver, heard: bytes = b"") -> None:
    request = await gateway.provider.request()
    if heard:
        await client.until(heard)
    client.leave()
    await closed_promptly(request)


async def taught(gateway: RunningGateway, output_tokens: int = THOUGHT) -> None:
    """Have the model answer once with figures: from then on so much is expected as `LEARNT` says."""
    gateway.provider.answer(200, JSON, completion(usage=usage(10, output_tokens)))
    assert (await gateway.chat(await gateway.key(), model=MODEL)).status_code == 200
    await gateway.provider.request()


def figures(row: UsageRow) -> tuple[Any, ...]:
    return row.outcome, row.source, row.input_tokens, row.output_tokens


async def test_client_that_leaves_before_the_answer_pays_for_what_is_thought_on_average(hasty: RunningGateway) -> None:
    hasty.provider.raw(Cut.HANG)
    await left(hasty, await leaver(hasty, model=MODEL))
    row = await hasty.charged()
    assert figures(row) == ("client_left", "counted", HI_TOKENS, FIRST_EXPECTATION_TOKENS)
    assert row.cost_nano_usd == HI_TOKENS * 2_000 + FIRST_EXPECTATION_TOKENS * 8_000
    await hasty.audit()


async def test_client_that_leaves_mid_stream_pays_for_what_its_model_has_thought_so_far(hasty: RunningGateway) -> None:
    await taught(hasty)
    await hung_up(hasty, [chunk("one")], b"one")
    await hung_up(hasty, [chunk("two")], b"two", n=2)
    _, one, two = await hasty.usage(3)
    assert figures(one) == ("client_left", "counted", HI_TOKENS, LEARNT)
    assert figures(two) == ("client_left", "counted", HI_TOKENS, 2 * LEARNT)
    await hasty.audit()


async def test_more_that_was_delivered_than_is_thought_on_average_stands(hasty: RunningGateway) -> None:
    words = " word" * (2 * FIRST_EXPECTATION_TOKENS)
    await hung_up(hasty, [chunk(words), chunk("end")], b"end")
    assert figures(await hasty.charged()) == ("client_left", "counted", HI_TOKENS, 2 * FIRST_EXPECTATION_TOKENS + 1)


@pytest.mark.parametrize("field", ["max_completion_tokens", "max_tokens"])
async def test_no_more_is_charged_than_the_clients_cap_holds(hasty: RunningGateway, field: str) -> None:
    await hung_up(hasty, [chunk("one")], b"one", **{field: 100})
    assert figures(await hasty.charged()) == ("client_left", "counted", HI_TOKENS, 100)
    await hasty.audit()


async def test_no_more_is_charged_than_the_gateways_own_cap_holds(hasty: RunningGateway) -> None:
    await taught(hasty, 100_000)
    budget = 5_000
    hasty.provider.answer(200, EVENT_STREAM, [chunk("one"), Cut.HANG], framing="chunked")
    client = await leaver(hasty, limits=[(Metric.OUTPUT_TOKENS, Interval.DAY, budget)], model=MODEL, stream=True)
    await left(hasty, client, b"one")
    row = (await hasty.usage(2))[1]
    sent = hasty.provider.requests[-1].json()["max_completion_tokens"]
    assert figures(row) == ("client_left", "counted", HI_TOKENS, sent) and row.output_tokens <= budget
    await hasty.audit()


async def test_stream_that_breaks_off_is_charged_what_is_thought_on_average(hasty: RunningGateway) -> None:
    hasty.provider.answer(200, EVENT_STREAM, [chunk("one"), Cut.RESET], framing="chunked")
    answer = await hasty.chat(await hasty.key(limits=LIMITS), model=MODEL, stream=True)
    assert b"upstream_broken" in answer.content
    assert figures(await hasty.charged()) == ("upstream_failed", "counted", HI_TOKENS, FIRST_EXPECTATION_TOKENS)
    await hasty.audit()


async def test_call_that_is_never_answered_and_stream_that_fails_by_its_own_word_are_charged_no_thoughts(
    gateway: RunningGateway,
) -> None:
    key = await gateway.key(limits=LIMITS)
    gateway.provider.raw(Cut.CLOSE)
    assert (await gateway.chat(key, model=MODEL)).status_code == 502
    failure = event({"error": {"message": "Overloaded", "code": 503}})
    gateway.provider.answer(200, EVENT_STREAM, [chunk("one"), failure], framing="chunked")
    assert b"Overloaded" in (await gateway.chat(key, model=MODEL, stream=True)).content
    assert [figures(row)[1:] for row in await gateway.usage(2)] == [
        ("counted", HI_TOKENS, 0),
        ("counted", HI_TOKENS, 1),
    ]


async def test_figures_that_came_on_the_way_go_before_what_is_thought_on_average(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, EVENT_STREAM, [chunk("one"), usage_chunk(10, 77), Cut.RESET], framing="chunked")
    await gateway.chat(await gateway.key(), model=MODEL, stream=True)
    assert figures(await gateway.charged()) == ("upstream_failed", "reported", 10, 77)


async def test_figures_from_before_the_answer_do_not_go_before_what_is_thought_on_average(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    async with running_gateway(
        sqlite_url, provider, tmp_path, upstream=claude, disconnect_drain_seconds=0.01
    ) as gateway:
        for thinking in ({"type": "enabled", "budget_tokens": 1_024}, {"type": "disabled"}):
            provider.answer(200, EVENT_STREAM, [start(), Cut.HANG], framing="chunked")
            client = await leaver(
                gateway, "/v1/messages", **messages_body(max_tokens=2_000, stream=True, thinking=thinking)
            )
            await left(gateway, client, b"message_start")
        thought, plain = await gateway.usage(2)
        assert figures(thought) == ("client_left", "counted", 10, FIRST_EXPECTATION_TOKENS)
        assert figures(plain) == ("client_left", "reported", 10, 1)


async def test_hanging_up_does_not_teach_that_the_model_thinks_little(hasty: RunningGateway) -> None:
    for _ in range(3):
        await hung_up(hasty, [chunk("one")], b"one", max_completion_tokens=1)
    await hung_up(hasty, [chunk("one")], b"one")
    assert [row.output_tokens for row in await hasty.usage(4)] == [1, 1, 1, FIRST_EXPECTATION_TOKENS]
