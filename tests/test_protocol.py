"""One connection on real sockets: what a client may take of the server, and what happens when it takes more."""

import asyncio
import socket
from contextlib import suppress
from typing import cast

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from gateway.cycle import REFUSALS_PER_TURN, RawHeaders, Refusal
from gateway.protocol import ConnectionBounds, GuardedProtocol
from tests.patience import PATIENCE_SECONDS
from tests.serving import Connection, Running, ServedApp, running, say_hello

GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


async def trickle(connection: Connection, data: bytes) -> bytes:
    """Send `data` a byte at a time, 10 ms apart, until it is gone or the server answers; return the whole answer."""
    reader, writer = connection
    for byte in data:
        writer.write(bytes((byte,)))
        with suppress(TimeoutError):
            return await asyncio.wait_for(reader.read(1), 0.01) + await reader.read()
    return await reader.read()


async def read_body(receive: Receive) -> tuple[bytes, bool]:
    """Return the body and whether it came whole."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return body, False
        body += message["body"]
        if not message["more_body"]:
            return body, True


# --- receiving ---


async def test_headers_trickled_past_the_deadline_are_answered_408_while_others_are_served() -> None:
    async with running(ServedApp(), ConnectionBounds(header_seconds=4.0)) as served, served.connected() as slow:
        trickling = asyncio.create_task(trickle(slow, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 1000))
        for _ in range(20):
            assert b"200 OK" in await served.exchange(GET)
        assert (await trickling).startswith(b"HTTP/1.1 408 ")


async def test_connection_that_sends_nothing_is_closed_silently() -> None:
    async with running(ServedApp(), ConnectionBounds(header_seconds=0.1)) as served:
        assert await served.exchange(b"") == b""


async def test_second_requests_headers_have_a_deadline_of_their_own() -> None:
    async with running(ServedApp(), ConnectionBounds(header_seconds=4.0)) as served, served.connected() as connection:
        reader, writer = connection
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readuntil(b"hello")
        assert (await trickle(connection, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 1000)).startswith(b"HTTP/1.1 408 ")


async def test_idle_connection_is_closed_after_its_time() -> None:
    async with running(ServedApp(), ConnectionBounds(keep_alive_seconds=0.1)) as served:
        assert (await served.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).endswith(b"hello")


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(b"A: b\r\n" * 101, id="too many"),
        pytest.param(b"A: %b\r\n" % (b"b" * 33 * 1024), id="one too large"),
        pytest.param(b"A: %b" % (b"b" * 10 * 1024 * 1024), id="one without end"),
        pytest.param(b"Abc: %b\r\n" % (b"b" * 1000) * 50, id="too large together"),
    ],
)
async def test_header_flood_is_answered_431(headers: bytes) -> None:
    async with running(ServedApp()) as served:
        answer = await served.exchange(b"GET / HTTP/1.1\r\n" + headers + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert b"x-request-id: req_" in answer


async def test_large_body_beside_small_headers_is_no_header_flood() -> None:
    async def count(_scope: Scope, receive: Receive, send: Send) -> None:
        body, _ = await read_body(receive)
        answer = str(len(body)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": answer})

    head = b"POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n"
    async with running(ServedApp(count)) as served:
        assert b"1000000" in await served.exchange(head + b"x" * 1_000_000)


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\nx\r\n"


async def test_fields_behind_a_body_are_no_headers() -> None:
    """Else a key, or what says how the body is to be read, could come when nobody looks any more."""
    seen: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()

    async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)
        seen.set_result([name for name, _ in scope["headers"]])
        await say_hello(scope, receive, send)

    async with running(ServedApp(endpoint)) as served:
        answer = await served.exchange(CHUNKED + b"0\r\nAuthorization: Bearer x\r\nExpect: 100-continue\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert await seen == [b"host", b"transfer-encoding", b"connection"]


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(b"0\r\n" + b"A: b\r\n" * 1_000_000, id="trailers without end"),
        pytest.param(b"0\r\nA: " + b"b" * 1_000_000, id="one trailer without end"),
        pytest.param(b"1;" + b"b" * 1_000_000, id="a chunk's extension without end"),
    ],
)
async def test_what_is_no_body_is_bounded_behind_the_headers_too(flood: bytes) -> None:
    async def endpoint(_scope: Scope, receive: Receive, _send: Send) -> None:
        await read_body(receive)

    async with running(ServedApp(endpoint), ConnectionBounds(linger_seconds=PATIENCE_SECONDS)) as served:
        assert (await served.exchange(CHUNKED + flood)).startswith(b"HTTP/1.1 431 ")


async def test_flood_behind_an_early_answer_is_not_answered_again() -> None:
    bounds = ConnectionBounds(linger_seconds=PATIENCE_SECONDS)
    async with running(ServedApp(), bounds) as served, served.connected() as (reader, writer):
        writer.write(CHUNKED.replace(b"Connection: close\r\n", b""))
        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 ")
        writer.write(b"1;" + b"b" * 1_000_000)
        with suppress(ConnectionError):
            assert await reader.read() == b""


async def test_body_trickled_below_the_rate_is_answered_408_and_the_application_told() -> None:
    seen: asyncio.Future[tuple[bytes, bool]] = asyncio.get_running_loop().create_future()

    async def endpoint(_scope: Scope, receive: Receive, _send: Send) -> None:
        seen.set_result(await read_body(receive))

    bounds = ConnectionBounds(body_grace_seconds=0.2, body_bytes_per_second=100_000)
    async with running(ServedApp(endpoint), bounds) as served, served.connected() as connection:
        connection[1].write(b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n")
        assert (await trickle(connection, b"x" * 1000)).startswith(b"HTTP/1.1 408 ")
        _, whole = await seen
        assert not whole


async def test_early_answer_reaches_a_client_that_still_sends_its_body() -> None:
    async with running(ServedApp()) as served, served.connected() as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 1_000_000)
        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 ")
        writer.write(b"x" * 1_000_000 + GET)
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")


async def test_request_that_is_turned_away_is_answered_in_turn_and_the_connection_goes_on() -> None:
    """With a body that comes late, and behind and before requests that are served."""
    async with running(ServedApp()) as served, served.connected() as (reader, writer):
        writer.write(b"POST /crowded HTTP/1.1\r\nContent-Length: 2\r\n\r\n")
        assert (await reader.readuntil(b"too many")).startswith(b"HTTP/1.1 503 ")
        writer.write(b"{}GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 ")
        writer.write(b"GET /crowded HTTP/1.1\r\nHost: a\r\n\r\n" * 100 + GET)
        answers = await reader.read()
        assert answers.count(b"HTTP/1.1 503 ") + answers.count(b"HTTP/1.1 200 ") == 101
        assert answers.count(b"HTTP/1.1 503 ") >= 1 and answers.endswith(b"hello")


async def test_clients_that_are_gone_when_their_refusal_comes_hold_up_nobody() -> None:
    """With a second request behind the first one, so that it is the second which hears that they are gone."""
    gone = 0
    async with running(ServedApp()) as served:
        crowd = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(8 * REFUSALS_PER_TURN)]
        for _, writer in crowd:
            writer.write(b"GET /crowded HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not gone:
                await asyncio.sleep(0)
                for connection in protocols(served):
                    if connection.pipeline:
                        connection.transport.abort()
                        gone += 1
        for _, writer in crowd:
            writer.close()
        for _ in range(3):
            answer = await served.exchange(GET.replace(b"GET / ", b"GET /crowded "))
            assert answer.startswith(b"HTTP/1.1 503 ") and answer.endswith(b"too many")


async def test_client_that_is_turned_away_and_reads_nothing_is_not_answered_on_and_on() -> None:
    class Wordy(ServedApp):
        def turn_away(self, method: str, path: bytes, headers: RawHeaders) -> Refusal | None:
            return Refusal(503, [], b"x" * 16 * HIGH_WATER_LIMIT) if path == b"/crowded" else None

    async with running(Wordy()) as served, served.connected() as (_, writer):
        for _ in range(100):
            writer.write(b"GET /crowded HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"200 OK" in await served.exchange(GET)
        unsent = [connection.transport.get_write_buffer_size() for connection in protocols(served)]
        assert max(unsent) <= 17 * HIGH_WATER_LIMIT


def protocols(served: Running) -> list[GuardedProtocol]:
    """The connections that the server has now."""
    return [cast(GuardedProtocol, connection) for connection in served.server._state.connections]


# --- framing ---


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(
            b"POST / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="CL+TE"
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", id="TE+CL"
        ),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab", id="two lengths"),
        pytest.param(b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", id="gzip, chunked"),
        pytest.param(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="TE in 1.0"),
        pytest.param(b"GET http://other/ HTTP/1.1\r\nHost: a\r\n\r\n", id="absolute form"),
        pytest.param(b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", id="CONNECT"),
        pytest.param(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", id="asterisk form"),
        pytest.param(b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", id="fragment"),
        pytest.param(b"GET / HTTP/1.1\nHost: a\n\n", id="bare LF"),
        pytest.param(b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", id="folded header"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
        pytest.param(b"\x16\x03\x01\x02\x00", id="TLS"),
    ],
)
async def test_ambiguous_request_is_answered_400_and_the_connection_closed(request_bytes: bytes) -> None:
    async with running(ServedApp(), ConnectionBounds(linger_seconds=0.1)) as served:
        assert (await served.exchange(request_bytes)).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
async def test_upgrade_is_never_made_and_the_request_served_plainly(protocol: bytes) -> None:
    async with running(ServedApp()) as served:
        head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n" % protocol
        answer = await served.exchange(head + b"GET /second HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer
        assert answer.count(b"HTTP/1.1") == 1


async def stream_hello(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer in pieces, without telling how many bytes they are."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for piece in (b"he", b"", b"ll", b"o"):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


@pytest.mark.parametrize("kept", [b"", b"Connection: keep-alive\r\n"])
async def test_client_of_http_1_0_gets_a_stream_without_chunks_and_the_connections_end(kept: bytes) -> None:
    """It knows no chunks: their sizes would stand in its answer (RFC 9112, 6.1)."""
    async with running(ServedApp(stream_hello)) as served:
        answer = await served.exchange(b"GET / HTTP/1.0\r\n%b\r\n" % kept)
        assert b"transfer-encoding" not in answer
        assert answer.endswith(b"\r\n\r\nhello")


async def test_garbage_behind_a_running_request_leaves_its_answer_whole() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await go_on.wait()
        await say_hello(scope, receive, send)

    async with running(ServedApp(endpoint)) as served, served.connected() as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\x00garbage")
        await begun.wait()
        go_on.set()
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"hello")


# --- clients that don't read, and too many of them ---


async def test_client_that_reads_nothing_is_dropped_and_the_application_told() -> None:
    told = asyncio.Event()

    async def endpoint(_scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        sending = asyncio.create_task(send_for_ever(send))
        while (await receive())["type"] != "http.disconnect":
            pass
        sending.cancel()
        told.set()

    async def send_for_ever(send: Send) -> None:
        while not told.is_set():
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})

    bounds = ConnectionBounds(write_stall_seconds=0.3)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        async with running(ServedApp(endpoint), bounds) as served:
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, ("127.0.0.1", served.port))
            await loop.sock_sendall(client, GET)
            await asyncio.wait_for(told.wait(), PATIENCE_SECONDS)


async def test_connections_beyond_the_cap_of_an_address_are_refused_until_one_closes() -> None:
    bounds = ConnectionBounds(connections_per_address=2)
    async with running(ServedApp(), bounds) as served, served.connected() as (reader, writer), served.connected():
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readuntil(b"hello")
        assert (await served.exchange(b"")).startswith(b"HTTP/1.1 429 ")
        writer.write(GET)
        await reader.read()
        assert b"200 OK" in await served.exchange(GET)


async def test_trusted_proxy_is_not_capped_and_its_word_on_the_client_believed() -> None:
    seen: list[str] = []

    async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["client"][0])
        await say_hello(scope, receive, send)

    bounds = ConnectionBounds(connections_per_address=1)
    async with running(ServedApp(endpoint), bounds, trusted_proxies=("127.0.0.0/8",)) as served, served.connected():
        await served.exchange(GET.replace(b"Host: a", b"X-Forwarded-For: 192.0.2.9, 203.0.113.7"))
    assert seen == ["203.0.113.7"]


async def test_forwarded_address_of_a_stranger_is_not_believed() -> None:
    seen: list[str] = []

    async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["client"][0])
        await say_hello(scope, receive, send)

    async with running(ServedApp(endpoint)) as served:
        await served.exchange(GET.replace(b"Host: a", b"X-Forwarded-For: 203.0.113.7"))
    assert seen == ["127.0.0.1"]
