"""What the gateway itself asks a provider: whole answers, and long files line by line."""

import asyncio
from collections.abc import AsyncIterator

from gateway.core.errors import NotFound
from gateway.core.upstreams import Upstream
from gateway.upstream import failures
from gateway.upstream.pool import Pool
from gateway.upstream.reply import Reply

HOP_HEADER = b"x-gateway-hop"
HOP = (HOP_HEADER, b"1")
"""What every request of ours to a provider says: it came through a gateway."""
MOST_BYTES = 64 * 1024 * 1024
MOST_LINE_BYTES = 16 * 1024 * 1024


async def fetch(pool: Pool, upstream: Upstream, method: str, path: str, seconds: float) -> tuple[int, bytes]:
    """Return status and body of an answer without a request body. Raises UpstreamFailed, also after so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            reply = await pool.send(upstream, method, path, (HOP,), b"")
            try:
                return reply.status, await _whole(upstream, reply)
            finally:
                reply.close()
    except TimeoutError as error:
        raise failures.late(upstream.name) from error


async def fetch_lines(pool: Pool, upstream: Upstream, path: str) -> AsyncIterator[bytes]:
    """Yield the lines of a file as they come, without their ends and without empty ones.

    Raises NotFound when the provider has no such file, UpstreamFailed for any other trouble.
    """
    reply = await pool.send(upstream, "GET", path, (HOP,), b"")
    try:
        if reply.status == 404:
            raise NotFound("The provider does not have this file any more.", code="not_found")
        if reply.status != 200:
            raise failures.broken(upstream.name)
        begun: list[bytes] = []
        size = 0
        while piece := await reply.chunk():
            first, *others = piece.split(b"\n")
            begun.append(first)
            size += len(first)
            if size > MOST_LINE_BYTES:
                raise failures.broken(upstream.name)
            for other in others:
                if (line := b"".join(begun)).strip():
                    yield line
                begun, size = [other], len(other)
        if (line := b"".join(begun)).strip():
            yield line
    finally:
        reply.close()


async def _whole(upstream: Upstream, reply: Reply) -> bytes:
    body = bytearray()
    while piece := await reply.chunk():
        body += piece
        if len(body) > MOST_BYTES:
            raise failures.broken(upstream.name)
    return bytes(body)
