"""The first candidate that answers -> Reply. Retries live here, only while the provider cannot have seen the call."""

import re
from collections.abc import Callable, Sequence

import msgspec

from gateway.core.errors import InvalidRequest, LoopDetected, UpstreamFailed
from gateway.core.upstreams import Upstream
from gateway.upstream.fetch import HOP, HOP_HEADER
from gateway.upstream.pool import Pool
from gateway.upstream.reply import Reply

_PASSED = frozenset(
    {b"content-type", b"accept", b"anthropic-version", b"anthropic-beta", b"openai-beta", b"user-agent"}
)
_NO_HOST = re.compile(rb"[/?#@\\\s]")
"""What no host and port contain; who builds a URL from such a Host header gets another path than was asked for."""

RawHeaders = Sequence[tuple[bytes, bytes]]


class Answered(msgspec.Struct, frozen=True):
    """The upstream that answered, and its answer."""

    upstream: Upstream
    reply: Reply


def outgoing_headers(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """Return the client's headers that the provider may see, and our hop header.

    Raises LoopDetected for a request that came from a gateway like this one, InvalidRequest for a Host header that is
    more than a host.
    """
    passed = [HOP]
    for header in headers:
        if header[0] in _PASSED:
            passed.append(header)
        elif header[0] == b"host" and _NO_HOST.search(header[1]):
            raise InvalidRequest("The Host header must be a host and its port, nothing else.")
        elif header[0] == HOP_HEADER:
            raise LoopDetected("This request was sent by this gateway itself: an upstream's base URL points back here.")
    return passed


async def forward(
    pool: Pool,
    candidates: Sequence[Upstream],
    method: str,
    headers: RawHeaders,
    said_to: Callable[[Upstream], tuple[str, bytes]],
) -> Answered:
    """Send to the first candidate that can be reached. `said_to` returns the path and the body for each.

    Raises UpstreamFailed of the last one.
    """
    for upstream in candidates[:-1]:
        try:
            path, body = said_to(upstream)
            return Answered(upstream, await pool.send(upstream, method, path, headers, body))
        except UpstreamFailed as failure:
            if failure.sent:
                raise
    last = candidates[-1]
    path, body = said_to(last)
    return Answered(last, await pool.send(last, method, path, headers, body))
