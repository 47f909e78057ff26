"""Batches that are refused before they are sent: bad lines, no room in a budget, or what is somebody else's."""

from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.core.limits import Interval, Metric
from gateway.settings import CatalogSettings
from tests.batching import CHAT, Works, begun, jsonl, line, uploaded
from tests.gateway import MODEL, RunningGateway, bearer, running_gateway
from tests.provider import Provider


@pytest.fixture
def works(provider: Provider) -> Works:
    made = Works()
    provider.always(made)
    return made


@pytest.mark.parametrize("limit", [(Metric.REQUESTS, Interval.DAY, 2), (Metric.TOKENS, Interval.MONTH, 300)])
async def test_batch_that_does_not_fit_a_budget_is_not_sent(
    any_gateway: RunningGateway, works: Works, limit: Any
) -> None:
    client = any_gateway.openai(await any_gateway.key(limits=[limit]))
    file = await uploaded(client, [line(number) for number in range(3)])
    with pytest.raises(openai.RateLimitError) as refused:
        await client.batches.create(input_file_id=file, endpoint=CHAT, completion_window="24h")
    assert refused.value.code in ("budget_exhausted", "budget_held")
    assert "POST /batches" not in works.asked
    await any_gateway.audit()


async def test_batch_whose_lines_cost_what_nobody_tells_is_refused_to_keys_with_a_cost_limit(
    gateway: RunningGateway, works: Works
) -> None:
    client = gateway.openai(await gateway.key(limits=[(Metric.COST, Interval.DAY, 10**12)]))
    file = await uploaded(client, [line(0), line(1, web_search_options={}), line(2)])
    with pytest.raises(openai.PermissionDeniedError) as refused:
        await client.batches.create(input_file_id=file, endpoint=CHAT, completion_window="24h")
    assert refused.value.code == "route_not_priced"
    assert "POST /batches" not in works.asked


BAD_FILES: list[tuple[list[Any], str]] = [
    ([], "no lines"),
    ([line(0), {**line(1), "url": "/v1/embeddings"}], "Line 2"),
    ([{**line(0), "method": "GET"}], "Line 1"),
    ([{"custom_id": "0"}], "Line 1"),
    ([line(0), line(1, model="gpt-4o")], "gpt-4o"),
    ([line(0, max_tokens=-1)], "Line 1"),
    ([line(0, stream=True)], "Line 1"),
    ([line(0, model="fast")], "gpt-4o-mini"),
]


async def test_batch_of_bad_lines_is_refused_before_it_is_sent_and_names_the_line(
    sqlite_url: str, provider: Provider, tmp_path: Path, works: Works
) -> None:
    catalog = CatalogSettings(aliases={"fast": MODEL})
    async with running_gateway(sqlite_url, provider, tmp_path, catalog=catalog) as gateway:
        client = gateway.openai(await gateway.key())
        for lines, said in BAD_FILES:
            file = await uploaded(client, lines)
            with pytest.raises(openai.BadRequestError) as refused:
                await client.batches.create(input_file_id=file, endpoint=CHAT, completion_window="24h")
            assert said in str(refused.value) and refused.value.param == "input_file_id", lines
        torn = (await client.files.create(file=("in.jsonl", jsonl([line(0)]) + b'{"custom'), purpose="batch")).id
        with pytest.raises(openai.BadRequestError, match="Line 2"):
            await client.batches.create(input_file_id=torn, endpoint=CHAT, completion_window="24h")
        with pytest.raises(openai.BadRequestError, match="endpoint"):
            await client.batches.create(input_file_id=torn, endpoint="/v1/videos", completion_window="24h")
        assert "POST /batches" not in works.asked
        await gateway.audit()


async def test_batch_of_a_model_that_the_key_may_not_call_is_refused(gateway: RunningGateway, works: Works) -> None:
    client = gateway.openai(await gateway.key(models=["gpt-4.1*"]))
    file = await uploaded(client, [line(0)])
    with pytest.raises(openai.PermissionDeniedError) as refused:
        await client.batches.create(input_file_id=file, endpoint=CHAT, completion_window="24h")
    assert refused.value.code == "model_not_allowed"
    assert "POST /batches" not in works.asked


async def test_batch_and_what_its_lines_name_must_be_ones_own(any_gateway: RunningGateway, works: Works) -> None:
    theirs = any_gateway.openai(await any_gateway.key())
    file = await uploaded(theirs, [line(0)])
    await begun(theirs, [line(0)])
    key = await any_gateway.key()
    other = any_gateway.openai(key)
    content = [{"type": "file", "file": {"file_id": file}}]
    naming = await uploaded(other, [line(0), line(1, messages=[{"role": "user", "content": content}])])
    for named in (file, naming, "file-unknown"):
        with pytest.raises(openai.NotFoundError) as raised:
            await other.batches.create(input_file_id=named, endpoint=CHAT, completion_window="24h")
        assert raised.value.code == "not_found"
    for act in (other.batches.retrieve, other.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            await act("batch_1")
    assert [batch async for batch in await other.batches.list()] == []
    beyond = await any_gateway.http.get("/v1/batches?after=batch_1", headers=bearer(key))
    assert beyond.status_code == 400
    assert works.asked.count("POST /batches") == 1
