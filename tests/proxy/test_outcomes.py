"""What each way of ending is charged, and that nothing stays held after any of them. Design: the ledger, "Outcomes"."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.core.limits import Interval, Metric
from gateway.core.upstreams import Upstream
from tests.events import (
    DONE,
    EVENT_STREAM,
    JSON,
    chunk,
    completion,
    event,
    response,
    response_events,
    usage_chunk,
)
from tests.gateway import LimitSpec, RunningGateway, UsageRow, bearer, chat_body, running_gateway
from tests.patience import PATIENCE_SECONDS
from tests.provider import Cut, Provider, Request, Step

LIMITS = [(Metric.REQUESTS, Interval.DAY, 100), (Metric.COST, Interval.DAY, 10**9), (Metric.CONCURRENCY, None, 5)]
HI_TOKENS = 8
WORDS = [chunk("one"), chunk(" two"), chunk(" three")]


def figures(row: UsageRow) -> tuple[Any, ...]:
    return row.outcome, row.source, row.requests, row.succeeded, row.input_tokens, row.output_tokens


class Leaver:
    """A client on a raw connection that can hang up at any moment."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def until(self, words: bytes) -> None:
        """Read until these words have come."""
        await asyncio.wait_for(self.reader.readuntil(words), PATIENCE_SECONDS)

    def leave(self) -> None:
        self.writer.transport.abort()


async def leaver(
    gateway: RunningGateway,
    path: str = "/v1/chat/completions",
    limits: Sequence[LimitSpec] = LIMITS,
    **fields: Any,
) -> Leaver:
    """Send a call on a connection of its own."""
    key = await gateway.key(limits=limits)
    body = json.dumps(chat_body(**fields)).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {len(body)}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(head.encode() + body)
    return Leaver(reader, writer)


async def closed_promptly(request: Request) -> None:
    await asyncio.wait_for(request.closed(), PATIENCE_SECONDS)


async def test_call_that_cannot_be_sent_is_charged_nothing(
    database_url: str, provider: Provider, tmp_path: Path
) -> None:
    def nowhere(main: Upstream) -> Upstream:
        return Upstream(main.name, main.provider, "http://127.0.0.1:1/v1", main.api_key)

    async with running_gateway(database_url, provider, tmp_path, upstream=nowhere) as gateway:
        answer = await gateway.chat(await gateway.key(limits=LIMITS))
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_unreachable")
        assert figures(await gateway.charged()) == ("upstream_failed", "reported", 0, 0, 0, 0)
        await gateway.audit()


async def test_call_that_the_provider_refuses_is_a_request_without_tokens(gateway: RunningGateway) -> None:
    body = b'{"error":{"message":"No.","type":"t","param":null,"code":429},"user_id":"u"}'
    headers = JSON | {"retry-after": "7", "x-ratelimit-remaining-requests": "0", "x-should-retry": "true"}
    for status in (400, 404, 409, 422, 429, 500, 503, 529):
        gateway.provider.answer(status, headers, body)
        answer = await gateway.chat(await gateway.key(limits=LIMITS))
        assert (answer.status_code, answer.content) == (status, body)
        assert answer.headers["retry-after"] == "7" and answer.headers["x-ratelimit-remaining-requests"] == "99"
    for row in await gateway.usage():
        assert figures(row) == ("upstream_failed", "reported", 1, 0, 0, 0)
    await gateway.audit()


async def test_call_refused_for_our_own_account_is_a_bad_gateway(gateway: RunningGateway) -> None:
    errors: list[tuple[int, dict[str, str]]] = [
        (401, {"message": "Incorrect API key provided: sk-provi***.", "code": "invalid_api_key"}),
        (402, {"message": "Pay."}),
        (403, {"message": "Your API key does not have permission for this."}),
        (429, {"message": "You exceeded your current quota.", "type": "insufficient_quota", "code": "x"}),
        (429, {"message": "Pay.", "type": "insufficient_quota", "code": "credit_balance_exhausted"}),
    ]
    for status, error in errors:
        gateway.provider.answer(status, JSON, json.dumps({"error": error}).encode())
        answer = await gateway.chat(await gateway.key(limits=LIMITS))
        told = answer.json()["error"]
        assert (answer.status_code, told["code"]) == (502, "upstream_refused") and "key is fine" in told["message"]
        assert "sk-provi" not in answer.text
    for row in await gateway.usage():
        assert figures(row) == ("upstream_failed", "reported", 1, 0, 0, 0)
    await gateway.audit()


async def test_call_refused_for_its_content_passes_unchanged(gateway: RunningGateway) -> None:
    body = b'{"error":{"message":"This content is not allowed."}}'
    gateway.provider.answer(403, JSON, body)
    answer = await gateway.chat(await gateway.key())
    assert (answer.status_code, answer.content) == (403, body)


async def test_redirect_is_not_followed(gateway: RunningGateway) -> None:
    gateway.provider.answer(307, {"location": "http://127.0.0.1:1/elsewhere"})
    answer = await gateway.chat(await gateway.key(limits=LIMITS))
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_refused")
    assert "location" not in answer.headers
    assert figures(await gateway.charged()) == ("upstream_failed", "reported", 1, 0, 0, 0)


async def test_status_that_http_does_not_have_is_an_upstream_error(gateway: RunningGateway) -> None:
    gateway.provider.answer(999, JSON, b"{}")
    answer = await gateway.chat(await gateway.key(limits=LIMITS))
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_broken")
    assert figures(await gateway.charged()) == ("upstream_failed", "reported", 1, 0, 0, 0)


async def test_error_larger_than_what_is_kept_reaches_the_client_whole(gateway: RunningGateway) -> None:
    body = b"x" * (17 * 1024 * 1024)
    gateway.provider.answer(500, {"content-type": "text/plain"}, body)
    answer = await gateway.chat(await gateway.key(limits=LIMITS))
    assert (answer.status_code, answer.content) == (500, body)
    assert figures(await gateway.charged()) == ("upstream_failed", "reported", 1, 0, 0, 0)


async def test_call_that_is_never_answered_is_charged_its_prompt(any_gateway: RunningGateway) -> None:
    any_gateway.provider.raw(Cut.CLOSE)
    answer = await any_gateway.chat(await any_gateway.key(limits=LIMITS))
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_unreachable")
    assert figures(await any_gateway.charged()) == ("upstream_failed", "counted", 1, 0, HI_TOKENS, 0)
    await any_gateway.audit()


async def test_call_whose_first_byte_is_late_is_a_timeout(sqlite_url: str, provider: Provider, tmp_path: Path) -> None:
    def impatient(main: Upstream) -> Upstream:
        return Upstream(main.name, main.provider, main.base_url, main.api_key, first_byte_seconds=0.05)

    provider.raw(Cut.HANG)
    async with running_gateway(sqlite_url, provider, tmp_path, upstream=impatient) as gateway:
        answer = await gateway.chat(await gateway.key(limits=LIMITS))
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "upstream_timeout")
        assert figures(await gateway.charged()) == ("upstream_failed", "counted", 1, 0, HI_TOKENS, 0)
        await gateway.audit()


async def test_stream_that_falls_silent_is_ended_with_an_error(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    def impatient(main: Upstream) -> Upstream:
        return Upstream(main.name, main.provider, main.base_url, main.api_key, idle_seconds=2.0)

    provider.answer(200, EVENT_STREAM, [*WORDS, Cut.HANG], framing="chunked")
    async with running_gateway(sqlite_url, provider, tmp_path, upstream=impatient) as gateway:
        answer = await gateway.chat(await gateway.key(limits=LIMITS), stream=True)
        assert b"upstream_timeout" in answer.content and b"[DONE]" not in answer.content
        assert figures(await gateway.charged()) == ("upstream_failed", "counted", 1, 1, HI_TOKENS, 3)


async def test_client_that_leaves_before_the_answer_is_charged_the_prompt(any_gateway: RunningGateway) -> None:
    any_gateway.provider.raw(Cut.HANG)
    client = await leaver(any_gateway)
    request = await any_gateway.provider.request()
    client.leave()
    await closed_promptly(request)
    assert figures(await any_gateway.charged()) == ("client_left", "counted", 1, 0, HI_TOKENS, 0)
    await any_gateway.audit()


async def test_client_that_leaves_mid_stream_is_charged_what_was_delivered(any_gateway: RunningGateway) -> None:
    any_gateway.provider.answer(200, EVENT_STREAM, [*WORDS, Cut.HANG], framing="chunked")
    client = await leaver(any_gateway, stream=True)
    request = await any_gateway.provider.request()
    await client.until(b"three")
    client.leave()
    await closed_promptly(request)
    assert figures(await any_gateway.charged()) == ("client_left", "counted", 1, 1, HI_TOKENS, 3)
    await any_gateway.audit()


async def test_client_that_leaves_a_silent_stream_is_noticed(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, EVENT_STREAM, [Cut.HANG], framing="chunked")
    client = await leaver(gateway, stream=True)
    request = await gateway.provider.request()
    await client.until(b"\r\n\r\n")
    client.leave()
    await closed_promptly(request)
    assert figures(await gateway.charged()) == ("client_left", "counted", 1, 1, HI_TOKENS, 0)


async def test_client_that_leaves_with_figures_already_sent_is_charged_the_larger(gateway: RunningGateway) -> None:
    sent: list[Step] = [chunk("one", usage={"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 19}), Cut.HANG]
    gateway.provider.answer(200, EVENT_STREAM, sent, framing="chunked")
    client = await leaver(gateway, stream=True)
    await client.until(b"one")
    client.leave()
    assert figures(await gateway.charged()) == ("client_left", "reported", 1, 1, 10, 9)


async def test_client_that_leaves_a_response_mid_stream_is_charged_what_was_delivered(gateway: RunningGateway) -> None:
    events: list[Step] = [*response_events(words=("one", " two"))[:6], Cut.HANG]
    gateway.provider.answer(200, EVENT_STREAM, events, framing="chunked")
    client = await leaver(gateway, "/v1/responses", stream=True, input="Hi")
    request = await gateway.provider.request()
    await client.until(b" two")
    client.leave()
    await closed_promptly(request)
    row = await gateway.charged()
    assert (row.outcome, row.source, row.output_tokens) == ("client_left", "counted", 2)


async def test_client_that_leaves_before_its_body_is_complete_costs_nothing(gateway: RunningGateway) -> None:
    key = await gateway.key(limits=LIMITS)
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(f"POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer {key}\r\n".encode())
    writer.write(b"host: x\r\ncontent-length: 100\r\n\r\n{")
    await writer.drain()
    writer.transport.abort()
    gateway.provider.chat("Hello")
    assert (await gateway.chat(key)).status_code == 200
    assert len(await gateway.usage()) == 1
    await gateway.audit()


@pytest.fixture
async def draining(sqlite_url: str, provider: Provider, tmp_path: Path) -> Any:
    """A gateway that reads on when its client has left."""
    async with running_gateway(sqlite_url, provider, tmp_path, on_disconnect="drain") as running:
        yield running


async def test_draining_reads_a_stream_on_for_the_exact_figures(draining: RunningGateway) -> None:
    gate = asyncio.Event()
    steps: list[Step] = [*WORDS, gate, chunk(finish="stop"), usage_chunk(10, 77), DONE]
    draining.provider.answer(200, EVENT_STREAM, steps, framing="chunked")
    client = await leaver(draining, stream=True)
    await client.until(b"three")
    client.leave()
    await client_gone(draining)
    gate.set()
    assert figures(await draining.charged()) == ("client_left", "reported", 1, 1, 10, 77)
    await draining.audit()


async def test_draining_reads_a_plain_answer_on_for_the_exact_figures(draining: RunningGateway) -> None:
    gate = asyncio.Event()
    draining.provider.raw(gate, b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(completion()), completion())
    client = await leaver(draining)
    await draining.provider.request()
    client.leave()
    await client_gone(draining)
    gate.set()
    assert figures(await draining.charged()) == ("client_left", "reported", 1, 1, 10, 5)
    await draining.audit()


async def test_draining_ends_in_its_time(sqlite_url: str, provider: Provider, tmp_path: Path) -> None:
    provider.answer(200, EVENT_STREAM, [*WORDS, Cut.HANG], framing="chunked")
    bounds: dict[str, Any] = {"on_disconnect": "drain", "disconnect_drain_seconds": 0.05}
    async with running_gateway(sqlite_url, provider, tmp_path, **bounds) as gateway:
        client = await leaver(gateway, stream=True)
        request = await gateway.provider.request()
        await client.until(b"three")
        client.leave()
        await closed_promptly(request)
        assert figures(await gateway.charged()) == ("client_left", "counted", 1, 1, HI_TOKENS, 3)


async def test_reasoning_model_is_always_read_on_for_its_hidden_tokens(gateway: RunningGateway) -> None:
    gate = asyncio.Event()
    body = completion(usage={"prompt_tokens": 10, "completion_tokens": 900, "total_tokens": 910})
    gateway.provider.raw(gate, b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body), body)
    client = await leaver(gateway, model="o3")
    await gateway.provider.request()
    client.leave()
    await client_gone(gateway)
    gate.set()
    assert figures(await gateway.charged()) == ("client_left", "reported", 1, 1, 10, 900)


async def client_gone(gateway: RunningGateway) -> None:
    """Return once the gateway has heard that the client left: it handles connections in order, so after one more."""
    assert (await gateway.http.get("/healthz", headers={"connection": "close"})).status_code == 200


async def test_answer_is_charged_before_its_client_has_it(any_gateway: RunningGateway) -> None:
    any_gateway.provider.chat("Hello")
    key = await any_gateway.key(limits=LIMITS)
    for number in range(1, 6):
        await any_gateway.http.post("/v1/chat/completions", json=chat_body(), headers=bearer(key))
        assert len(await any_gateway.usage()) == number
    await any_gateway.audit()


async def test_model_without_a_price_is_charged_tokens_and_an_unknown_cost(gateway: RunningGateway) -> None:
    gateway.provider.chat("Hello")
    answer = await gateway.chat(await gateway.key(), model="own-model-7b")
    assert "x-gateway-cost-usd" not in answer.headers
    row = await gateway.charged()
    assert (row.cost_nano_usd, row.input_tokens) == (None, 10)


FAILED = {"error": {"message": "Overloaded", "code": 503}}
TOLD = {"prompt_tokens": 10, "completion_tokens": 77, "total_tokens": 87}


@pytest.mark.parametrize(
    ("last", "charged"),
    [
        ([event(FAILED)], ("counted", 1, 1, HI_TOKENS, 3)),
        ([event(FAILED), usage_chunk(10, 2), DONE], ("reported", 1, 1, 10, 2)),
        ([event(FAILED | {"choices": [], "usage": TOLD}), DONE], ("reported", 1, 1, 10, 77)),
        ([usage_chunk(10, 2), event(FAILED), DONE], ("counted", 1, 1, 10, 3)),
    ],
    ids=["alone", "before figures", "with figures", "behind figures"],
)
async def test_stream_that_the_provider_fails_is_no_completed_call(
    gateway: RunningGateway, last: list[Step], charged: tuple[Any, ...]
) -> None:
    gateway.provider.answer(200, EVENT_STREAM, [*WORDS, *last], framing="chunked")
    answer = await gateway.chat(await gateway.key(limits=LIMITS), stream=True)
    assert b"Overloaded" in answer.content
    assert figures(await gateway.charged()) == ("upstream_failed", *charged)
    await gateway.audit()


@pytest.mark.parametrize("streams", [True, False])
async def test_response_that_the_provider_fails_is_no_completed_call(gateway: RunningGateway, streams: bool) -> None:
    told = {"input_tokens": 12, "output_tokens": 4, "total_tokens": 16}
    failed = response(status="failed", error={"code": "server_error", "message": "No."}, usage=told)
    events = [*response_events()[:7], event({"type": "response.failed", "response": failed}, "response.failed")]
    if streams:
        gateway.provider.answer(200, EVENT_STREAM, [*events], framing="chunked")
    else:
        gateway.provider.answer(200, JSON, json.dumps(failed).encode())
    asked = {"model": "gpt-4o-mini", "input": "Hi", "stream": streams}
    assert (await gateway.post(await gateway.key(limits=LIMITS), "/v1/responses", asked)).status_code == 200
    outcome = ("upstream_failed", "reported", 1, 1, 12, 4)
    assert figures(await gateway.charged()) == outcome


async def test_answer_of_an_error_and_200_is_no_completed_call(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, JSON, json.dumps(FAILED).encode())
    assert (await gateway.chat(await gateway.key(limits=LIMITS))).status_code == 200
    assert figures(await gateway.charged()) == ("upstream_failed", "counted", 1, 1, HI_TOKENS, 0)


async def test_shutdown_ends_a_running_stream_with_an_error_and_charges_it(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, EVENT_STREAM, [*WORDS, Cut.HANG], framing="chunked")
    client = await leaver(gateway, stream=True)
    await client.until(b"three")
    gateway.server.hurry()
    rest = await asyncio.wait_for(client.reader.read(), PATIENCE_SECONDS)
    assert b"service_unavailable" in rest and b"[DONE]" not in rest
    client.leave()
    assert figures(await gateway.charged()) == ("gateway_failed", "counted", 1, 1, HI_TOKENS, 3)
    await gateway.audit()
