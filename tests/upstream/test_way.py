"""The way to an upstream: TLS under one's own authority, outbound proxies, and the facts of each kind of provider."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.core.errors import UpstreamFailed
from gateway.core.upstreams import Provider as Species
from gateway.core.upstreams import Upstream
from gateway.upstream.direct import DirectSender
from gateway.upstream.pool import Pool
from gateway.upstream.target import Target
from tests.outbound import AUTHORITY, Proxy, running_proxy, running_tls_provider
from tests.patience import PATIENCE_SECONDS
from tests.provider import Cut, Provider
from tests.upstream.conftest import read


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with running_proxy() as running:
        yield running


@pytest.fixture
async def tls_provider() -> AsyncIterator[Provider]:
    async with running_tls_provider() as running:
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


async def test_direct_way_cancelled_in_the_moment_that_tls_stands_closes_at_once(tls_upstream: Upstream) -> None:
    sender = DirectSender(tls_upstream)
    sending = asyncio.create_task(sender.send("POST", "/a", (), b"{}"))
    while not sender._watch.connections:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    async with asyncio.timeout(PATIENCE_SECONDS):
        while sender._watch.connections:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)


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
        {"base_url": "https://api..example.com"},
        {"base_url": "https://" + "a" * 64 + ".example.com"},
        {"api_key": "sk-1\r\nx-evil: 1"},
    ],
)
def test_upstream_that_cannot_work_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="of upstream main"):
        Target(replace(Upstream("main", "openai", "https://api.example.com/v1", "sk-1"), **changes))  # type: ignore[arg-type]
