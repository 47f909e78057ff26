"""Connections to the provider: used again, closed with their client, given up in time, never more than allowed."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

from gateway.core.limits import Interval, Metric
from gateway.core.upstreams import Upstream
from tests.events import DONE, EVENT_STREAM, JSON, chunk, completion, usage_chunk
from tests.gateway import RunningGateway, bearer, chat_body, running_gateway
from tests.patience import PATIENCE_SECONDS
from tests.provider import Cut, Provider, Step, compose

CHUNKS = [chunk("one"), chunk(" two"), chunk(finish="stop"), usage_chunk(10, 2), DONE]
LIMITS = [(Metric.REQUESTS, Interval.DAY, 999), (Metric.TOKENS, Interval.DAY, 10**9), (Metric.CONCURRENCY, None, 500)]
QUITTERS = 60


async def test_connection_is_used_again_after_answers_streams_and_errors(gateway: RunningGateway) -> None:
    key = await gateway.key()
    for _ in range(3):
        gateway.provider.answer(200, EVENT_STREAM, list(CHUNKS), framing="chunked")
        assert (await gateway.chat(key, stream=True)).status_code == 200
        gateway.provider.answer(200, JSON, completion())
        assert (await gateway.chat(key)).status_code == 200
        gateway.provider.answer(400, JSON, b'{"error":{}}')
        assert (await gateway.chat(key)).status_code == 400
    assert gateway.provider.connections == 1


async def test_connection_that_the_provider_closed_meanwhile_costs_no_call(gateway: RunningGateway) -> None:
    gateway.provider.chat("Hello")
    key = await gateway.key()
    for _ in range(3):
        assert (await gateway.chat(key)).status_code == 200
        gateway.provider.drop_connections()
    assert len(await gateway.usage()) == 3


async def test_provider_that_stays_open_behind_done_keeps_nobody_waiting(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, EVENT_STREAM, [*CHUNKS, Cut.HANG], framing="chunked")
    async with asyncio.timeout(PATIENCE_SECONDS):
        answer = await gateway.chat(await gateway.key(), stream=True)
    assert answer.content.endswith(DONE)
    row = await gateway.charged()
    assert (row.outcome, row.source) == ("completed", "reported")
    await (await gateway.provider.request()).closed()


async def test_call_beyond_the_upstreams_connections_waits_for_one(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    def narrow(main: Upstream) -> Upstream:
        return replace(main, max_connections=1)

    gate = asyncio.Event()
    provider.raw(gate, *compose(200, JSON, completion()))
    provider.raw(*compose(200, JSON, completion()))
    async with running_gateway(sqlite_url, provider, tmp_path, upstream=narrow) as gateway:
        key = await gateway.key(limits=LIMITS)
        first = asyncio.create_task(gateway.chat(key))
        await provider.request()
        second = asyncio.create_task(gateway.chat(key))
        gate.set()
        assert [(await first).status_code, (await second).status_code] == [200, 200]
        assert provider.connections == 1
        await gateway.audit()


async def test_clients_that_leave_at_any_moment_leave_nothing_held(any_gateway: RunningGateway) -> None:
    gate = asyncio.Event()
    answers: list[list[Step]] = [
        compose(200, JSON, completion()),
        compose(200, EVENT_STREAM, [CHUNKS[0], gate, *CHUNKS[1:]], framing="chunked"),
        [gate, *compose(200, JSON, completion())],
        compose(200, EVENT_STREAM, [*CHUNKS[:2], Cut.HANG], framing="chunked"),
        compose(500, JSON, b"{}"),
        [Cut.RESET],
    ]
    any_gateway.provider.always(lambda request: answers[request.connection % len(answers)])
    key = await any_gateway.key(limits=LIMITS)

    async def quit_after(turns: int) -> None:
        body = json.dumps(chat_body(stream=turns % 2 == 0)).encode()
        _, writer = await asyncio.open_connection("127.0.0.1", any_gateway.port)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        for _ in range(turns):
            await asyncio.sleep(0)
        writer.transport.abort()

    await asyncio.gather(*(quit_after(turns) for turns in range(QUITTERS)))
    gate.set()
    await any_gateway.audit()
    assert len(await any_gateway.usage()) <= QUITTERS
    any_gateway.provider.always(lambda _request: compose(200, JSON, completion()))
    answer = await any_gateway.http.post("/v1/chat/completions", json=chat_body(), headers=bearer(key))
    assert answer.status_code == 200
    await any_gateway.audit()


async def test_one_connection_carries_many_calls_of_a_client_in_turn(gateway: RunningGateway) -> None:
    gateway.provider.chat("Hello")
    key = await gateway.key()
    body = json.dumps(chat_body()).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
    request = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request * 3)  # pipelined: the second waits for the first
    for _ in range(3):
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)
        assert answer.startswith(b"HTTP/1.1 200")
        length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        assert json.loads(await reader.readexactly(length))["choices"]
    writer.close()
    assert len(await gateway.usage()) == 3
