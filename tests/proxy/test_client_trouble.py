"""Clients in trouble, or troublesome: whenever they leave nothing stays held or is free, and others are served.

Those who leave before the answer, mid-stream and during an upload are in test_outcomes.py.
"""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from bench.measure import resident_bytes
from gateway.core.limits import Interval, Metric
from gateway.tokens.encodings import EncodingName, load
from tests.events import DONE, EVENT_STREAM, JSON, chunk, completion, usage_chunk
from tests.gateway import RunningGateway, chat_body, running_gateway
from tests.ledger import books
from tests.ledger.running import until
from tests.patience import PATIENCE_SECONDS
from tests.provider import Cut, Provider, Request, Script, Step, compose

LIMITS = [(Metric.REQUESTS, Interval.DAY, 9_999), (Metric.COST, Interval.DAY, 10**12), (Metric.CONCURRENCY, None, 500)]
HI_TOKENS = 8
SLOW_READERS = 200
PADDING = [b": " + b"x" * 40_000 + b"\n\n"] * 200
"""8 MB of a stream that cost nobody a token."""
MOST_KEPT_BYTES = 1_500_000
"""In this process for a stream that its client does not read, the test's own ends of it included."""
BYTES_READ = 60
"""By each slow reader, once the kernel's buffers are full: a minute's, at one a second."""
MOST_GROWTH_BYTES = 16_384
"""For a stream in that minute; 20 were measured, which is nothing but the noise of the process."""
MINUTES = 5
"""At most: on a slow machine the buffers may not have been full yet."""
IDLE = 1_000

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def asked(key: str, **fields: Any) -> bytes:
    """A chat call as it is on the wire."""
    body = json.dumps(chat_body(**fields)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def calling(gateway: RunningGateway, request: bytes) -> Connection:
    """Send this much of a request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request)
    await writer.drain()
    return reader, writer


async def heard_of_it(gateway: RunningGateway) -> None:
    """Return once the gateway has handled what came before: it takes connections in order."""
    assert (await gateway.http.get("/healthz", headers={"connection": "close"})).status_code == 200


async def serves(gateway: RunningGateway, key: str, charged: int) -> None:
    """See that the next call is served, that so many were charged before it, and that nothing is held."""
    gateway.provider.answer(200, JSON, completion())
    assert (await gateway.chat(key)).status_code == 200
    assert len(await gateway.usage(charged + 1)) == charged + 1
    await gateway.audit()


async def test_client_that_leaves_in_any_part_of_its_request_costs_nothing(gateway: RunningGateway) -> None:
    key = await gateway.key(limits=LIMITS)
    request = asked(key)
    for length in range(0, len(request), 7):
        _, writer = await calling(gateway, request[:length])
        writer.transport.abort()
    await serves(gateway, key, charged=0)
    assert len(gateway.provider.requests) == 1


async def test_client_that_leaves_while_it_waits_for_admission_is_never_sent(gateway: RunningGateway) -> None:
    key = await gateway.key(limits=LIMITS)
    await serves(gateway, key, charged=0)
    foreign = books.foreign(gateway.app._settings.database_url)
    await books.lock(foreign)
    clients = [await calling(gateway, asked(key)) for _ in range(5)]
    await until(lambda: gateway.app._rooms is not None and gateway.app._rooms.house.turnstile.at_desk == 5)
    for _, writer in clients:
        writer.transport.abort()
    await until(lambda: gateway.app._rooms is not None and gateway.app._rooms.house.turnstile.at_desk == 0)
    foreign.execute("ROLLBACK")
    foreign.close()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await gateway.http.get("/v1/me", headers={"authorization": f"Bearer {key}"})).status_code != 200:
            pass
        gateway.provider.answer(200, JSON, completion())
        while (await gateway.chat(key)).status_code != 200:
            pass
    assert len(gateway.provider.requests) == len(await gateway.usage()) == 2
    await gateway.audit()


async def test_client_that_leaves_before_the_last_chunk_is_charged_the_providers_figures(
    gateway: RunningGateway,
) -> None:
    steps: list[Step] = [chunk("one"), usage_chunk(10, 77), chunk(" two"), Cut.HANG]
    gateway.provider.answer(200, EVENT_STREAM, steps, framing="chunked")
    key = await gateway.key(limits=LIMITS)
    reader, writer = await calling(gateway, asked(key, stream=True))
    await asyncio.wait_for(reader.readuntil(b" two"), PATIENCE_SECONDS)
    writer.transport.abort()
    await (await gateway.provider.request()).closed()
    row = await gateway.charged()
    assert (row.outcome, row.source, row.input_tokens, row.output_tokens) == ("client_left", "reported", 10, 77)
    await gateway.audit()


async def test_client_that_closes_its_half_has_left(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, EVENT_STREAM, [chunk("one"), Cut.HANG], framing="chunked")
    reader, writer = await calling(gateway, asked(await gateway.key(limits=LIMITS), stream=True))
    await asyncio.wait_for(reader.readuntil(b"one"), PATIENCE_SECONDS)
    writer.write_eof()
    await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
    writer.close()
    await (await gateway.provider.request()).closed()
    row = await gateway.charged()
    assert (row.outcome, row.source, row.input_tokens, row.output_tokens) == ("client_left", "counted", HI_TOKENS, 1)
    await gateway.audit()


async def test_stream_of_a_reasoning_model_that_is_hung_up_on_is_read_on_for_its_hidden_tokens(
    gateway: RunningGateway,
) -> None:
    gate = asyncio.Event()
    steps: list[Step] = [chunk("one"), gate, chunk(finish="stop"), usage_chunk(10, 900), DONE]
    gateway.provider.answer(200, EVENT_STREAM, steps, framing="chunked")
    reader, writer = await calling(gateway, asked(await gateway.key(limits=LIMITS), model="o3", stream=True))
    await asyncio.wait_for(reader.readuntil(b"one"), PATIENCE_SECONDS)
    writer.transport.abort()
    await heard_of_it(gateway)
    assert await gateway.usage() == []
    gate.set()
    row = await gateway.charged()
    assert (row.outcome, row.source, row.output_tokens) == ("client_left", "reported", 900)
    await gateway.audit()


@asynccontextmanager
async def slow_readers(gateway: RunningGateway, key: str) -> AsyncIterator[Sequence[socket.socket]]:
    """Clients that ask for a stream and read nothing of it by themselves."""
    loop = asyncio.get_running_loop()
    clients = [socket.socket() for _ in range(SLOW_READERS)]
    try:
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", gateway.port))
            await loop.sock_sendall(client, asked(key, stream=True))
        yield clients
    finally:
        for client in clients:
            client.close()


async def test_streams_that_are_read_a_byte_at_a_time_are_not_kept_in_memory(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    """The provider has to wait for the slowest reader; what lies between the two lies in the kernel's buffers."""
    sent = [0] * SLOW_READERS
    numbers = iter(range(SLOW_READERS))
    steps = compose(200, EVENT_STREAM, [chunk("one"), *PADDING], framing="chunked")  # once: it is large

    def counted(number: int) -> Iterator[Step]:
        for step in steps:
            sent[number] += len(step) if isinstance(step, bytes) else 0
            yield step

    def play(request: Request) -> Script:
        if request.json().get("stream"):
            return cast(Script, counted(next(numbers)))  # made as it is taken
        return compose(200, JSON, completion())

    provider.always(play)
    async with running_gateway(sqlite_url, provider, tmp_path) as gateway:
        key = await gateway.key(limits=LIMITS)
        loop = asyncio.get_running_loop()
        load(EncodingName.O200K)  # else it might be what the memory grows by
        served, resident = 0, resident_bytes(os.getpid())
        async with slow_readers(gateway, key) as clients:
            before = -1
            while not all(sent) or sum(sent) > before:  # until nothing moves any more
                before = sum(sent)
                for client in clients:
                    assert len(await loop.sock_recv(client, 1)) == 1
                assert (await gateway.chat(key)).status_code == 200
                served += 1
            full = resident_bytes(os.getpid())
            assert full - resident < SLOW_READERS * MOST_KEPT_BYTES
            growths: list[int] = []
            while not growths or (len(growths) < MINUTES and growths[-1] >= SLOW_READERS * MOST_GROWTH_BYTES):
                full = resident_bytes(os.getpid())
                for client in list(clients) * BYTES_READ:
                    assert len(await loop.sock_recv(client, 1)) == 1
                growths.append(resident_bytes(os.getpid()) - full)
            assert growths[-1] < SLOW_READERS * MOST_GROWTH_BYTES, growths
        rows = await gateway.usage(SLOW_READERS + served)
        left = [row for row in rows if row.outcome == "client_left"]
        assert len(left) == SLOW_READERS
        assert {(row.source, row.input_tokens, row.output_tokens) for row in left} == {("counted", HI_TOKENS, 1)}
        await gateway.audit()


async def test_thousand_idle_connections_hold_up_nobody(gateway: RunningGateway) -> None:
    """Half of them have not said a word, half are in the middle of their headers."""
    gateway.provider.chat("Hello")
    key = await gateway.key(limits=LIMITS)
    halves = b"", b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
    idle = [await calling(gateway, halves[number % 2]) for number in range(IDLE)]
    answers = await asyncio.gather(*(gateway.chat(key) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert (await gateway.http.get("/healthz")).status_code == 200
    for _, writer in idle:
        writer.transport.abort()
    assert len(await gateway.usage()) == 50
    await gateway.audit()


async def test_upload_that_trickles_holds_nothing_and_holds_up_nobody(gateway: RunningGateway) -> None:
    key = await gateway.key(limits=[(Metric.CONCURRENCY, None, 1), *LIMITS[:2]])
    request = asked(key, stream=False)
    _, writer = await calling(gateway, request[:-1])
    await heard_of_it(gateway)
    await serves(gateway, key, charged=0)
    gateway.provider.answer(200, JSON, completion())
    writer.write(request[-1:])
    assert len(await gateway.usage(2)) == 2
    writer.close()
    await gateway.audit()
