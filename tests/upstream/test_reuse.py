"""What every way of sending must do with connections that are kept: share them, and never trust a stale one."""

import asyncio
import gc
from dataclasses import replace

import pytest

from gateway.core.errors import UpstreamFailed
from gateway.core.upstreams import Upstream
from gateway.upstream.body import MOST_KEPT_BYTES
from gateway.upstream.connection import Connection
from gateway.upstream.direct import DirectSender
from gateway.upstream.pool import Pool
from tests.patience import PATIENCE_SECONDS
from tests.provider import Cut, Framing, Provider
from tests.upstream.conftest import Send, read


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_connection_after_a_whole_answer_is_used_again(send: Send, provider: Provider, framing: Framing) -> None:
    for _ in range(3):
        provider.answer(body=b"x", framing=framing)
        reply = await send()
        assert await read(reply) == b"x"
        reply.close()
    assert provider.connections == 1


async def test_connection_after_an_empty_answer_is_used_again(send: Send, provider: Provider) -> None:
    for _ in range(3):
        provider.answer()
        (await send()).close()
    assert provider.connections == 1


@pytest.mark.parametrize("header", ["connection: close\r\ncontent-length: 1", "x: y"])
async def test_connection_that_the_answer_ends_is_not_used_again(send: Send, provider: Provider, header: str) -> None:
    provider.raw(f"HTTP/1.1 200 OK\r\n{header}\r\n\r\nx".encode(), Cut.CLOSE)
    assert await read(await send()) == b"x"
    provider.answer(body=b"y")
    assert await read(await send()) == b"y"
    assert provider.connections == 2


async def test_connection_of_a_half_read_answer_is_not_used_again(send: Send, provider: Provider) -> None:
    provider.answer(body=[b"secret of the one", Cut.HANG, b"before"])
    (await send()).close()
    provider.answer(body=b"mine")
    assert await read(await send()) == b"mine"
    assert provider.connections == 2


async def test_direct_way_connection_of_a_large_answer_that_nobody_read_leaves_no_call_waiting(
    provider: Provider, upstream: Upstream
) -> None:
    patient = replace(upstream, first_byte_seconds=PATIENCE_SECONDS)
    async with Pool(sender_for=DirectSender) as pool:
        provider.answer(body=bytes(MOST_KEPT_BYTES + 1))  # its last byte is what makes the provider wait
        reply = await pool.send(patient, "POST", "/a", (), b"{}")
        while not reply._body.is_whole:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        reply.close()
        provider.answer(body=b"y")
        assert await read(await pool.send(patient, "POST", "/a", (), b"{}")) == b"y"


async def test_direct_way_nothing_is_kept_of_connections_that_closed_while_they_rested(
    provider: Provider, upstream: Upstream
) -> None:
    async with Pool(sender_for=DirectSender) as pool:
        go = asyncio.Event()
        for _ in range(10):
            provider.answer(body=[go])
        replies = await asyncio.gather(*[pool.send(upstream, "POST", "/a", (), b"{}") for _ in range(10)])
        go.set()
        while replies:
            await read(replies.pop())
        provider.drop_connections()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while any(type(thing) is Connection for thing in gc.get_objects()):
                await asyncio.sleep(0)
                gc.collect()


async def test_connection_closed_while_idle_is_replaced(send: Send, provider: Provider) -> None:
    provider.answer(body=b"x")
    await read(await send())
    provider.drop_connections()
    provider.answer(body=b"y")
    assert await read(await send()) == b"y"
    assert provider.connections == 2


async def test_reused_connection_closed_under_the_request_is_tried_once_more(send: Send, provider: Provider) -> None:
    provider.answer(body=b"x")
    await read(await send())
    provider.raw(Cut.CLOSE)
    provider.answer(body=b"y")
    assert await read(await send(b"the body")) == b"y"
    assert [request.body for request in provider.requests[1:]] == [b"the body"] * 2


async def test_second_silent_close_is_given_up(send: Send, provider: Provider) -> None:
    provider.answer(body=b"x")
    await read(await send())
    provider.raw(Cut.CLOSE)
    provider.raw(Cut.CLOSE)
    with pytest.raises(UpstreamFailed) as caught:
        await send()
    assert (caught.value.code, caught.value.sent) == ("upstream_unreachable", True)


@pytest.mark.parametrize("cut", [Cut.CLOSE, Cut.RESET])
async def test_reused_connection_that_said_something_is_not_tried_again(
    send: Send, provider: Provider, cut: Cut
) -> None:
    provider.answer(body=b"x")
    await read(await send())
    provider.raw(b"HTTP", cut)
    with pytest.raises(UpstreamFailed):
        await send()
    assert len(provider.requests) == 2


async def test_second_try_that_finds_no_connection_was_sent_all_the_same(send: Send, provider: Provider) -> None:
    provider.answer(body=b"x")
    await read(await send())
    provider.refuse_connections()
    provider.raw(Cut.CLOSE)
    with pytest.raises(UpstreamFailed) as caught:
        await send()
    assert (caught.value.code, caught.value.sent) == ("upstream_unreachable", True)  # so nobody else is asked


async def test_call_that_the_pool_cuts_is_not_tried_again(send: Send, provider: Provider, pool: Pool) -> None:
    provider.answer(body=b"x")
    await read(await send())
    provider.raw(Cut.HANG)
    sending = asyncio.create_task(send())
    for _ in range(2):
        await provider.request()
    await pool.close()
    with pytest.raises(UpstreamFailed):
        await sending
    assert len(provider.requests) == 2


async def test_new_connection_closed_under_the_request_is_not_tried_again(send: Send, provider: Provider) -> None:
    provider.raw(Cut.CLOSE)
    with pytest.raises(UpstreamFailed):
        await send()
    assert len(provider.requests) == 1


@pytest.mark.parametrize("extra", [b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen", b"garbage"])
async def test_bytes_behind_an_answer_never_reach_the_next_call(send: Send, provider: Provider, extra: bytes) -> None:
    go = asyncio.Event()
    provider.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no", go, b"k" + extra)
    reply = await send()
    go.set()
    try:
        assert await read(reply) in (b"ok", b"o", b"k")
    except UpstreamFailed as error:
        assert error.code == "upstream_broken"  # the two came in one piece, and the second was no HTTP
    reply.close()
    provider.answer(body=b"mine")
    assert await read(await send()) == b"mine"
    assert provider.connections == 2


async def test_direct_way_reset_of_a_silent_reused_connection_is_tried_once_more(
    provider: Provider, upstream: Upstream
) -> None:
    async with Pool(sender_for=DirectSender) as pool:
        provider.answer(body=b"x")
        await read(await pool.send(upstream, "POST", "/a", (), b"{}"))
        provider.raw(Cut.RESET)
        provider.answer(body=b"y")
        assert await read(await pool.send(upstream, "POST", "/a", (), b"{}")) == b"y"


async def test_answer_on_an_idle_connection_never_reaches_the_next_call(send: Send, provider: Provider) -> None:
    more = asyncio.Event()
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n"
    provider.raw(answer + b"first.", more, answer + b"stolen")
    assert await read(await send()) == b"first."
    more.set()
    await provider.requests[0].closed()
    provider.answer(body=b"mine")
    assert await read(await send()) == b"mine"


async def test_changed_upstream_takes_new_connections_and_old_replies_go_on(
    pool: Pool, provider: Provider, upstream: Upstream
) -> None:
    go = asyncio.Event()
    provider.answer(body=[b"a", go, b"b"])
    old = await pool.send(upstream, "POST", "/a", (), b"{}")
    provider.answer()
    await pool.send(replace(upstream, api_key="sk-new"), "POST", "/b", (), b"{}")
    go.set()
    assert await read(old) == b"ab"
    assert [request.header("authorization") for request in provider.requests] == [
        "Bearer sk-upstream",
        "Bearer sk-new",
    ]


async def test_many_calls_at_once_share_no_connection(send: Send, provider: Provider) -> None:
    go = asyncio.Event()
    for index in range(20):
        provider.answer(body=[go, b"%d" % index])
    sending = asyncio.gather(*[send() for _ in range(20)])
    replies = await sending
    go.set()
    bodies = await asyncio.gather(*[read(reply) for reply in replies])
    assert sorted(int(body) for body in bodies) == list(range(20))
    assert provider.connections == 20
