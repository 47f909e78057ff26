"""Limits hold exactly, however many calls come at once, and a refusal says whose limit it was and when to come back."""

import asyncio
import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from sqlalchemy import Connection

from gateway.core.limits import Interval, Limit, Metric, Scope, Standing
from gateway.proxy.reply_headers import limit_headers
from gateway.settings import CatalogSettings
from gateway.store import limit_opening
from tests.events import JSON, completion, response, usage
from tests.gateway import MODEL, LimitSpec, RunningGateway, running_gateway
from tests.patience import early_in_a_minute
from tests.provider import Provider, Request, Step, compose

HI: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]
STORM = 200
FITTING = 7
HELD_COST = 8 * 150 + 10 * 600
"""What a call of `storm` holds at least, in nano-USD: its prompt and a cap of 10 tokens of gpt-4o-mini."""


async def storm(gateway: RunningGateway, key: str) -> Counter[int]:
    """Make many equal calls at once, each with a cap of 10 output tokens; return how often each status came."""
    client = gateway.openai(key)

    async def call() -> int:
        try:
            await client.chat.completions.create(model=MODEL, messages=HI, max_tokens=10)
        except openai.APIStatusError as refused:
            return refused.status_code
        return 200

    return Counter(await asyncio.gather(*(call() for _ in range(STORM))))


@pytest.mark.parametrize(
    "limit",
    [
        (Metric.REQUESTS, Interval.DAY, FITTING),
        (Metric.REQUESTS, Interval.LIFETIME, FITTING),
        # Each call is charged what it holds: the provider says that all of the cap was used.
        (Metric.TOKENS, Interval.MONTH, FITTING * 18 + 17),
        (Metric.INPUT_TOKENS, Interval.WEEK, FITTING * 8 + 7),
        (Metric.OUTPUT_TOKENS, Interval.HOUR, FITTING * 10 + 9),
        (Metric.COST, Interval.DAY, FITTING * HELD_COST + HELD_COST - 1),
    ],
    ids=lambda limit: limit[0].value,
)
async def test_storm_on_a_budget_lets_exactly_as_many_through_as_fit(
    any_gateway: RunningGateway, limit: LimitSpec
) -> None:
    any_gateway.provider.chat("Hello", input_tokens=8, output_tokens=10)
    statuses = await storm(any_gateway, await any_gateway.key(limits=[limit]))
    assert statuses == {200: FITTING, 429: STORM - FITTING}
    assert len(any_gateway.provider.requests) == FITTING
    assert len(await any_gateway.usage()) == FITTING
    await any_gateway.audit()


async def test_storm_on_a_requests_minute_lets_exactly_as_many_through_as_fit(any_gateway: RunningGateway) -> None:
    any_gateway.provider.chat("Hello")
    key = await any_gateway.key(limits=[(Metric.REQUESTS, Interval.MINUTE, FITTING)])
    began = int(time.time()) // 60
    statuses = await storm(any_gateway, key)
    minutes = int(time.time()) // 60 - began + 1
    assert FITTING <= statuses[200] <= FITTING * minutes and statuses[200] == len(any_gateway.provider.requests)
    await any_gateway.audit()


async def test_storm_on_concurrency_keeps_the_provider_to_so_many_at_once(any_gateway: RunningGateway) -> None:
    gate = asyncio.Event()
    answer = compose(200, JSON, completion())
    any_gateway.provider.always(lambda _request: [gate, *answer])
    key = await any_gateway.key(limits=[(Metric.CONCURRENCY, None, FITTING)])

    async def open_the_gate() -> None:
        for _ in range(FITTING):
            await any_gateway.provider.request()
        # The refused need no provider: once one more call is refused too, all places are taken.
        assert (await any_gateway.chat(key)).status_code == 429
        assert len(any_gateway.provider.requests) == FITTING
        gate.set()

    statuses, _ = await asyncio.gather(storm(any_gateway, key), open_the_gate())
    assert statuses[200] >= FITTING and statuses[200] == len(any_gateway.provider.requests)
    assert (await any_gateway.chat(key)).status_code == 200
    await any_gateway.audit()


async def test_limit_on_each_scope_binds_and_is_named(gateway: RunningGateway) -> None:
    gateway.provider.chat("Hello")
    whose = {Scope.PROJECT: "project's", Scope.USER: "user's", Scope.API_KEY: "API key's"}
    for scope, words in (*whose.items(), (Scope.ORGANIZATION, "organization's")):
        key = await gateway.key(limits=[(Metric.REQUESTS, Interval.LIFETIME, 1)], scope=scope)
        if scope is not Scope.ORGANIZATION:  # its limit opens with what the others have used
            assert (await gateway.chat(key)).status_code == 200
        refused = await gateway.chat(key)
        message = refused.json()["error"]["message"]
        assert refused.status_code == 429 and words in message
        assert "1 requests in all" in message and "requests used" in message


async def test_budget_that_is_used_up_stops_clients_from_retrying(gateway: RunningGateway) -> None:
    gateway.provider.chat("Hello", input_tokens=8, output_tokens=10)
    key = await gateway.key(limits=[(Metric.COST, Interval.DAY, 2 * HELD_COST)])
    await early_in_a_minute()
    for _ in range(2):
        assert (await gateway.chat(key, max_tokens=10)).status_code == 200
    most = 86_400 - time.time() % 86_400
    refused = await gateway.chat(key, max_tokens=10)
    least = 86_400 - time.time() % 86_400
    error = refused.json()["error"]
    assert (refused.status_code, error["type"], error["code"]) == (429, "insufficient_quota", "budget_exhausted")
    assert refused.headers["x-should-retry"] == "false"
    assert "$0.0000144 per day" in error["message"]
    assert least <= int(refused.headers["retry-after"]) <= most + 1
    assert least <= int(refused.headers["retry-after-ms"]) / 1000 <= most + 1


async def test_budget_that_is_only_held_may_be_tried_again_soon(gateway: RunningGateway) -> None:
    gate = asyncio.Event()
    gateway.provider.raw(gate, *compose(200, JSON, completion()))
    key = await gateway.key(limits=[(Metric.TOKENS, Interval.DAY, 30)])
    running = asyncio.create_task(gateway.chat(key, max_tokens=20))
    await gateway.provider.request()
    refused = await gateway.chat(key, max_tokens=20)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_held")
    assert "x-should-retry" not in refused.headers and 1 <= int(refused.headers["retry-after"]) <= 5
    assert "28 tokens held" in refused.json()["error"]["message"]
    gate.set()
    assert (await running).status_code == 200
    await gateway.audit()


async def test_minute_limit_refusal_tells_the_time_left(gateway: RunningGateway) -> None:
    gateway.provider.chat("Hello")
    key = await gateway.key(limits=[(Metric.REQUESTS, Interval.MINUTE, 1)])
    await early_in_a_minute()
    assert (await gateway.chat(key)).status_code == 200
    most = 60 - time.time() % 60
    refused = await gateway.chat(key)
    least = 60 - time.time() % 60
    error = refused.json()["error"]
    assert (refused.status_code, error["type"], error["code"]) == (429, "requests", "rate_limit_exceeded")
    assert least <= int(refused.headers["retry-after"]) <= most + 1
    assert "x-should-retry" not in refused.headers


async def test_concurrency_refusal_says_a_second(gateway: RunningGateway) -> None:
    gate = asyncio.Event()
    gateway.provider.raw(gate, *compose(200, JSON, completion()))
    key = await gateway.key(limits=[(Metric.CONCURRENCY, None, 1)])
    running = asyncio.create_task(gateway.chat(key))
    await gateway.provider.request()
    refused = await gateway.chat(key)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], refused.headers["retry-after"]) == (429, "rate_limit_exceeded", "1")
    gate.set()
    assert (await running).status_code == 200


async def test_limit_of_zero_blocks(gateway: RunningGateway) -> None:
    for metric in Metric:
        interval = None if metric is Metric.CONCURRENCY else Interval.DAY
        refused = await gateway.chat(await gateway.key(limits=[(metric, interval, 0)]))
        assert refused.status_code == 429, metric
    assert gateway.provider.requests == [] and await gateway.usage() == []


async def test_limit_of_zero_blocks_even_what_holds_none_of_its_metric(gateway: RunningGateway) -> None:
    for interval in (Interval.MINUTE, Interval.DAY):
        key = await gateway.key(limits=[(Metric.OUTPUT_TOKENS, interval, 0)])
        refused = await gateway.post(key, "/v1/embeddings", {"model": "text-embedding-3-small", "input": "Hi"})
        assert refused.status_code == 429, interval


async def test_answers_and_refusals_carry_the_callers_tightest_limits(gateway: RunningGateway) -> None:
    gateway.provider.chat("Hello", input_tokens=8, output_tokens=10)
    limits: list[LimitSpec] = [
        (Metric.REQUESTS, Interval.DAY, 2),
        (Metric.REQUESTS, Interval.MONTH, 50),
        (Metric.TOKENS, Interval.DAY, 1_000),
    ]
    key = await gateway.key(limits=limits)
    answer = await gateway.chat(key, max_tokens=10)
    assert answer.headers["x-ratelimit-limit-requests"] == "2"
    assert answer.headers["x-ratelimit-remaining-requests"] == "1"
    assert answer.headers["x-ratelimit-limit-tokens"] == "1000"
    assert answer.headers["x-ratelimit-remaining-tokens"] == "982"
    assert re.fullmatch(r"(\d+h)?(\d+m)?(\d+(\.\d+)?s)|\d+ms", answer.headers["x-ratelimit-reset-requests"])
    await gateway.chat(key, max_tokens=10)
    refused = await gateway.chat(key, max_tokens=10)
    assert refused.status_code == 429
    assert refused.headers["x-ratelimit-limit-requests"] == "2"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert "x-ratelimit-reset-requests" in refused.headers


async def test_limit_for_good_says_no_moment_at_which_it_begins_anew(gateway: RunningGateway) -> None:
    gateway.provider.chat("Hello")
    key = await gateway.key(limits=[(Metric.REQUESTS, Interval.LIFETIME, 1)])
    for status in (200, 429):
        answer = await gateway.chat(key)
        assert answer.status_code == status
        assert answer.headers["x-ratelimit-remaining-requests"] == "0"
        assert "x-ratelimit-reset-requests" not in answer.headers


@pytest.mark.parametrize(
    ("left", "told"),
    [
        (0.0002, b"1ms"),
        (0.25, b"250ms"),
        (0.9995, b"1s"),
        (47.3181, b"47.319s"),
        (59.9999, b"1m0s"),
        (3_599.5, b"1h0m0s"),
        (32_505.08, b"9h1m46s"),
    ],
)
def test_time_to_a_reset_is_rounded_up(left: float, told: bytes) -> None:
    """Who comes back as told must not be too early."""
    limit = Limit("lim_1", Scope.API_KEY, "key_1", Metric.REQUESTS, Interval.DAY, 1)
    headers = dict(limit_headers([Standing(limit, period_start=0, used=0, held=0)], 86_400 - left))
    assert headers[b"x-ratelimit-reset-requests"] == told


CAPPED: list[tuple[str, str, str, dict[str, Any]]] = [
    ("/v1/chat/completions", MODEL, "max_tokens", {"messages": HI}),
    ("/v1/chat/completions", "gpt-5-mini", "max_completion_tokens", {"messages": HI}),
    ("/v1/responses", MODEL, "max_output_tokens", {"input": "Hi"}),
]


async def test_cap_that_the_budget_can_pay_is_sent_in_the_field_the_model_takes(gateway: RunningGateway) -> None:
    def answer(request: Request) -> list[Step]:
        whole = completion() if "messages" in request.json() else json.dumps(response()).encode()
        return compose(200, JSON, whole)

    gateway.provider.always(answer)
    for path, model, field, body in CAPPED:
        key = await gateway.key(limits=[(Metric.TOKENS, Interval.DAY, 10_000)])
        assert (await gateway.post(key, path, {"model": model, **body})).status_code == 200
        sent = (await gateway.provider.request()).json()
        assert set(sent) == {"model", *body, field}
        assert 4_096 <= int(str(sent[field])) <= 5_000
        assert (await gateway.post(key, path, {"model": model, **body, field: 50})).status_code == 200
        assert (await gateway.provider.request()).json()[field] == 50
    await gateway.audit()


async def test_cap_too_small_to_be_of_use_is_refused(gateway: RunningGateway) -> None:
    key = await gateway.key(limits=[(Metric.TOKENS, Interval.DAY, 1_000)])
    refused = await gateway.chat(key)
    assert refused.status_code == 429
    assert "lower output cap may fit" in refused.json()["error"]["message"]


async def test_cap_of_the_clients_own_that_does_not_fit_is_refused(gateway: RunningGateway) -> None:
    key = await gateway.key(limits=[(Metric.TOKENS, Interval.DAY, 1_000)])
    refused = await gateway.chat(key, max_tokens=2_000)
    assert refused.status_code == 429
    gateway.provider.chat("Hello")
    assert (await gateway.chat(key, max_tokens=900)).status_code == 200


async def test_caps_of_both_names_hold_the_larger(gateway: RunningGateway) -> None:
    key = await gateway.key(limits=[(Metric.OUTPUT_TOKENS, Interval.DAY, 100)])
    assert (await gateway.chat(key, max_tokens=101, max_completion_tokens=1)).status_code == 429
    assert (await gateway.chat(key, max_tokens=1, max_completion_tokens=101)).status_code == 429


async def test_limit_of_some_models_binds_those_behind_an_alias_too(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    def limit(connection: Connection) -> None:
        new = Limit("lim_1", Scope.API_KEY, "key_1", Metric.REQUESTS, Interval.DAY, 1, ("gpt-4o-*",))
        limit_opening.create(connection, new, 0)

    provider.chat("Hello")
    catalog = CatalogSettings(aliases={"fast": "gpt-4o-mini"})
    async with running_gateway(sqlite_url, provider, tmp_path, catalog=catalog) as gateway:
        key = await gateway.key()
        await gateway.change(limit)
        assert (await gateway.chat(key, model="o3")).status_code == 200
        assert (await gateway.chat(key, model="fast")).status_code == 200
        refused = await gateway.chat(key, model="fast")
        assert refused.status_code == 429 and "for gpt-4o-*" in refused.json()["error"]["message"]
        assert (await gateway.chat(key, model="o3")).status_code == 200


async def test_choices_multiply_what_is_held(gateway: RunningGateway) -> None:
    key = await gateway.key(limits=[(Metric.OUTPUT_TOKENS, Interval.DAY, 100)])
    assert (await gateway.chat(key, max_tokens=30, n=4)).status_code == 429
    gateway.provider.answer(200, JSON, completion(usage=usage(8, 90)))
    assert (await gateway.chat(key, max_tokens=30, n=3)).status_code == 200


async def test_cost_limit_refuses_a_model_without_a_price(gateway: RunningGateway) -> None:
    key = await gateway.key(limits=[(Metric.COST, Interval.DAY, 10**12)])
    refused = await gateway.chat(key, model="own-model-7b")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_priced")
    assert await gateway.usage() == []


async def test_all_limits_bind_or_none_holds(gateway: RunningGateway) -> None:
    gateway.provider.chat("Hello", input_tokens=8, output_tokens=10)
    key = await gateway.key(limits=[(Metric.REQUESTS, Interval.DAY, 5), (Metric.TOKENS, Interval.DAY, 20)])
    assert (await gateway.chat(key, max_tokens=10)).status_code == 200
    for _ in range(10):
        assert (await gateway.chat(key, max_tokens=10)).status_code == 429
    answer = await gateway.chat(key, max_tokens=1, messages=[{"role": "user", "content": "Hi"}])
    assert answer.status_code == 429
    await gateway.audit()
