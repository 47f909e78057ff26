"""What every way of sending must do with a provider, or a caller, that does not behave."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from gateway.core.errors import UpstreamFailed
from gateway.core.upstreams import Upstream
from gateway.upstream.body import MOST_KEPT_BYTES
from gateway.upstream.direct import DirectSender
from gateway.upstream.pool import Load, Pool
from tests.patience import PATIENCE_SECONDS
from tests.provider import Cut, Framing, Provider, Step
from tests.upstream.conftest import Send, read


async def failing(send: Send, body: bytes = b"{}", **changes: float | str) -> UpstreamFailed:
    """The failure of a request that must not get as far as an answer."""
    with pytest.raises(UpstreamFailed) as caught:
        await send(body, **changes)
    return caught.value


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port that nothing listens on, and that nobody else can take meanwhile."""
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])


async def test_refused_connection_is_unreachable_and_unsent(send: Send, deaf_port: int) -> None:
    error = await failing(send, base_url=f"http://127.0.0.1:{deaf_port}")
    assert (error.status, error.code, error.sent) == (502, "upstream_unreachable", False)


async def test_unknown_host_is_unreachable_and_unsent(send: Send) -> None:
    error = await failing(send, base_url="http://no-such-host.invalid")
    assert (error.code, error.sent) == ("upstream_unreachable", False)


async def test_tls_to_a_plain_server_is_unreachable_and_unsent(send: Send, provider: Provider) -> None:
    error = await failing(send, base_url=f"https://127.0.0.1:{provider.port}", connect_seconds=0.3)
    assert (error.code, error.sent) == ("upstream_unreachable", False)


async def test_messages_tell_neither_address_nor_key(send: Send, provider: Provider, deaf_port: int) -> None:
    error = await failing(send, base_url=f"http://127.0.0.1:{deaf_port}")
    assert "127.0.0.1" not in error.message
    assert "sk-upstream" not in error.message + repr(Upstream("a", "openai", provider.base_url, "sk-upstream"))


@pytest.mark.parametrize("cut", [Cut.CLOSE, Cut.RESET])
@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\ncontent-le"])
async def test_break_before_the_headers_end_is_unreachable_but_sent(
    send: Send, provider: Provider, cut: Cut, begun: bytes
) -> None:
    provider.raw(*([begun] if begun else []), cut)
    error = await failing(send)
    assert (error.status, error.code, error.sent) == (502, "upstream_unreachable", True)


@pytest.mark.parametrize(
    "garbage",
    [
        b"220 mail.example ESMTP\r\n\r\n",
        b"\x16\x03\x01\x02",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx-long: " + b"v" * 10_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nx-endless: " + b"v" * 500_000,
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000,
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 099 Less\r\ncontent-length: 1\r\n\r\nxHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    ],
)
async def test_answer_that_is_not_http_is_broken_and_closed(send: Send, provider: Provider, garbage: bytes) -> None:
    provider.raw(garbage, Cut.HANG)
    error = await failing(send)
    assert (error.status, error.code, error.sent) == (502, "upstream_broken", True)
    await (await provider.request()).closed()


async def test_first_byte_late_is_timeout_and_closes(send: Send, provider: Provider) -> None:
    provider.raw(Cut.HANG)
    error = await failing(send, first_byte_seconds=0.05)
    assert (error.status, error.code, error.sent) == (504, "upstream_timeout", True)
    await (await provider.request()).closed()


async def test_interim_answers_do_not_extend_the_first_byte_deadline(send: Send, provider: Provider) -> None:
    provider.raw(b"HTTP/1.1 103 Early Hints\r\n\r\n", Cut.HANG)
    assert (await failing(send, first_byte_seconds=0.05)).code == "upstream_timeout"


async def test_provider_that_stops_reading_a_large_body_is_timeout(send: Send) -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.close()

    gone = asyncio.Event()
    server = await asyncio.start_server(stall, "127.0.0.1", 0, limit=1024)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        error = await failing(send, bytes(40_000_000), base_url=url, first_byte_seconds=0.5)
        gone.set()
    assert (error.code, error.sent) == ("upstream_timeout", True)


async def test_idle_stream_delivers_what_came_then_is_timeout(send: Send, provider: Provider) -> None:
    provider.answer(body=[b"some", Cut.HANG], framing="chunked")
    reply = await send(idle_seconds=0.5)
    assert await reply.chunk() == b"some"
    with pytest.raises(UpstreamFailed) as caught:
        await reply.chunk()
    assert (caught.value.status, caught.value.code) == (504, "upstream_timeout")
    await (await provider.request()).closed()


async def test_idle_deadline_starts_anew_with_every_piece(send: Send, provider: Provider) -> None:
    steps: list[Step] = []
    events = [asyncio.Event() for _ in range(3)]
    for event in events:
        steps += [event, b"x"]
    provider.answer(body=steps, framing="chunked")
    reply = await send(idle_seconds=5.0)
    for event in events:  # each within the deadline, all together beyond it
        asyncio.get_running_loop().call_later(1.7, event.set)
        assert await reply.chunk() == b"x"
    assert await reply.chunk() == b""


@pytest.mark.parametrize("cut", [Cut.CLOSE, Cut.RESET])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_break_inside_a_body_delivers_what_came_then_is_broken(
    send: Send, provider: Provider, framing: Framing, cut: Cut
) -> None:
    go = asyncio.Event()
    provider.answer(body=[b"some", go, cut, b"rest"], framing=framing)
    reply = await send()
    assert await reply.chunk() == b"some"
    go.set()
    for _ in range(2):  # and stays broken
        with pytest.raises(UpstreamFailed) as caught:
            await reply.chunk()
        assert (caught.value.code, caught.value.sent) == ("upstream_broken", True)


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_unread_bytes_before_a_break_are_delivered_first(
    send: Send, provider: Provider, framing: Framing
) -> None:
    provider.answer(body=[b"one", b"two", Cut.CLOSE, b"rest"], framing=framing)
    reply = await send()
    request = await provider.request()
    await request.closed()
    await asyncio.sleep(0)
    came = await reply.chunk()
    while len(came) < 6:
        came += await reply.chunk()
    assert came == b"onetwo"
    with pytest.raises(UpstreamFailed):
        await reply.chunk()


async def test_reset_of_a_body_that_only_the_close_ends_is_broken(send: Send, provider: Provider) -> None:
    go = asyncio.Event()
    provider.raw(b"HTTP/1.1 200 OK\r\n\r\nsome", go, Cut.RESET)
    reply = await send()
    assert await reply.chunk() == b"some"
    go.set()
    with pytest.raises(UpstreamFailed):
        await reply.chunk()


async def test_garbage_inside_a_chunked_body_is_broken(send: Send, provider: Provider) -> None:
    go = asyncio.Event()
    provider.raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n", go, b"zz\r\n", Cut.HANG)
    reply = await send()
    assert await reply.chunk() == b"some"
    go.set()
    with pytest.raises(UpstreamFailed) as caught:
        await reply.chunk()
    assert caught.value.code == "upstream_broken"


@pytest.mark.parametrize("framing", [b"x: " + b"v" * 1000, b"x: y\r\n" * 100])
async def test_direct_way_trailers_without_end_are_broken(
    provider: Provider, upstream: Upstream, framing: bytes
) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n0\r\n"
    provider.raw(head, *[framing] * 1000, Cut.HANG)
    async with Pool(sender_for=DirectSender) as pool:
        reply = await pool.send(replace(upstream, idle_seconds=PATIENCE_SECONDS), "POST", "/a", (), b"{}")
        with pytest.raises(UpstreamFailed) as caught:
            await read(reply)
    assert caught.value.code == "upstream_broken"


async def test_large_piece_before_garbage_is_delivered_whole(send: Send, provider: Provider) -> None:
    size = 2 * MOST_KEPT_BYTES
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    provider.raw(head + b"%x\r\n" % size + bytes(size) + b"\r\nzz\r\n", Cut.HANG)
    reply = await send()
    came = 0
    with pytest.raises(UpstreamFailed):
        while piece := await reply.chunk():
            came += len(piece)
    assert came == size


@pytest.mark.parametrize("body", [b"not gzip at all", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b"])
async def test_corrupt_or_short_gzip_is_broken(send: Send, provider: Provider, body: bytes) -> None:
    provider.answer(headers={"content-encoding": "gzip"}, body=body)
    reply = await send()
    with pytest.raises(UpstreamFailed) as caught:
        await read(reply)
    assert caught.value.code == "upstream_broken"


async def test_reply_closed_half_read_closes_the_connection(send: Send, provider: Provider, pool: Pool) -> None:
    provider.answer(body=[b"some", Cut.HANG], framing="chunked")
    reply = await send()
    assert await reply.chunk() == b"some"
    reply.close()
    reply.close()
    await (await provider.request()).closed()
    assert pool.load() == {"main": Load(0, 0)}
    with pytest.raises(UpstreamFailed):
        await reply.chunk()


async def test_reply_closed_while_another_task_reads_wakes_it(send: Send, provider: Provider) -> None:
    provider.answer(body=[b"some", Cut.HANG], framing="chunked")
    reply = await send()
    await reply.chunk()
    reading = asyncio.create_task(reply.chunk())
    await asyncio.sleep(0)
    reply.close()
    with pytest.raises(UpstreamFailed):
        await reading


async def test_cancelled_send_closes_the_connection(send: Send, provider: Provider, pool: Pool) -> None:
    provider.raw(Cut.HANG)
    sending = asyncio.create_task(send())
    request = await provider.request()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await request.closed()
    assert pool.load() == {"main": Load(0, 0)}


async def test_cancelled_large_upload_closes_the_connection(send: Send, pool: Pool) -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(100)
        begun.set()
        while await reader.read(65536):
            pass
        closed.set()
        writer.close()

    begun, closed = asyncio.Event(), asyncio.Event()
    server = await asyncio.start_server(stall, "127.0.0.1", 0, limit=1024)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        sending = asyncio.create_task(send(bytes(40_000_000), base_url=url))
        await begun.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await asyncio.gather(closed.wait(), return_exceptions=True)
    assert pool.load() == {"main": Load(0, 0)}


async def test_cancelled_read_leaves_the_reply_to_be_closed(send: Send, provider: Provider) -> None:
    go = asyncio.Event()
    provider.answer(body=[b"some", go, b"more"])
    reply = await send()
    await reply.chunk()
    reading = asyncio.create_task(reply.chunk())
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    go.set()
    assert await read(reply) == b"more"  # nothing was lost to the cancelled one


async def test_pool_closed_with_an_open_stream_breaks_it(send: Send, provider: Provider, pool: Pool) -> None:
    provider.answer(body=[b"some", Cut.HANG], framing="chunked")
    reply = await send()
    await reply.chunk()
    reading = asyncio.create_task(reply.chunk())
    await asyncio.sleep(0)
    await pool.close()
    await pool.close()
    with pytest.raises(UpstreamFailed):
        await reading


async def test_all_connections_in_use_is_no_upstream_with_retry_after(
    send: Send, provider: Provider, pool: Pool
) -> None:
    provider.answer(body=[b"some", Cut.HANG], framing="chunked")
    holder = await send(max_connections=1)
    error = await failing(send, max_connections=1)
    assert (error.status, error.code, error.sent) == (503, "no_upstream", False)
    assert error.retry_after_seconds == 1.0
    provider.answer(body=b"next")
    holder.close()
    assert await read(await send(max_connections=1)) == b"next"
    assert pool.load() == {"main": Load(0, 0)}
