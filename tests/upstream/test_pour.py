"""An answer poured: every piece is handed over the moment it comes, by every way of sending."""

import asyncio

import pytest

from gateway.core.errors import UpstreamFailed
from gateway.upstream.body import MOST_KEPT_BYTES
from tests.provider import Cut, Provider
from tests.upstream.conftest import Send, read


class Taker:
    """Takes pieces; wants no more once `enough` bytes have come."""

    def __init__(self, enough: float = float("inf")) -> None:
        self.pieces: list[bytes] = []
        self.enough = enough
        self.came = asyncio.Event()

    def __call__(self, piece: bytes) -> bool:
        self.pieces.append(piece)
        self.came.set()
        return len(self.taken) < self.enough

    @property
    def taken(self) -> bytes:
        return b"".join(self.pieces)


async def test_pieces_come_as_they_arrive_and_the_end_ends_it(send: Send, provider: Provider) -> None:
    more = asyncio.Event()
    provider.answer(body=[b"a", more, b"b"], framing="chunked")
    take = Taker()
    reply = await send()
    pouring = asyncio.create_task(reply.pour(take))
    await take.came.wait()
    assert take.taken == b"a"
    more.set()
    assert await pouring is False
    assert take.taken == b"ab"
    assert await reply.chunk() == b""


async def test_what_comes_in_one_read_is_one_piece_however_it_is_framed(send: Send, provider: Provider) -> None:
    provider.raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n")
    take = Taker()
    assert await (await send()).pour(take) is False
    assert take.pieces == [b"abc"]


async def test_taker_that_has_enough_can_go_on_later(send: Send, provider: Provider) -> None:
    more = asyncio.Event()
    provider.answer(body=[b"first", more, b"then"], framing="chunked")
    take = Taker(enough=5)
    reply = await send()
    assert await reply.pour(take) is True
    assert take.taken == b"first"
    more.set()
    assert await reply.chunk() == b"then"
    assert await reply.pour(take) is False


async def test_compressed_answer_is_poured_plain(send: Send, provider: Provider) -> None:
    provider.answer(body=b"plain text " * 100, framing="chunked", compress=True)
    take = Taker()
    assert await (await send()).pour(take) is False
    assert take.taken == b"plain text " * 100


async def test_break_comes_behind_what_came_before_it(send: Send, provider: Provider) -> None:
    provider.answer(body=[b"some", Cut.CLOSE], framing="chunked")
    take = Taker()
    reply = await send()
    with pytest.raises(UpstreamFailed) as broken:
        await reply.pour(take)
    assert (take.taken, broken.value.code) == (b"some", "upstream_broken")
    with pytest.raises(UpstreamFailed):
        await reply.pour(take)


async def test_stall_is_late(send: Send, provider: Provider) -> None:
    provider.answer(body=[b"some", Cut.HANG], framing="chunked")
    reply = await send(idle_seconds=0.1)
    with pytest.raises(UpstreamFailed) as late:
        await reply.pour(Taker())
    assert late.value.code == "upstream_timeout"


async def test_fault_of_the_taker_is_raised_where_it_was_poured(send: Send, provider: Provider) -> None:
    more = asyncio.Event()
    provider.answer(body=[b"a", more, b"b"], framing="chunked")
    reply = await send()
    assert await reply.chunk() == b"a"

    def fail(_: bytes) -> bool:
        raise ZeroDivisionError

    pouring = asyncio.create_task(reply.pour(fail))
    more.set()
    with pytest.raises(ZeroDivisionError):
        await pouring
    reply.close()


async def test_cancelled_pouring_takes_no_more_and_loses_nothing(send: Send, provider: Provider) -> None:
    more = asyncio.Event()
    provider.answer(body=[b"a", more, b"b"], framing="chunked")
    take = Taker()
    reply = await send()
    pouring = asyncio.create_task(reply.pour(take))
    await take.came.wait()
    pouring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pouring
    more.set()
    assert await read(reply) == b"b"
    assert take.taken == b"a"


async def test_reply_closed_while_it_pours_breaks_off(send: Send, provider: Provider) -> None:
    provider.answer(body=[b"a", Cut.HANG], framing="chunked")
    take = Taker()
    reply = await send()
    pouring = asyncio.create_task(reply.pour(take))
    await take.came.wait()
    reply.close()
    with pytest.raises(UpstreamFailed):
        await pouring


async def test_answer_left_unread_is_held_back_at_the_provider_and_then_poured(send: Send, provider: Provider) -> None:
    size = 64 * MOST_KEPT_BYTES
    provider.answer(body=[bytes(size)])
    take = Taker()
    reply = await send()
    await reply.chunk()
    assert await reply.pour(take) is False
    assert len(take.taken) < size
