"""Tools that OpenAI runs for a response: what each costs beside tokens is charged, or refused where nobody tells it."""

import json
from typing import Any

import pytest

from gateway.core.limits import Interval, Metric
from tests.events import EVENT_STREAM, JSON, event, response, response_events
from tests.gateway import MODEL, RunningGateway, chat_body
from tests.provider import Cut, Step, compose


def search(kind: str = "search") -> dict[str, Any]:
    return {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": kind, "query": "x"}}


@pytest.mark.parametrize("streams", [True, False])
async def test_searches_of_the_web_are_charged_one_by_one(gateway: RunningGateway, streams: bool) -> None:
    whole = response()
    whole["output"] = [search(), search("open_page"), search(), *whole["output"]]
    if streams:
        last = event({"type": "response.completed", "response": whole}, "response.completed")
        gateway.provider.answer(200, EVENT_STREAM, [*response_events()[:-1], last], framing="chunked")
    else:
        gateway.provider.answer(200, JSON, json.dumps(whole).encode())
    asked = {"model": MODEL, "input": "Hi", "tools": [{"type": "web_search"}], "stream": streams}
    key = await gateway.key(limits=[(Metric.COST, Interval.DAY, 10**9)])
    assert (await gateway.post(key, "/v1/responses", asked)).status_code == 200
    row = await gateway.charged()
    assert row.cost_nano_usd == 12 * 150 + 7 * 600 + 2 * 10_000_000


@pytest.mark.parametrize("ends", [True, False])
async def test_searches_of_a_stream_are_charged_whether_its_end_comes_or_not(
    gateway: RunningGateway, ends: bool
) -> None:
    *begun, last = response_events()
    found = [search(), search("open_page"), search()]
    events = [
        event({"type": f"response.output_item.{when}", "output_index": n, "item": item}, f"response.output_item.{when}")
        for n, item in enumerate(found)
        for when in ("added", "done")
    ]
    whole = response()
    whole["output"] = [*found, *whole["output"]]
    last = event({"type": "response.completed", "response": whole}, "response.completed")
    sent: list[Step] = [*begun, *events, last if ends else Cut.CLOSE]
    gateway.provider.answer(200, EVENT_STREAM, sent, framing="chunked")
    asked = {"model": MODEL, "input": "Hi", "tools": [{"type": "web_search"}], "stream": True}
    await gateway.post(await gateway.key(), "/v1/responses", asked)
    row = await gateway.charged()
    assert row.source == ("reported" if ends else "counted")
    assert row.cost_nano_usd == row.input_tokens * 150 + row.output_tokens * 600 + 2 * 10_000_000
    assert row.input_tokens > 0 and row.output_tokens > 0


async def test_searches_that_may_be_made_are_held(gateway: RunningGateway) -> None:
    # 0.04 USD pays for a full context window and 100 tokens, which is 0.02, and two searches, not for five.
    key = await gateway.key(limits=[(Metric.COST, Interval.DAY, 40_000_000)])
    asked = {"model": MODEL, "input": "Hi", "tools": [{"type": "web_search"}], "max_output_tokens": 100}
    refused = await gateway.post(key, "/v1/responses", asked)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_exhausted")
    gateway.provider.answer(200, JSON, json.dumps(response()).encode())
    assert (await gateway.post(key, "/v1/responses", asked | {"max_tool_calls": 2})).status_code == 200


UNTOLD: list[tuple[str, dict[str, Any]]] = [
    *(
        ("/v1/responses", {"input": "Hi", "tools": [{"type": tool}]})
        for tool in ("file_search", "code_interpreter", "image_generation", "shell", "of_next_year")
    ),
    ("/v1/chat/completions", chat_body(web_search_options={})),
    ("/v1/chat/completions", chat_body(model="gpt-4o-mini-search-preview")),
]


@pytest.mark.parametrize(("path", "body"), UNTOLD)
async def test_tool_whose_cost_no_answer_tells_is_refused_to_keys_with_a_cost_limit(
    gateway: RunningGateway, path: str, body: dict[str, Any]
) -> None:
    limited = await gateway.key(limits=[(Metric.COST, Interval.DAY, 10**12)])
    refused = await gateway.post(limited, path, {"model": MODEL, **body})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "route_not_priced")
    gateway.provider.always(lambda _: compose(200, JSON, b"{}"))
    free = await gateway.key(limits=[(Metric.TOKENS, Interval.DAY, 10**12)])
    assert (await gateway.post(free, path, {"model": MODEL, **body})).status_code == 200


@pytest.mark.parametrize("tool", ["mcp", "computer_use_preview", "local_shell", "function", "custom"])
async def test_tool_that_costs_only_its_tokens_is_open_to_keys_with_a_cost_limit(
    gateway: RunningGateway, tool: str
) -> None:
    gateway.provider.answer(200, JSON, json.dumps(response()).encode())
    limited = await gateway.key(limits=[(Metric.COST, Interval.DAY, 10**12)])
    asked = {"model": MODEL, "input": "Hi", "tools": [{"type": tool}]}
    assert (await gateway.post(limited, "/v1/responses", asked)).status_code == 200
