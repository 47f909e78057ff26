"""Background responses: their hold stays until somebody has heard how they ended, and they are charged once."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from sqlalchemy import func, select, update

from gateway.core.estimates import FIRST_EXPECTATION_TOKENS
from gateway.core.limits import Interval, Metric
from gateway.proxy.follow import LOOKS_BEFORE_GONE
from gateway.store import provider_objects
from gateway.store.engine import Connection
from gateway.store.holds import hold
from gateway.store.jobs import job
from gateway.store.limits import counter
from tests.events import EVENT_STREAM, JSON, response, response_events
from tests.gateway import LOOK_SECONDS, MODEL, RunningGateway, running_gateway
from tests.patience import PATIENCE_SECONDS
from tests.provider import Cut, Provider, Request, Step, compose

STATUSES = {"gone": 404, "broken": 500}
"""What is answered to a look at such a state; any other is shown."""


@dataclass
class Work:
    """A provider's background responses: each goes through `states` as it is looked at, and stays in the last."""

    states: Sequence[str] = ("queued",)
    cancelled: dict[str, Any] = field(default_factory=lambda: response(status="cancelled"))
    looks: int = 0
    stream: Sequence[Step] = ()
    is_cancelled: bool = False

    def __call__(self, request: Request) -> list[Step]:
        match request.method, request.path.partition("?")[0]:
            case "POST", "/v1/responses":
                if request.json().get("stream"):
                    return compose(200, EVENT_STREAM, self.stream, framing="chunked")
                return self._answer(response(status="queued", background=True))
            case "GET", "/v1/responses/resp_1" if "stream=true" in request.path:
                return compose(200, EVENT_STREAM, self.stream, framing="chunked")
            case "GET", "/v1/responses/resp_1" if self.is_cancelled:
                return self._answer(self.cancelled)
            case "GET", "/v1/responses/resp_1":
                state = self.states[min(self.looks, len(self.states) - 1)]
                self.looks += 1
                if state in STATUSES:
                    return compose(STATUSES[state], JSON, b"{}")
                return self._answer(response(status=state))
            case "POST", "/v1/responses/resp_1/cancel":
                self.is_cancelled = True
                return self._answer(self.cancelled)
            case "DELETE", "/v1/responses/resp_1":
                return self._answer({"id": "resp_1", "object": "response", "deleted": True})
        raise AssertionError(request)

    @staticmethod
    def _answer(body: dict[str, Any]) -> list[Step]:
        return compose(200, JSON, json.dumps(body).encode())


async def begun(gateway: RunningGateway, work: Work, **limits: Any) -> AsyncOpenAI:
    """Have a response begin in the background; return its owner's client."""
    gateway.provider.always(work)
    client = gateway.openai(await gateway.key(**limits))
    made = await client.responses.create(model=MODEL, input="Hi", background=True)
    assert (made.id, made.status) == ("resp_1", "queued")
    return client


async def count(gateway: RunningGateway, table: Any) -> int:
    return await gateway.database.read(
        lambda connection: connection.execute(select(func.count()).select_from(table)).scalar_one()
    )


async def counters(gateway: RunningGateway) -> dict[str, tuple[int, int]]:
    """What each limit's counter has used and held."""

    def read(connection: Connection) -> dict[str, tuple[int, int]]:
        return {row.limit_id: (row.used, row.held) for row in connection.execute(select(counter))}

    return await gateway.database.read(read)


async def shown(gateway: RunningGateway, line: str) -> None:
    """Return once this line stands in the metrics."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while line not in (await gateway.http.get("/metrics")).text.splitlines():  # noqa: ASYNC110 - as above
            await asyncio.sleep(LOOK_SECONDS)


def paths(provider: Provider) -> list[str]:
    return [f"{request.method} {request.path.removeprefix('/v1/responses')}" for request in provider.requests]


async def settled(gateway: RunningGateway) -> Any:
    """The one row of the response, which is charged already; every counter adds up and no job is left."""
    await gateway.audit()  # a commit that took too long is in the spool first
    rows = [row for row in await gateway.usage() if row.operation == "responses"]
    assert len(rows) == 1
    assert await count(gateway, job) == 0
    return rows[0]


async def settled_in_time(gateway: RunningGateway) -> Any:
    """The same once the gateway itself has looked."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await count(gateway, job):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(LOOK_SECONDS)
    return await settled(gateway)


LIMITS = [(Metric.TOKENS, Interval.DAY, 100_000), (Metric.CONCURRENCY, None, 1), (Metric.COST, Interval.MONTH, 10**9)]


async def test_background_response_holds_its_limits_until_the_gateway_hears_of_its_end(
    any_gateway: RunningGateway,
) -> None:
    work = Work(("queued", "in_progress"))
    client = await begun(any_gateway, work, limits=LIMITS)
    assert await count(any_gateway, hold) == 1 and await any_gateway.usage() == []
    held = await counters(any_gateway)
    assert held["lim_1_0"][1] > 1_000 and held["lim_1_1"] == (0, 1) and held["lim_1_2"][1] > 1_000_000
    with pytest.raises(openai.RateLimitError):
        await client.responses.create(model=MODEL, input="Hi")
    await shown(any_gateway, "gateway_jobs_open 1.0")
    work.states = ("completed",)
    row = await settled_in_time(any_gateway)
    await shown(any_gateway, "gateway_jobs_open 0.0")
    assert (row.input_tokens, row.output_tokens, row.source, row.outcome) == (12, 7, "reported", "completed")
    assert (row.requests, row.succeeded, row.status, row.cost_nano_usd) == (1, 1, 200, 6_000)
    used = await counters(any_gateway)
    assert (used["lim_1_0"], used["lim_1_1"], used["lim_1_2"]) == ((19, 0), (0, 0), (6_000, 0))


@pytest.mark.parametrize("sees", [True, False], ids=["its owner looks", "nobody looks"])
async def test_background_response_that_fails_is_no_completed_call(any_gateway: RunningGateway, sees: bool) -> None:
    work = Work(("in_progress", "failed"))
    client = await begun(any_gateway, work)
    if sees:
        while (await client.responses.retrieve("resp_1")).status != "failed":
            pass
    row = await settled_in_time(any_gateway)
    assert (row.source, row.outcome, row.succeeded) == ("counted", "upstream_failed", 1)


async def test_background_response_is_charged_when_its_owner_sees_the_end(any_gateway: RunningGateway) -> None:
    client = await begun(any_gateway, Work(("in_progress", "completed")))
    while (await client.responses.retrieve("resp_1")).status != "completed":
        pass
    row = await settled(any_gateway)
    assert (row.input_tokens, row.output_tokens, row.source) == (12, 7, "reported")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await any_gateway.database.read(
            lambda connection: provider_objects.owned(connection, ["msg_1"], "key_1")
        ):
            pass


async def test_background_stream_that_is_read_to_its_end_is_charged_by_it(any_gateway: RunningGateway) -> None:
    any_gateway.provider.always(Work(stream=response_events()))
    client = any_gateway.openai(await any_gateway.key())
    stream = await client.responses.create(model=MODEL, input="Hi", background=True, stream=True)
    assert [event.type async for event in stream][-1] == "response.completed"
    row = await settled(any_gateway)
    assert (row.input_tokens, row.output_tokens, row.source) == (12, 7, "reported")
    assert paths(any_gateway.provider) == ["POST "]


@pytest.mark.parametrize("end", [Cut.RESET, Cut.CLOSE])
async def test_background_stream_that_breaks_goes_on_and_is_charged_to_the_token(
    any_gateway: RunningGateway, end: Cut
) -> None:
    any_gateway.provider.always(Work(("completed",), stream=[*response_events()[:5], end]))
    client = any_gateway.openai(await any_gateway.key())
    stream = await client.responses.create(model=MODEL, input="Hi", background=True, stream=True)
    with pytest.raises(openai.APIError):
        assert [event async for event in stream]
    row = await settled_in_time(any_gateway)
    assert (row.input_tokens, row.output_tokens, row.source) == (12, 7, "reported")


async def test_background_stream_is_noted_before_its_client_sees_anything(gateway: RunningGateway) -> None:
    held = asyncio.Event()
    events = response_events()
    gateway.provider.always(Work(stream=[*events[:4], held, *events[4:]]))
    client = gateway.openai(await gateway.key())
    stream = await client.responses.create(model=MODEL, input="Hi", background=True, stream=True)
    assert (await anext(aiter(stream))).type == "response.created"
    assert await count(gateway, job) == 1
    held.set()
    await stream.close()
    assert (await settled_in_time(gateway)).output_tokens == 7


async def test_background_stream_can_be_taken_up_again_and_is_charged_at_its_end(gateway: RunningGateway) -> None:
    client = await begun(gateway, Work(("in_progress",), stream=response_events()[3:]))
    stream = await client.responses.retrieve("resp_1", stream=True, starting_after=3)
    assert [event.type async for event in stream][-1] == "response.completed"
    row = await settled(gateway)
    assert (row.input_tokens, row.output_tokens, row.source) == (12, 7, "reported")


async def test_background_response_that_its_owner_cancels_is_charged_what_is_known(any_gateway: RunningGateway) -> None:
    client = await begun(any_gateway, Work(("in_progress",)))
    assert (await client.responses.cancel("resp_1")).status == "cancelled"
    row = await settled(any_gateway)
    assert (row.input_tokens, row.output_tokens, row.source) == (8, 0, "counted")


@pytest.mark.parametrize(("cap", "charged"), [(None, FIRST_EXPECTATION_TOKENS), (100, 100)])
async def test_thoughts_of_a_background_response_that_is_cancelled_are_charged_as_on_average(
    any_gateway: RunningGateway, cap: int | None, charged: int
) -> None:
    any_gateway.provider.always(Work(("in_progress",)))
    client = any_gateway.openai(await any_gateway.key())
    await client.responses.create(model="o3", input="Hi", background=True, max_output_tokens=cap)
    assert (await client.responses.cancel("resp_1")).status == "cancelled"
    row = await settled(any_gateway)
    assert (row.output_tokens, row.source, row.outcome) == (charged, "counted", "completed")


async def test_background_response_that_is_deleted_while_it_runs_is_cancelled_and_charged_first(
    any_gateway: RunningGateway,
) -> None:
    partial = response(status="cancelled") | {"output": response(text="Hello there")["output"]}
    client = await begun(any_gateway, Work(("in_progress",), cancelled=partial))
    await client.responses.delete("resp_1")
    asked = [path for path in paths(any_gateway.provider) if path != "GET /resp_1"]
    assert asked == ["POST ", "POST /resp_1/cancel", "DELETE /resp_1"]
    row = await settled(any_gateway)
    assert (row.input_tokens, row.output_tokens, row.source) == (8, 2, "counted")


async def test_background_response_that_is_deleted_when_done_is_charged_first(any_gateway: RunningGateway) -> None:
    client = await begun(any_gateway, Work(("completed",)))
    await client.responses.delete("resp_1")
    row = await settled(any_gateway)
    assert (row.input_tokens, row.output_tokens, row.source) == (12, 7, "reported")
    assert "POST /resp_1/cancel" not in paths(any_gateway.provider)


async def test_background_response_that_cannot_be_asked_about_is_not_deleted(gateway: RunningGateway) -> None:
    work = Work(("broken",))
    client = await begun(gateway, work)
    with pytest.raises(openai.APIStatusError) as refused:
        await client.responses.delete("resp_1")
    assert refused.value.status_code == 502
    assert "DELETE /resp_1" not in paths(gateway.provider)
    assert await count(gateway, hold) == 1
    work.states = ("in_progress",)
    await client.responses.delete("resp_1")
    await settled(gateway)


async def test_background_response_that_takes_too_long_is_ended_and_charged_by_what_is_known(
    database_url: str, provider: Provider, tmp_path: Path
) -> None:
    async with running_gateway(database_url, provider, tmp_path, job_seconds=0.0) as gateway:
        await begun(gateway, Work(("in_progress",)))
        row = await settled_in_time(gateway)
        assert (row.input_tokens, row.output_tokens, row.source) == (8, 0, "counted")
        assert paths(provider)[-1] == "POST /resp_1/cancel"


async def test_background_response_of_a_provider_that_never_answers_again_is_swept_by_policy(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    async with running_gateway(sqlite_url, provider, tmp_path, job_seconds=0.0) as gateway:
        await begun(gateway, Work(("in_progress",)))
        provider.always(lambda _: compose(500, JSON, b"{}"))
        row = await settled_in_time(gateway)
        assert (row.input_tokens, row.output_tokens, row.source, row.outcome) == (8, 0, "swept", "upstream_failed")


async def test_background_response_outlives_the_process_that_began_it(
    database_url: str, provider: Provider, tmp_path: Path
) -> None:
    work = Work(("in_progress",))
    async with running_gateway(database_url, provider, tmp_path) as first:
        await begun(first, work, limits=LIMITS)
        await first.change(lambda connection: connection.execute(update(hold).values(owner="dead")))
    work.states = ("completed",)
    async with running_gateway(database_url, provider, tmp_path) as second:
        row = await settled_in_time(second)
        assert (row.input_tokens, row.output_tokens, row.source) == (12, 7, "reported")
        assert (await counters(second))["lim_1_0"] == (19, 0)


async def test_background_response_that_the_provider_has_lost_is_charged_by_our_count(gateway: RunningGateway) -> None:
    await begun(gateway, Work(("gone",)))
    await gateway.change(lambda connection: connection.execute(update(job).values(looks=LOOKS_BEFORE_GONE)))
    row = await settled_in_time(gateway)
    assert (row.input_tokens, row.output_tokens, row.source) == (8, 0, "counted")


async def test_background_response_that_is_not_stored_is_refused(gateway: RunningGateway) -> None:
    client = gateway.openai(await gateway.key())
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model=MODEL, input="Hi", background=True, store=False)
    assert refused.value.param == "store"


async def test_background_response_whose_client_left_before_its_name_came_is_followed_all_the_same(
    gateway: RunningGateway,
) -> None:
    named = asyncio.Event()
    body = json.dumps(response(status="queued")).encode()
    gateway.provider.always(Work(("completed",)))
    gateway.provider.answer(200, JSON, [named, body])
    client = gateway.openai(await gateway.key())
    leaving = asyncio.create_task(client.responses.create(model=MODEL, input="Hi", background=True))
    await gateway.provider.request()
    leaving.cancel()
    await asyncio.wait({leaving}, timeout=PATIENCE_SECONDS)
    named.set()
    assert (await settled_in_time(gateway)).output_tokens == 7


async def test_background_response_of_another_key_cannot_be_ended_by_looking(gateway: RunningGateway) -> None:
    await begun(gateway, Work(("in_progress",)))
    other = gateway.openai(await gateway.key())
    for act in (other.responses.retrieve, other.responses.cancel, other.responses.delete):
        with pytest.raises(openai.NotFoundError):
            await act("resp_1")
    assert await count(gateway, hold) == 1
    gateway.provider.always(Work(("completed",)))
    await settled_in_time(gateway)


@pytest.mark.parametrize("name", ["../files", "resp_1\0", "r" * 200, ""])
async def test_background_response_that_nobody_could_ask_about_is_charged_at_once(
    gateway: RunningGateway, name: str
) -> None:
    key = await gateway.key()
    plain = json.dumps(response(name, status="queued")).encode()
    gateway.provider.answer(200, JSON, plain)
    gateway.provider.answer(200, EVENT_STREAM, [*response_events(name)[:4], Cut.RESET], framing="chunked")
    for stream in (False, True):
        await gateway.post(key, "/v1/responses", {"model": MODEL, "input": "Hi", "background": True, "stream": stream})
    rows = await gateway.usage(2)
    assert [(row.input_tokens, row.source) for row in rows] == [(8, "counted")] * 2
    assert await count(gateway, job) == 0
    await gateway.audit()
