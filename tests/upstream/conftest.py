"""Both ways of sending, each under test as a whole pool, on both event loops that the gateway runs on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace

import pytest
import uvloop

from gateway.core.upstreams import Upstream
from gateway.upstream.direct import DirectSender
from gateway.upstream.pool import Pool
from gateway.upstream.proxied import ProxiedSender
from gateway.upstream.reply import Reply
from tests.patience import PATIENCE_SECONDS
from tests.provider import Provider

Send = Callable[..., Coroutine[object, object, Reply]]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=[DirectSender, ProxiedSender], ids=["direct", "proxied"])
async def pool(request: pytest.FixtureRequest) -> AsyncIterator[Pool]:
    async with Pool(sender_for=request.param, slot_seconds=0.05) as running:
        yield running


@pytest.fixture
def upstream(provider: Provider) -> Upstream:
    """The scripted provider as an upstream; tests with a deadline in play replace it."""
    return Upstream("main", "openai", provider.base_url, "sk-upstream", connect_seconds=PATIENCE_SECONDS)


@pytest.fixture
def send(pool: Pool, upstream: Upstream) -> Send:
    """Send one request: `send()`, `send(b"body", "GET", "/path", headers, idle_seconds=1)`."""

    async def sent(
        body: bytes = b"{}",
        method: str = "POST",
        path: str = "/chat/completions",
        headers: tuple[tuple[bytes, bytes], ...] = (),
        **changes: float | int,
    ) -> Reply:
        return await pool.send(replace(upstream, **changes), method, path, headers, body)  # type: ignore[arg-type]

    return sent


async def read(reply: Reply) -> bytes:
    """The whole body."""
    pieces = []
    while piece := await reply.chunk():
        pieces.append(piece)
    return b"".join(pieces)
