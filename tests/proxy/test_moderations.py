"""Moderations are free, on the ledger, and requests like any other."""

from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.core.limits import Interval, Metric
from gateway.settings import CatalogSettings
from tests.events import JSON
from tests.gateway import RunningGateway, running_gateway
from tests.provider import Provider, compose

MODERATIONS = "/v1/moderations"
ANSWER = b'{"id":"modr-1","model":"omni-moderation-latest","results":[]}'


async def test_moderation_is_recorded_at_no_cost_and_counts_as_a_request(any_gateway: RunningGateway) -> None:
    any_gateway.provider.always(lambda _request: compose(200, JSON, ANSWER))
    limits = [(Metric.REQUESTS, Interval.DAY, 2), (Metric.COST, Interval.DAY, 1), (Metric.TOKENS, Interval.DAY, 1)]
    client = any_gateway.openai(await any_gateway.key(limits=limits))
    inputs: list[Any] = ["I want to kill them.", [{"type": "image_url", "image_url": {"url": "https://x/1.png"}}]]
    for given in inputs:
        assert (await client.moderations.create(input=given)).id == "modr-1"
    with pytest.raises(openai.RateLimitError):
        await client.moderations.create(input="x")
    sent = await any_gateway.provider.request()
    assert (sent.path, sent.json()) == ("/v1/moderations", {"input": inputs[0]})
    for row in await any_gateway.usage():
        assert (row.operation, row.model, row.source) == ("moderations", "omni-moderation-latest", "reported")
        assert (row.requests, row.succeeded, row.input_tokens, row.cost_nano_usd) == (1, 1, 0, 0)
    await any_gateway.audit()


async def test_moderation_goes_by_the_keys_model_list(gateway: RunningGateway) -> None:
    refused = await gateway.post(await gateway.key(models=["gpt-4o*"]), MODERATIONS, {"input": "x"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
    gateway.provider.answer(200, JSON, ANSWER)
    allowed = await gateway.post(await gateway.key(models=["*moderation*"]), MODERATIONS, {"input": "x"})
    assert allowed.status_code == 200


async def test_moderation_by_an_alias_is_asked_of_the_model_behind_it(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    catalog = CatalogSettings(aliases={"omni-moderation-latest": "text-moderation-007", "judge": "text-moderation-007"})
    provider.always(lambda _request: compose(200, JSON, ANSWER))
    async with running_gateway(sqlite_url, provider, tmp_path, catalog=catalog) as gateway:
        key = await gateway.key()
        for body in ({"input": "x"}, {"input": "x", "model": "judge"}):
            assert (await gateway.post(key, MODERATIONS, body)).status_code == 200
            assert (await provider.request()).json() == {"input": "x", "model": "text-moderation-007"}
