"""Messages with Anthropic's own client: nothing but its base URL is changed."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic.types import MessageParam, TextBlockParam, ThinkingConfigParam, ToolParam
from anthropic.types.beta import BetaMessageParam

from gateway.core.limits import Interval, Metric
from gateway.settings import CatalogSettings
from tests.anthropic_events import (
    CLAUDE,
    OVERLOADED,
    STOP,
    block_start,
    block_stop,
    claude,
    delta,
    message,
    message_delta,
    messages_body,
    start,
    stream,
    text_block,
    usage,
    words,
)
from tests.events import EVENT_STREAM, JSON
from tests.gateway import PROVIDER_KEY, RunningGateway, bearer, running_gateway
from tests.provider import Cut, Provider, compose

NO_THOUGHTS = {"type": "disabled"}
HI: list[MessageParam] = [{"role": "user", "content": "Hi"}]
WEATHER: ToolParam = {
    "name": "weather",
    "description": "The weather in a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
async def gateway(sqlite_url: str, provider: Provider, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A whole gateway in front of a scripted Anthropic."""
    async with running_gateway(sqlite_url, provider, tmp_path, upstream=claude) as running:
        yield running


@pytest.fixture
async def any_gateway_of_claude(database_url: str, provider: Provider, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """The same on each kind of database."""
    async with running_gateway(database_url, provider, tmp_path, upstream=claude) as running:
        yield running


@pytest.mark.parametrize("prefix", ["", "/claude", "/anthropic"])
async def test_message_is_answered_and_charged_what_the_provider_reported(gateway: RunningGateway, prefix: str) -> None:
    gateway.provider.answer(200, JSON, message(text_block("Hello"), usage=usage(11, 3)))
    client = gateway.anthropic(await gateway.key(), prefix)
    answer = await client.messages.create(model=CLAUDE, max_tokens=100, messages=HI)
    assert answer.content[0].type == "text" and answer.content[0].text == "Hello"
    sent = await gateway.provider.request()
    assert (sent.method, sent.path) == ("POST", "/v1/messages")
    assert sent.header("x-api-key") == PROVIDER_KEY and sent.header("authorization") is None
    assert sent.header("anthropic-version") is not None
    row = await gateway.charged()
    assert (row.operation, row.model, row.input_tokens, row.output_tokens) == ("messages", CLAUDE, 11, 3)
    assert (row.source, row.outcome, row.status) == ("reported", "completed", 200)
    assert row.cost_nano_usd == 11 * 3_000 + 3 * 15_000
    assert answer._request_id == row.request_id


async def test_stream_comes_back_byte_for_byte_and_its_end_waits_for_the_charge(gateway: RunningGateway) -> None:
    events = stream("Hel", "lo", written=7)
    gateway.provider.answer(200, EVENT_STREAM, events, framing="chunked")
    answer = await gateway.post(await gateway.key(), "/v1/messages", messages_body(stream=True))
    assert answer.content == b"".join(events)
    row = await gateway.charged()
    assert (row.input_tokens, row.output_tokens, row.source, row.outcome) == (10, 7, "reported", "completed")


async def test_stream_is_read_by_the_sdks_helper(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, EVENT_STREAM, stream("Hel", "lo", written=7), framing="chunked")
    client = gateway.anthropic(await gateway.key())
    async with client.messages.stream(model=CLAUDE, max_tokens=100, messages=HI) as events:
        said = [text async for text in events.text_stream]
        whole = await events.get_final_message()
    assert said == ["Hel", "lo"]
    assert (whole.usage.output_tokens, whole.stop_reason) == (7, "end_turn")


async def test_tools_are_called_in_parallel_and_their_results_go_back(gateway: RunningGateway) -> None:
    calls = [{"type": "tool_use", "id": f"toolu_{n}", "name": "weather", "input": {}} for n in (1, 2)]
    pieces = [(0, '{"city": '), (0, '"Bonn"}'), (1, '{"city": "Kiel"}')]
    inputs = [delta({"type": "input_json_delta", "partial_json": text}, index) for index, text in pieces]
    events = [start(), block_start(calls[0]), *inputs[:2], block_stop(), block_start(calls[1], 1), inputs[2]]
    events += [block_stop(1), message_delta(40, "tool_use"), STOP]
    gateway.provider.answer(200, EVENT_STREAM, events, framing="chunked")
    gateway.provider.answer(200, JSON, message())
    client = gateway.anthropic(await gateway.key())
    async with client.messages.stream(model=CLAUDE, max_tokens=100, messages=HI, tools=[WEATHER]) as streamed:
        asked = await streamed.get_final_message()
    assert [block.input for block in asked.content if block.type == "tool_use"] == [{"city": "Bonn"}, {"city": "Kiel"}]
    results: MessageParam = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": f"toolu_{n}", "content": "Rain"} for n in (1, 2)],
    }
    history: list[MessageParam] = [*HI, {"role": "assistant", "content": asked.content}, results]
    await client.messages.create(model=CLAUDE, max_tokens=100, messages=history, tools=[WEATHER])
    assert [row.output_tokens for row in await gateway.usage(2)] == [40, 5]


async def test_thinking_is_part_of_the_output_and_stands_on_the_ledger(gateway: RunningGateway) -> None:
    thought = {"type": "thinking", "thinking": "", "signature": ""}
    events = [start(), block_start(thought), delta({"type": "thinking_delta", "thinking": "Hm"})]
    events += [delta({"type": "signature_delta", "signature": "c2ln"}), block_stop(), block_start(text_block(""), 1)]
    events += [*words("Yes", index=1), block_stop(1)]
    events += [message_delta(50, output_tokens_details={"thinking_tokens": 44}), STOP]
    gateway.provider.answer(200, EVENT_STREAM, events, framing="chunked")
    client = gateway.anthropic(await gateway.key())
    thinking: ThinkingConfigParam = {"type": "enabled", "budget_tokens": 1_024}
    async with client.messages.stream(model=CLAUDE, max_tokens=2_000, messages=HI, thinking=thinking) as streamed:
        answer = await streamed.get_final_message()
    assert answer.content[0].type == "thinking" and answer.content[0].signature == "c2ln"
    row = await gateway.charged()
    assert (row.output_tokens, row.reasoning_tokens) == (50, 44)


async def test_error_of_the_provider_comes_through_as_it_is(gateway: RunningGateway) -> None:
    body = b'{"type":"error","error":{"type":"rate_limit_error","message":"Slow down"},"request_id":"req_9"}'
    gateway.provider.answer(429, {**JSON, "retry-after": "7", "request-id": "req_theirs"}, body)
    client = gateway.anthropic(await gateway.key())
    with pytest.raises(anthropic.RateLimitError) as raised:
        await client.messages.create(model=CLAUDE, max_tokens=100, messages=HI)
    assert raised.value.response.content == body and raised.value.response.headers["retry-after"] == "7"
    row = await gateway.charged()
    assert (row.input_tokens, row.status, row.upstream_request_id) == (0, 429, "req_theirs")
    assert raised.value.request_id == row.request_id


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (401, "authentication_error", "invalid x-api-key"),
        (402, "billing_error", "Payment failed"),
        (403, "permission_error", "Your API key does not have permission to use the specified resource"),
        (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
        (400, "invalid_request_error", "You have reached your specified API usage limits."),
    ],
)
async def test_error_about_our_own_account_is_not_the_callers(
    gateway: RunningGateway, status: int, kind: str, text: str
) -> None:
    body = json.dumps({"type": "error", "error": {"type": kind, "message": text}}).encode()
    gateway.provider.answer(status, JSON, body)
    client = gateway.anthropic(await gateway.key())
    with pytest.raises(anthropic.InternalServerError) as raised:
        await client.messages.create(model=CLAUDE, max_tokens=100, messages=HI)
    assert (raised.value.status_code, raised.value.type, raised.value.error_code) == (
        502, "api_error", "upstream_refused",
    )  # fmt: skip
    assert text not in raised.value.message


async def test_error_event_of_the_provider_passes_and_what_was_delivered_is_charged(gateway: RunningGateway) -> None:
    events = [start(), block_start(text_block("")), *words(*["word "] * 40), OVERLOADED]
    gateway.provider.answer(200, EVENT_STREAM, events, framing="chunked")
    client = gateway.anthropic(await gateway.key())
    with pytest.raises(anthropic.APIStatusError) as raised:
        async with client.messages.stream(model=CLAUDE, max_tokens=100, messages=HI) as streamed:
            await streamed.get_final_message()
    assert raised.value.type == "overloaded_error"
    row = await gateway.charged()
    assert row.input_tokens == 10 and 40 <= row.output_tokens <= 80
    assert (row.source, row.outcome) == ("counted", "upstream_failed")


async def test_stream_that_breaks_off_ends_with_an_error_event_of_ours(gateway: RunningGateway) -> None:
    whole = [start(), block_start(text_block("")), *words("Hello")]
    gateway.provider.answer(200, EVENT_STREAM, [*whole, b"event: content_blo", Cut.RESET], framing="chunked")
    answer = await gateway.post(await gateway.key(), "/v1/messages", messages_body(stream=True))
    assert answer.content.startswith(b"".join(whole))
    last = answer.content[len(b"".join(whole)) :]
    assert last.startswith(b"event: error\ndata: ") and last.endswith(b"\n\n")
    told = json.loads(last.split(b"data: ")[1])
    row = await gateway.charged()
    assert (told["error"]["type"], told["request_id"]) == ("api_error", row.request_id)
    assert row.outcome == "upstream_failed" and row.input_tokens == 10


async def leaves(gateway: RunningGateway, steps: list[Any], **fields: Any) -> None:
    """Read a stream until the word "world" has come, then hang up."""
    gateway.provider.answer(200, EVENT_STREAM, [*steps, Cut.HANG], framing="chunked")
    asked = messages_body(stream=True, **fields)
    key = await gateway.key()
    async with gateway.http.stream("POST", "/v1/messages", json=asked, headers=bearer(key)) as answer:
        async for chunk in answer.aiter_bytes():
            if b"world" in chunk or b"message_delta" in chunk:
                break
    await (await gateway.provider.request()).closed()


async def test_client_that_leaves_is_charged_what_was_delivered(gateway: RunningGateway) -> None:
    await leaves(gateway, [start(), block_start(text_block("")), *words("Hello ", "world")], thinking=NO_THOUGHTS)
    row = await gateway.charged()
    assert (row.outcome, row.source, row.input_tokens) == ("client_left", "counted", 10)
    assert 2 <= row.output_tokens <= 4


async def test_client_that_leaves_after_the_last_figures_is_charged_these(gateway: RunningGateway) -> None:
    said = [start(), block_start(text_block("")), *words("Hello ", *["long "] * 50), block_stop(), message_delta(3)]
    await leaves(gateway, said, thinking=NO_THOUGHTS)
    row = await gateway.charged()
    assert (row.outcome, row.source, row.output_tokens) == ("client_left", "reported", 3)


async def test_tokens_are_counted_by_the_provider_at_no_cost(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, JSON, b'{"input_tokens": 2095}')
    key = await gateway.key(limits=[(Metric.REQUESTS, Interval.DAY, 1), (Metric.COST, Interval.DAY, 1)])
    client = gateway.anthropic(key)
    counted = await client.messages.count_tokens(model=CLAUDE, messages=HI)
    assert counted.input_tokens == 2_095
    assert (await gateway.provider.request()).path == "/v1/messages/count_tokens"
    row = await gateway.charged()
    assert (row.operation, row.input_tokens, row.cost_nano_usd) == ("messages.count_tokens", 0, 0)
    with pytest.raises(anthropic.RateLimitError) as raised:
        await client.messages.count_tokens(model=CLAUDE, messages=HI)
    assert raised.value.error_code == "budget_exhausted"
    await gateway.audit()


async def test_beta_calls_reach_the_provider_with_their_query_and_headers(gateway: RunningGateway) -> None:
    gateway.provider.always(lambda _request: compose(200, JSON, message()))
    key = await gateway.key()
    for query in ("beta=true&key=secret", "a=b&beta=true"):
        await gateway.post(key, f"/v1/messages?{query}", messages_body(), **{"anthropic-beta": "context-1m-2025-08-07"})
        sent = await gateway.provider.request()
        assert (sent.path, sent.header("anthropic-beta")) == ("/v1/messages?beta=true", "context-1m-2025-08-07")
    said: BetaMessageParam = {"role": "user", "content": "Hi"}
    await gateway.anthropic(key).beta.messages.create(model=CLAUDE, max_tokens=9, messages=[said], betas=["some-beta"])
    assert (await gateway.provider.request()).header("anthropic-beta") == "some-beta"


async def test_version_is_told_where_the_client_tells_none(gateway: RunningGateway) -> None:
    gateway.provider.always(lambda _request: compose(200, JSON, message()))
    key = await gateway.key()
    await gateway.post(key, "/v1/messages", messages_body())
    assert (await gateway.provider.request()).header("anthropic-version") == "2023-06-01"
    await gateway.post(key, "/v1/messages", messages_body(), **{"anthropic-version": "2024-01-01"})
    assert (await gateway.provider.request()).header("anthropic-version") == "2024-01-01"


async def test_alias_is_called_by_its_name(sqlite_url: str, provider: Provider, tmp_path: Path) -> None:
    provider.always(lambda _request: compose(200, JSON, message()))
    catalog = CatalogSettings(aliases={"quick": CLAUDE})
    async with running_gateway(sqlite_url, provider, tmp_path, upstream=claude, catalog=catalog) as gateway:
        body = b'{"model":"quick","max_tokens":9,"messages":[{"role" :"user", "content":"Hi"}],"x":[1.0e0]}'
        assert (await gateway.post(await gateway.key(), "/v1/messages", body)).status_code == 200
        assert (await provider.request()).body == body.replace(b'"quick"', b'"%s"' % CLAUDE.encode())
        row = await gateway.charged()
        assert (row.model, row.requested_model) == (CLAUDE, "quick")


async def test_container_belongs_to_the_key_that_got_it(gateway: RunningGateway) -> None:
    container = {"id": "container_1", "expires_at": "2026-12-01T00:00:00Z"}
    gateway.provider.always(lambda _request: compose(200, JSON, message(container=container)))
    mine, theirs = await gateway.key(), await gateway.key()
    body = messages_body(container="container_1")
    assert (await gateway.post(mine, "/v1/messages", body)).status_code == 404
    assert (await gateway.post(mine, "/v1/messages", messages_body())).status_code == 200
    assert (await gateway.post(mine, "/v1/messages", body)).status_code == 200
    longer = messages_body(container={"id": "container_1", "skills": []})
    assert (await gateway.post(mine, "/v1/messages", longer)).status_code == 200
    refused = await gateway.post(theirs, "/v1/messages", body)
    error = refused.json()["error"]
    assert (refused.status_code, error["type"], error["details"]) == (
        404, "not_found_error", {"error_code": "not_found"},
    )  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_file_of_nobodys_or_of_another_is_not_found(gateway: RunningGateway, path: str) -> None:
    key = await gateway.key()
    sources = [
        {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "container_upload", "file_id": "file_1"},
        {
            "type": "tool_result",
            "tool_use_id": "toolu_1",
            "content": [{"type": "image", "source": {"type": "file", "file_id": "file_1"}}],
        },
    ]
    for source in sources:
        body = json.dumps(messages_body(messages=[{"role": "user", "content": [source]}])).encode()
        for sent in (body, body.replace(b"file_id", b"f\\u0069le_id")):
            assert (await gateway.post(key, path, sent)).status_code == 404
    assert (await gateway.post(key, path, messages_body(system=sources[1:2]))).status_code == 404
    assert gateway.provider.requests == []


HIDDEN = [
    '{"type":"document","source":{"type":"file","file_id":"file_1","file_id":"file_2"}}',
    '{"type":"document","source":{"type":"file","file_id":"file_1"},"source":{"type":"text","data":"Hi"}}',
    '{"type":"document","type":"code_execution_tool_result","source":{"type":"file","file_id":"file_1"}}',
]


@pytest.mark.parametrize("block", HIDDEN)
async def test_file_that_another_reader_could_see_is_not_found(gateway: RunningGateway, block: str) -> None:
    body = json.dumps(messages_body(messages=[{"role": "user", "content": ["BLOCK"]}])).replace('"BLOCK"', block)
    refused = await gateway.post(await gateway.key(), "/v1/messages", body.encode())
    assert refused.status_code == 404 and "`file_1`" in refused.json()["error"]["message"]
    twice = json.dumps(messages_body())[:-1] + ',"container":{"id":"container_1","id":null}}'
    assert (await gateway.post(await gateway.key(), "/v1/messages", twice.encode())).status_code == 404
    assert gateway.provider.requests == []


async def test_skill_of_the_accounts_own_is_not_found_and_anthropics_pass(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, JSON, message())
    key = await gateway.key()
    skill = {"type": "anthropic", "skill_id": "pptx", "version": "latest"}
    body = messages_body(container={"skills": [skill]})
    assert (await gateway.post(key, "/v1/messages", body)).status_code == 200
    body = messages_body(container={"skills": [skill, {"type": "custom", "skill_id": "skill_01", "version": "1"}]})
    refused = await gateway.post(key, "/v1/messages", body)
    assert refused.status_code == 404 and "`skill_01`" in refused.json()["error"]["message"]
    assert len(gateway.provider.requests) == 1


async def test_words_of_files_that_are_only_talked_about_are_let_be(gateway: RunningGateway) -> None:
    gateway.provider.always(lambda _request: compose(200, JSON, message()))
    called = {"type": "tool_use", "id": "toolu_1", "name": "open", "input": {"file_id": "mine"}}
    made = {"type": "code_execution_tool_result", "content": {"content": [{"file_id": "theirs"}]}}
    tool = {"name": "open", "input_schema": {"properties": {"file_id": {"type": "string"}}}}
    said = text_block('{"file_id": "file_1", "container": "container_1"}')
    turns = [{"role": "assistant", "content": [called, made]}, {"role": "user", "content": [said]}]
    answer = await gateway.post(await gateway.key(), "/v1/messages", messages_body(messages=turns, tools=[tool]))
    assert answer.status_code == 200


async def test_many_streams_at_once_with_tools_and_a_cached_prompt_are_each_charged_once(
    any_gateway_of_claude: RunningGateway,
) -> None:
    gateway = any_gateway_of_claude
    cache = {"cache_read_input_tokens": 20_000, "cache_creation_input_tokens": 500}
    opened = start(usage=usage(4, 1, **cache))
    made = [opened, block_start(text_block("")), *words(*["word "] * 200), block_stop(), message_delta(210), STOP]
    gateway.provider.always(lambda _request: compose(200, EVENT_STREAM, made, framing="chunked"))
    key = await gateway.key(limits=[(Metric.COST, Interval.DAY, 10**12), (Metric.TOKENS, Interval.DAY, 10**9)])
    client = gateway.anthropic(key)
    brief: TextBlockParam = {"type": "text", "text": "x" * 50_000, "cache_control": {"type": "ephemeral"}}

    async def one() -> int:
        async with client.messages.stream(
            model=CLAUDE, max_tokens=8_000, messages=HI, system=[brief], tools=[WEATHER]
        ) as streamed:
            return (await streamed.get_final_message()).usage.output_tokens

    assert await asyncio.gather(*(one() for _ in range(30))) == [210] * 30
    rows = await gateway.usage(30)
    assert {(row.input_tokens, row.cached_tokens, row.output_tokens) for row in rows} == {(20_504, 20_000, 210)}
    await gateway.audit()
