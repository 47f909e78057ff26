"""The way to an upstream: TLS under one's own authority, outbound proxies, and the facts of each kind of provider."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.core.errors import UpstreamFailed
from gateway.core.upstreams import Provider as Species
from gateway.core.upstreams import Upstream
from gateway.upstream.pool import Pool
from gateway.upstream.target import Target
from tests.provider import Cut, Provider, running_provider
from tests.upstream.conftest import read

# Made for these tests, valid for a hundred years; the authority's own key was thrown away.
CERTIFICATES = Path(__file__).with_name("certificates")
AUTHORITY = str(CERTIFICATES / "authority.pem")


class Proxy:
    """An outbound proxy: relays absolute-form requests and CONNECT tunnels, and notes the first line of each."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.heads: list[bytes] = []
        self.refuses = False
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        line = head.split(b"\r\n")[0]
        self.lines.append(line)
        self.heads.append(head)
        if self.refuses:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
            writer.close()
            return
        method, target, _ = line.split(b" ")
        authority = target.removeprefix(b"http://").split(b"/")[0].decode()
        host, _, port = authority.partition(":")
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        else:
            up_writer.write(head.replace(target, b"/" + target.split(b"/", 3)[3], 1))
        await asyncio.gather(_pump(reader, up_writer), _pump(up_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except OSError:
        pass
    finally:
        writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    proxy = Proxy()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield proxy


@pytest.fixture
async def tls_provider() -> AsyncIterator[Provider]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATES / "server.pem")
    async with running_provider(context) as running:
        yield running


@pytest.fixture
def tls_upstream(tls_provider: Provider) -> Upstream:
    return Upstream("tls", "openai", tls_provider.base_url, "sk-upstream", ca_file=AUTHORITY)


async def test_own_authority_is_trusted_and_connections_are_kept(
    pool: Pool, tls_provider: Provider, tls_upstream: Upstream
) -> None:
    for _ in range(3):
        tls_provider.answer(body=b"secret")
        assert await read(await pool.send(tls_upstream, "POST", "/a", (), b"{}")) == b"secret"
    assert tls_provider.connections == 1


async def test_large_body_over_tls_arrives_whole(pool: Pool, tls_provider: Provider, tls_upstream: Upstream) -> None:
    tls_provider.answer()
    await pool.send(tls_upstream, "POST", "/a", (), b"0123456789" * 200_000)
    assert (await tls_provider.request()).body == b"0123456789" * 200_000


async def test_half_read_tls_stream_is_closed_at_once(
    pool: Pool, tls_provider: Provider, tls_upstream: Upstream
) -> None:
    tls_provider.answer(body=[b"some", Cut.HANG], framing="chunked")
    reply = await pool.send(tls_upstream, "POST", "/a", (), b"{}")
    assert await reply.chunk() == b"some"
    reply.close()
    await (await tls_provider.request()).closed()


async def test_unknown_authority_is_unreachable(pool: Pool, tls_provider: Provider, tls_upstream: Upstream) -> None:
    with pytest.raises(UpstreamFailed) as caught:
        await pool.send(replace(tls_upstream, ca_file=None), "POST", "/a", (), b"{}")
    assert (caught.value.code, caught.value.sent) == ("upstream_unreachable", False)


async def test_http_goes_through_the_proxy_whole(proxy: Proxy, provider: Provider, upstream: Upstream) -> None:
    provider.answer(body=b"ok")
    async with Pool() as pool:
        reply = await pool.send(replace(upstream, proxy_url=proxy.url), "POST", "/a?b=c", (), b"{}")
        assert await read(reply) == b"ok"
    assert proxy.lines == [f"POST {provider.base_url}/a?b=c HTTP/1.1".encode()]
    assert (await provider.request()).header("authorization") == "Bearer sk-upstream"


async def test_https_goes_through_a_tunnel_that_never_sees_the_key(
    proxy: Proxy, tls_provider: Provider, tls_upstream: Upstream
) -> None:
    tls_provider.answer(body=b"ok")
    async with Pool() as pool:
        through = replace(tls_upstream, proxy_url=proxy.url.replace("//", "//user:word@"))
        assert await read(await pool.send(through, "POST", "/a", (), b"{}")) == b"ok"
    assert proxy.lines == [f"CONNECT 127.0.0.1:{tls_provider.port} HTTP/1.1".encode()]
    assert b"Proxy-Authorization: Basic dXNlcjp3b3Jk" in proxy.heads[0]
    assert b"sk-upstream" not in proxy.heads[0]


async def test_proxy_that_refuses_the_tunnel_is_unreachable(proxy: Proxy, tls_upstream: Upstream) -> None:
    proxy.refuses = True
    async with Pool() as pool:
        with pytest.raises(UpstreamFailed) as caught:
            await pool.send(replace(tls_upstream, proxy_url=proxy.url), "POST", "/a", (), b"{}")
    assert (caught.value.code, caught.value.sent) == ("upstream_unreachable", False)


@pytest.mark.parametrize(
    ("species", "line"),
    [
        ("openai", b"authorization: Bearer sk-1\r\n"),
        ("demo", b"authorization: Bearer sk-1\r\n"),
        ("azure", b"api-key: sk-1\r\n"),
        ("anthropic", b"x-api-key: sk-1\r\n"),
        ("gemini", b"x-goog-api-key: sk-1\r\n"),
    ],
)
def test_each_provider_gets_the_key_in_its_own_header(species: Species, line: bytes) -> None:
    head = Target(Upstream("a", species, "https://api.example.com", "sk-1")).head("GET", "/models", (), 0)
    assert head.count(b"sk-1") == 1
    assert line in head


def test_no_key_sends_no_credential() -> None:
    head = Target(Upstream("a", "openai", "http://localhost:8000/v1/", "")).head("POST", "/chat/completions", (), 2)
    assert head == (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost:8000\r\n"
        b"accept-encoding: identity\r\ncontent-length: 2\r\n\r\n"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"base_url": "ftp://example.com"},
        {"base_url": "example.com/v1"},
        {"base_url": "https://user:word@example.com"},
        {"base_url": "https://example.com?x=1"},
        {"base_url": "https://example.com#x"},
        {"api_key": "sk-1\r\nx-evil: 1"},
    ],
)
def test_upstream_that_cannot_work_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="of upstream main"):
        Target(replace(Upstream("main", "openai", "https://api.example.com/v1", "sk-1"), **changes))  # type: ignore[arg-type]
