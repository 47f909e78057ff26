"""The one way out: every request to a provider goes through `Pool.send`, which keeps each upstream's limits.

Each upstream has a lane of its own: a sender (direct, or through its proxy), as many slots as it may have connections,
and the replies that are open.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from gateway.core.errors import ServiceUnavailable
from gateway.core.upstreams import Upstream
from gateway.upstream import failures
from gateway.upstream.direct import DirectSender
from gateway.upstream.reply import Reply
from gateway.upstream.target import Headers

# How long a call may wait for a connection to come free, and when to try again after it did not.
_SLOT_SECONDS = 5.0
_RETRY_AFTER_SECONDS = 1.0


class Sender(Protocol):
    """A way to send requests to one upstream."""

    async def send(self, method: str, path: str, headers: Headers, body: bytes) -> Reply:
        """One request and the start of its answer, as `Pool.send` says."""

    async def close(self) -> None:
        """Close every connection."""


def sender_for(upstream: Upstream) -> Sender:
    """The direct way unless a proxy is in between."""
    if upstream.proxy_url is None:
        return DirectSender(upstream)
    from gateway.upstream.proxied import ProxiedSender  # noqa: PLC0415 - a tenth of a second that few need

    return ProxiedSender(upstream)


@dataclass(frozen=True, slots=True)
class Load:
    """Connections of one upstream in use, and calls that wait for one."""

    in_use: int
    waiting: int


class _Lane:
    """One upstream's slots, sender and open replies."""

    def __init__(self, upstream: Upstream, sender: Sender) -> None:
        self.upstream = upstream
        self._sender = sender
        self._slots = asyncio.Semaphore(upstream.max_connections)
        self._replies: set[Reply] = set()
        self._in_use = 0
        self._waiting = 0

    @property
    def load(self) -> Load:
        return Load(self._in_use, self._waiting)

    async def send(self, method: str, path: str, headers: Headers, body: bytes, wait_seconds: float) -> Reply:
        await self._take_slot(wait_seconds)
        try:
            reply = await self._sender.send(method, path, headers, body)
        except BaseException:
            self._free_slot()
            raise
        self._replies.add(reply)
        reply.on_end(self._ended)
        return reply

    async def close(self) -> None:
        for reply in tuple(self._replies):
            reply.close()
        await self._sender.close()

    async def _take_slot(self, wait_seconds: float) -> None:
        if self._waiting or self._in_use >= self.upstream.max_connections:
            self._waiting += 1
            try:
                async with asyncio.timeout(wait_seconds):
                    await self._slots.acquire()
            except TimeoutError as error:
                raise failures.exhausted(self.upstream.name, _RETRY_AFTER_SECONDS) from error
            finally:
                self._waiting -= 1
        else:
            await self._slots.acquire()
        self._in_use += 1

    def _free_slot(self) -> None:
        self._in_use -= 1
        self._slots.release()

    def _ended(self, reply: Reply) -> None:
        self._replies.discard(reply)
        self._free_slot()


class Pool:
    """All connections to providers. Create inside the running loop, once; an async context manager."""

    def __init__(
        self, *, slot_seconds: float = _SLOT_SECONDS, sender_for: Callable[[Upstream], Sender] = sender_for
    ) -> None:
        self._slot_seconds = slot_seconds
        self._sender_for = sender_for
        self._lanes: dict[str, _Lane] = {}
        self._retired: list[_Lane] = []
        self._closed = False

    async def __aenter__(self) -> "Pool":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def send(self, upstream: Upstream, method: str, path: str, headers: Headers, body: bytes) -> Reply:
        """Send one request; return once the status line and headers of its answer have come.

        `path` is below the upstream's base URL and may carry a query. Host, credential, accept-encoding and
        content-length are added, the caller's own and hop-by-hop headers dropped.

        Raises UpstreamFailed: upstream_unreachable (`sent` False: no connection; True: it broke before an answer),
        upstream_timeout 504 (first byte late), upstream_broken (not HTTP), no_upstream 503 (every connection stayed in
        use); InvalidRequest for a header or path that could split the request; ServiceUnavailable after `close`.
        """
        lane = self._lanes.get(upstream.name)
        if lane is None or lane.upstream is not upstream:
            lane = await self._lane(upstream)
        return await lane.send(method, path, headers, body, self._slot_seconds)

    def load(self) -> dict[str, Load]:
        """By upstream name, for the gauges."""
        return {name: lane.load for name, lane in self._lanes.items()}

    async def close(self) -> None:
        """Cut what is open and close every connection. May be called often."""
        self._closed = True
        lanes = [*self._lanes.values(), *self._retired]
        self._lanes, self._retired = {}, []
        for lane in lanes:
            await lane.close()

    async def _lane(self, upstream: Upstream) -> _Lane:
        """The upstream's lane; a new one when its settings changed. The old one's open replies go on to their end."""
        if self._closed:
            raise ServiceUnavailable("The gateway is stopping.")
        lane = self._lanes.get(upstream.name)
        if lane is not None and lane.upstream == upstream:
            return lane
        if lane is not None:
            self._retired.append(lane)
        self._lanes[upstream.name] = lane = _Lane(upstream, self._sender_for(upstream))
        done = [old for old in self._retired if old.load == Load(0, 0)]
        self._retired = [old for old in self._retired if old not in done]
        for old in done:
            await old.close()
        return lane
