"""What every way of sending must do with a provider that behaves. A version of aiohttp is fit for the lean way if all
tests of this folder pass on it (`gateway.upstream.direct.TESTED_VERSIONS`).
"""

import asyncio
from contextlib import suppress

import pytest

from gateway.core.errors import InvalidRequest, UpstreamFailed
from tests.provider import Framing, Provider
from tests.upstream.conftest import Send, read


@pytest.mark.parametrize("framing", ["length", "chunked", "until_close"])
async def test_body_in_any_framing_comes_whole(send: Send, provider: Provider, framing: Framing) -> None:
    provider.answer(200, {"Content-Type": "text/plain"}, [b"one ", b"two ", b"three"], framing=framing)
    reply = await send()
    assert (reply.status, reply.content_type) == (200, "text/plain")
    assert await read(reply) == b"one two three"
    assert await reply.chunk() == b""


async def test_request_with_caller_headers_carries_ours_and_drops_connection_ones(
    send: Send, provider: Provider
) -> None:
    provider.answer()
    await send(
        b'{"a":1}',
        path="/chat/completions?api-version=1",
        headers=(
            (b"content-type", b"application/json"),
            (b"x-custom", b"a"),
            (b"x-custom", b"b"),
            (b"authorization", b"Bearer sk-gw-caller"),
            (b"transfer-encoding", b"chunked"),
            (b"content-length", b"999"),
            (b"accept-encoding", b"gzip"),
            (b"connection", b"close"),
        ),
    )
    request = await provider.request()
    assert (request.method, request.path, request.body) == (
        "POST",
        "/v1/chat/completions?api-version=1",
        b'{"a":1}',
    )
    assert sorted(name.lower() + ": " + value for name, value in request.headers) == [
        "accept-encoding: identity",
        "authorization: Bearer sk-upstream",
        "content-length: 7",
        "content-type: application/json",
        f"host: 127.0.0.1:{provider.port}",
        "x-custom: a",
        "x-custom: b",
    ]


async def test_get_without_body_sends_no_length(send: Send, provider: Provider) -> None:
    provider.answer()
    await send(b"", "GET", "/models")
    assert (await provider.request()).header("content-length") is None


async def test_post_without_body_sends_length_zero(send: Send, provider: Provider) -> None:
    provider.answer()
    await send(b"", "POST", "/responses/resp_1/cancel")
    assert (await provider.request()).header("content-length") == "0"


@pytest.mark.parametrize(
    "header",
    [(b"x-a", b"1\r\nx-b: 2"), (b"x-a", b"1\n"), (b"x-a", b"\0"), (b"x-a\r\nx-b", b"1"), (b"x a", b"1"), (b"", b"1")],
)
async def test_header_that_splits_the_request_is_refused(
    send: Send, provider: Provider, header: tuple[bytes, bytes]
) -> None:
    with pytest.raises(InvalidRequest):
        await send(headers=(header,))
    assert provider.connections == 0


@pytest.mark.parametrize("path", ["/a b", "/a\r\nx: y", "a", "", "/ä", "/a#b", "/a\0"])
async def test_path_that_splits_the_request_is_refused(send: Send, provider: Provider, path: str) -> None:
    with pytest.raises(InvalidRequest):
        await send(path=path)
    assert provider.connections == 0


async def test_escapes_in_path_pass_unchanged(send: Send, provider: Provider) -> None:
    provider.answer()
    await send(path="/models/a%2Fb%20c?q=%C3%A4&x=1+2")
    assert (await provider.request()).path == "/v1/models/a%2Fb%20c?q=%C3%A4&x=1+2"


async def test_stream_pieces_come_as_they_arrive(send: Send, provider: Provider) -> None:
    more, last = asyncio.Event(), asyncio.Event()
    provider.answer(body=[b"a", more, b"b", last, b"c"], framing="chunked")
    reply = await send()
    assert await reply.chunk() == b"a"
    more.set()
    assert await reply.chunk() == b"b"
    last.set()
    assert await read(reply) == b"c"


async def test_headers_come_before_any_body(send: Send, provider: Provider) -> None:
    go = asyncio.Event()
    provider.answer(201, {"x-request-id": "r"}, [go, b"late"], framing="chunked")
    reply = await send()
    assert (b"x-request-id", b"r") in reply.headers
    go.set()
    assert await read(reply) == b"late"


@pytest.mark.parametrize("status", [204, 304])
async def test_bodiless_status_ends_at_once_and_keeps_the_connection(
    send: Send, provider: Provider, status: int
) -> None:
    provider.raw(f"HTTP/1.1 {status} Nothing\r\netag: x\r\n\r\n".encode())
    provider.answer(body=b"next")
    reply = await send()
    assert (reply.status, await read(reply)) == (status, b"")
    reply.close()
    assert await read(await send()) == b"next"
    assert provider.connections == 1


async def test_head_with_a_length_has_no_body_and_keeps_the_connection(send: Send, provider: Provider) -> None:
    provider.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\ncontent-encoding: gzip\r\n\r\n")
    provider.answer(body=b"next")
    assert await read(await send(b"", "HEAD")) == b""
    assert await read(await send()) == b"next"
    assert provider.connections == 1


async def test_body_behind_the_answer_to_a_head_never_reaches_the_next_call(send: Send, provider: Provider) -> None:
    provider.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\njunk")
    with suppress(UpstreamFailed):  # one way of sending calls the whole answer broken
        assert await read(await send(b"", "HEAD")) == b""
    provider.answer(body=b"next")
    assert await read(await send()) == b"next"
    assert provider.connections == 2


async def test_interim_answers_before_the_final_one_are_passed_over(send: Send, provider: Provider) -> None:
    provider.raw(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    )
    reply = await send()
    assert (reply.status, await read(reply)) == (200, b"ok")


async def test_redirect_is_not_followed(send: Send, provider: Provider) -> None:
    provider.answer(307, {"location": f"{provider.base_url}/elsewhere"})
    assert (await send()).status == 307


async def test_cookies_of_one_answer_do_not_go_with_the_next_request(send: Send, provider: Provider) -> None:
    provider.answer(headers={"set-cookie": "session=1"})
    provider.answer()
    for _ in range(2):
        await read(await send())
        request = await provider.request()
        assert request.header("cookie") is None


async def test_repeated_response_headers_stay_apart_in_lower_case(send: Send, provider: Provider) -> None:
    provider.answer(headers=[("Set-Cookie", "a=1"), ("SET-COOKIE", "b=2")])
    reply = await send()
    assert [value for name, value in reply.headers if name == b"set-cookie"] == [b"a=1", b"b=2"]


async def test_header_without_a_value_is_one(send: Send, provider: Provider) -> None:
    provider.raw(b"HTTP/1.1 200 OK\r\nx-empty:\r\nx-next: 1\r\ncontent-length: 0\r\n\r\n")
    headers = dict((await send()).headers)
    assert (headers[b"x-empty"], headers[b"x-next"]) == (b"", b"1")


async def test_large_header_within_the_cap_passes(send: Send, provider: Provider) -> None:
    provider.answer(headers={"x-large": "v" * 8000})
    assert dict((await send()).headers)[b"x-large"] == b"v" * 8000


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 64 * 1024 + 1, 5_000_000])
async def test_request_body_of_any_size_arrives_whole(send: Send, provider: Provider, size: int) -> None:
    provider.answer(body=b"ok")
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert await read(await send(body)) == b"ok"
    assert (await provider.request()).body == body


async def test_large_answer_read_slowly_is_held_back_at_the_provider(send: Send, provider: Provider) -> None:
    pieces = [b"x" * 65536] * 200
    written = asyncio.Event()
    provider.answer(body=[*pieces, written, b"end"])
    reply = await send()
    first = await reply.chunk()
    assert len(first) < 13_000_000 / 4  # far less than all of it is in our memory
    written.set()
    assert len(first + await read(reply)) == 13_107_200 + 3


@pytest.mark.parametrize("framing", ["length", "chunked", "until_close"])
async def test_gzip_answer_is_unpacked_and_no_longer_says_so(send: Send, provider: Provider, framing: Framing) -> None:
    provider.answer(body=b"plain text " * 100, framing=framing, compress=True)
    reply = await send()
    assert {b"content-encoding", b"content-length"}.isdisjoint(name for name, _ in reply.headers)
    assert await read(reply) == b"plain text " * 100


async def test_unknown_content_encoding_passes_untouched(send: Send, provider: Provider) -> None:
    provider.answer(headers={"content-encoding": "br"}, body=b"\x0b\x02")
    reply = await send()
    assert (b"content-encoding", b"br") in reply.headers
    assert await read(reply) == b"\x0b\x02"


async def test_compression_bomb_comes_in_bounded_pieces(send: Send, provider: Provider) -> None:
    provider.answer(body=bytes(20_000_000), compress=True)
    reply = await send()
    sizes = []
    while piece := await reply.chunk():
        sizes.append(len(piece))
    assert (sum(sizes), max(sizes)) == (20_000_000, 65536)


async def test_early_answer_to_an_unread_body_comes(send: Send) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
        await gone.wait()
        writer.close()

    gone = asyncio.Event()
    server = await asyncio.start_server(refuse, "127.0.0.1", 0, limit=65536)
    async with server:
        port = server.sockets[0].getsockname()[1]
        reply = await send(bytes(30_000_000), base_url=f"http://127.0.0.1:{port}")
        assert (reply.status, await read(reply)) == (413, b"big")
        gone.set()
