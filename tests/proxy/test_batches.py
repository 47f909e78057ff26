"""Batches with OpenAI's own client: held by their lines, and charged when their results come."""

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest
from sqlalchemy import update

from gateway.core.limits import Interval, Metric
from gateway.core.upstreams import Upstream
from gateway.settings import CatalogSettings
from gateway.store.holds import hold
from gateway.store.jobs import job
from gateway.store.provider_objects import provider_object
from tests.batching import CHAT, Works, begun, charged, count, counters, expired, failure, jsonl, line, result, uploaded
from tests.events import JSON, usage
from tests.gateway import LOOK_SECONDS, MODEL, RunningGateway, running_gateway
from tests.patience import PATIENCE_SECONDS
from tests.provider import Provider, compose


@pytest.fixture
def works(provider: Provider) -> Works:
    made = Works()
    provider.always(made)
    return made


LIMITS = [
    (Metric.REQUESTS, Interval.DAY, 10),
    (Metric.COST, Interval.MONTH, 10**9),
    (Metric.TOKENS, Interval.DAY, 1_000),
    (Metric.TOKENS, Interval.MINUTE, 10),
    (Metric.CONCURRENCY, None, 1),
]


async def test_batch_holds_its_lines_and_is_charged_by_its_results_at_the_rates_of_batches(
    any_gateway: RunningGateway, works: Works
) -> None:
    client = any_gateway.openai(await any_gateway.key(limits=LIMITS))
    await begun(client, [line(number) for number in range(3)])
    held = await counters(any_gateway)
    assert held["lim_1_0"] == (1, 3) and held["lim_1_2"] == (0, 3 * (8 + 100)) and held["lim_1_4"] == (0, 0)
    # 8 input and 100 output tokens of each line at half of 0.15 and 0.60 USD a million.
    assert held["lim_1_1"] == (0, 3 * (8 * 75 + 100 * 300))
    assert held["lim_1_3"] == (0, 0)
    works.end([result(0, 10, 5), result(1, 20, 7)], [failure(2)])
    done = await client.batches.retrieve("batch_1")
    assert done.status == "completed" and done.output_file_id is not None
    row = await charged(any_gateway)
    assert (row.operation, row.model, row.service_tier, row.batch) == ("chat", MODEL, "batch", 1)
    assert (row.requests, row.succeeded, row.input_tokens, row.output_tokens) == (3, 2, 30, 12)
    assert (row.cost_nano_usd, row.source, row.outcome) == (30 * 75 + 12 * 300, "reported", "completed")
    used = await counters(any_gateway)
    assert (used["lim_1_0"], used["lim_1_1"]) == ((5, 0), (5_850, 0))
    assert (used["lim_1_2"], used["lim_1_3"], used["lim_1_4"]) == ((42, 0), (0, 0), (0, 0))


async def test_batch_results_are_the_owners_files_once_they_are_charged(
    any_gateway: RunningGateway, works: Works
) -> None:
    client = any_gateway.openai(await any_gateway.key())
    await begun(client, [line(0), line(1)])
    works.end([result(0)], [failure(1)])
    output = str(works.things["/batches/batch_1"]["output_file_id"])
    with pytest.raises(openai.NotFoundError):
        await client.files.delete(output)
    assert [batch.status async for batch in await client.batches.list()] == ["completed"]
    await charged(any_gateway)
    assert (await client.files.content(output)).content == jsonl([result(0)])
    listed = [file.id async for file in await client.files.list(purpose="batch_output")]
    assert set(listed) == {output, works.things["/batches/batch_1"]["error_file_id"]}
    assert (await client.files.delete(output)).deleted


async def test_batch_that_nobody_looks_at_is_charged_by_the_gateway_itself(
    database_url: str, provider: Provider, tmp_path: Path, works: Works
) -> None:
    async with running_gateway(database_url, provider, tmp_path) as first:
        await begun(first.openai(await first.key(limits=LIMITS)), [line(0)])
        await first.change(lambda connection: connection.execute(update(hold).values(owner="dead")))
        await first.change(lambda connection: connection.execute(update(job).values(due_at_us=0)))
    works.end([result(0)])
    async with running_gateway(database_url, provider, tmp_path) as second:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await count(second, job):  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(LOOK_SECONDS)
        row = await charged(second)
        assert (row.input_tokens, row.output_tokens, row.source) == (10, 5, "reported")


async def test_batch_that_is_cancelled_is_charged_for_what_was_run(any_gateway: RunningGateway, works: Works) -> None:
    client = any_gateway.openai(await any_gateway.key(limits=LIMITS))
    await begun(client, [line(0), line(1), line(2)])
    assert (await client.batches.cancel("batch_1")).status == "cancelling"
    assert await count(any_gateway, hold) == 1
    works.end([result(0)], [expired(1), expired(2)], status="cancelled")
    assert (await client.batches.retrieve("batch_1")).status == "cancelled"
    row = await charged(any_gateway)
    assert (row.requests, row.succeeded, row.input_tokens) == (1, 1, 10)
    assert (await counters(any_gateway))["lim_1_0"] == (4, 0)


async def test_batch_that_fails_its_validation_costs_nothing(gateway: RunningGateway, works: Works) -> None:
    client = gateway.openai(await gateway.key(limits=LIMITS))
    await begun(client, [line(0)])
    works.end(status="failed")
    assert (await client.batches.retrieve("batch_1")).status == "failed"
    row = await charged(gateway)
    assert (row.requests, row.succeeded, row.input_tokens, row.cost_nano_usd) == (1, 0, 0, 0)


async def test_batch_that_the_provider_refuses_costs_nothing(gateway: RunningGateway, works: Works) -> None:
    client = gateway.openai(await gateway.key(limits=LIMITS))
    file = await uploaded(client, [line(0)])
    works.others["POST /batches"] = lambda _: []
    gateway.provider.answer(200, {"content-type": "application/octet-stream"}, jsonl([line(0)]))
    gateway.provider.answer(400, JSON, b'{"error":{"message":"no"}}')
    with pytest.raises(openai.BadRequestError):
        await client.batches.create(input_file_id=file, endpoint=CHAT, completion_window="24h")
    row = await charged(gateway)
    assert (row.requests, row.succeeded, row.input_tokens, row.cost_nano_usd) == (1, 0, 0, 0)


OTHER_ENDPOINTS: list[tuple[str, dict[str, Any], dict[str, Any], tuple[int, int]]] = [
    (
        "/v1/embeddings",
        {"model": "text-embedding-3-small", "input": "Hi"},
        {"object": "list", "data": [], "usage": {"prompt_tokens": 4, "total_tokens": 4}},
        (4, 0),
    ),
    (
        "/v1/responses",
        {"model": MODEL, "input": "Hi", "max_output_tokens": 50},
        {"id": "resp_1", "status": "completed", "usage": {"input_tokens": 6, "output_tokens": 3, "total_tokens": 9}},
        (6, 3),
    ),
    (
        "/v1/completions",
        {"model": "gpt-3.5-turbo-instruct", "prompt": "Hi"},
        {"choices": [], "usage": usage(3, 2)},
        (3, 2),
    ),
]


async def test_batch_of_every_endpoint_is_read_and_charged(gateway: RunningGateway, works: Works) -> None:
    client = gateway.openai(await gateway.key(limits=LIMITS))
    for number, (endpoint, body, answer, tokens) in enumerate(OTHER_ENDPOINTS):
        await begun(client, [{"custom_id": "0", "method": "POST", "url": endpoint, "body": body}], endpoint)
        response = {"status_code": 200, "body": answer}
        works.end([{"custom_id": "0", "response": response, "error": None}])
        await client.batches.retrieve("batch_1")
        row = [row for row in await gateway.usage() if row.batch][-1]
        assert (row.input_tokens, row.output_tokens, row.source) == (*tokens, "reported"), endpoint
        assert row.operation == endpoint.rpartition("/")[2] and len(works.asked) > number
        await forget_batch(gateway)
    await gateway.audit()


async def forget_batch(gateway: RunningGateway) -> None:
    """Let the provider use the batch's name again."""
    gone = provider_object.delete().where(provider_object.c.kind == "batches")
    await gateway.change(lambda connection: connection.execute(gone))


async def test_batch_without_caps_holds_the_models_own(gateway: RunningGateway, works: Works) -> None:
    client = gateway.openai(await gateway.key(limits=[(Metric.OUTPUT_TOKENS, Interval.DAY, 40_000)]))
    await begun(client, [line(number, max_tokens=None) for number in range(2)])
    assert (await counters(gateway))["lim_1_0"] == (0, 2 * 16_384)
    works.end([result(0), result(1)])
    await client.batches.retrieve("batch_1")
    await charged(gateway)


async def test_batch_whose_results_are_gone_is_charged_by_the_batchs_own_figures(
    gateway: RunningGateway, works: Works
) -> None:
    client = gateway.openai(await gateway.key())
    await begun(client, [line(0)])
    figures = {"input_tokens": 11, "output_tokens": 4, "total_tokens": 15}
    works.things["/batches/batch_1"] |= {"status": "completed", "output_file_id": "file-gone", "usage": figures}
    works.others["GET /files/file-gone/content"] = lambda _: compose(404, JSON, b"{}")
    await client.batches.retrieve("batch_1")
    row = await charged(gateway)
    assert (row.input_tokens, row.output_tokens, row.source) == (11, 4, "reported")


async def test_batch_whose_results_say_nothing_is_charged_by_our_count(gateway: RunningGateway, works: Works) -> None:
    client = gateway.openai(await gateway.key())
    await begun(client, [line(0)])
    works.end([{"custom_id": "0", "response": {"status_code": 200, "body": {}}, "error": None}])
    await client.batches.retrieve("batch_1")
    row = await charged(gateway)
    assert (row.input_tokens, row.output_tokens, row.source, row.succeeded) == (8, 0, "counted", 1)


async def test_batch_whose_results_cannot_be_read_now_is_not_shown_as_done(
    gateway: RunningGateway, works: Works
) -> None:
    client = gateway.openai(await gateway.key())
    await begun(client, [line(0)])
    works.end([result(0)])
    output = works.things["/batches/batch_1"]["output_file_id"]
    works.others[f"GET /files/{output}/content"] = lambda _: compose(500, JSON, b"{}")
    with pytest.raises(openai.InternalServerError) as refused:
        await client.batches.retrieve("batch_1")
    assert refused.value.status_code == 502
    assert await count(gateway, hold) == 1
    del works.others[f"GET /files/{output}/content"]
    await client.batches.retrieve("batch_1")
    assert (await charged(gateway)).input_tokens == 10


async def test_batch_that_takes_too_long_is_ended_and_charged_by_what_is_known(
    gateway: RunningGateway, works: Works
) -> None:
    client = gateway.openai(await gateway.key(limits=LIMITS))
    await begun(client, [line(0), line(1)])
    await gateway.change(lambda connection: connection.execute(update(job).values(ends_at_us=0)))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await count(gateway, job):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(LOOK_SECONDS)
    row = await charged(gateway)
    assert (row.requests, row.input_tokens, row.cost_nano_usd, row.source) == (2, 16, 2 * 8 * 75, "swept")
    assert works.things["/batches/batch_1"]["status"] == "cancelling"


async def test_batch_goes_where_its_file_is(sqlite_url: str, provider: Provider, tmp_path: Path, works: Works) -> None:
    def without_objects(main: Upstream) -> Upstream:
        return Upstream(main.name, main.provider, "http://127.0.0.1:1/v1", main.api_key, objects=False)

    spare = Upstream("spare", "openai", provider.base_url, "sk-spare-0123456789")
    catalog = CatalogSettings(upstreams=(spare,))
    async with running_gateway(sqlite_url, provider, tmp_path, upstream=without_objects, catalog=catalog) as gateway:
        client = gateway.openai(await gateway.key())
        await begun(client, [line(0)])
        works.end([result(0)])
        await client.batches.retrieve("batch_1")
        assert (await charged(gateway)).upstream == "spare"
