"""What every connection to a provider keeps to, whichever way a request is sent over it."""

import asyncio
import contextlib
import functools
import socket
import weakref
from math import inf
from typing import Any, cast

import aiohttp
from aiohttp import AddrInfoType
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

from gateway.core.upstreams import Upstream

READ_BUFFER_BYTES = 64 * 1024  # twice this of an unread answer, then the provider has to wait
MAX_LINE_BYTES = 8190
MAX_FIELD_BYTES = 8190
MAX_HEADERS = 128

# Below what providers and their balancers keep (60 s and more); servers that keep less (uvicorn 5 s) say so by
# closing, and the moment of the race is covered by the one safe retry.
_KEEPALIVE_SECONDS = 15.0

# A peer that vanished without a word is noticed after idle + 3 x interval seconds of silence.
_PROBES = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}


class Watch:
    """Ends what is late on one upstream's connections, with one timer for them all: no piece of an answer costs one."""

    def __init__(self, upstream: Upstream) -> None:
        # So much later than its deadline may a connection's end come: an eighth of the deadline, at most a second.
        self._seconds = min(1.0, upstream.first_byte_seconds / 8, upstream.idle_seconds / 8)
        self._loop = asyncio.get_running_loop()
        self._handlers: weakref.WeakSet[Handler] = weakref.WeakSet()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, handler: "Handler") -> None:
        """Watch an open connection's deadline."""
        self._handlers.add(handler)
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)

    def discard(self, handler: "Handler") -> None:
        """Watch it no longer. With the last one gone the timer rests."""
        self._handlers.discard(handler)
        if not self._handlers and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        now = self._loop.time()
        for handler in tuple(self._handlers):
            if now >= handler.deadline:
                handler.set_exception(aiohttp.SocketTimeoutError("Nothing came in time"))
        self._timer = self._loop.call_later(self._seconds, self._look) if self._handlers else None


class Handler(ResponseHandler):
    """aiohttp's connection with its gaps closed.

    An answer that nobody asked for ends the connection: aiohttp would hand it to the next request. A syntax error
    inside a body reaches the body's reader, which would wait on. `heard` tells whether any byte has come since the last
    request. And `deadline`, by the loop's clock, is when the provider must have sent more; `Watch` looks at it in place
    of aiohttp's timer for each read.
    """

    heard = False
    deadline = inf
    _headers_by = inf
    _answer: StreamReader | None = None  # the body of the answer to the last request, once its headers came
    _asked = False

    def __init__(self, watch: Watch, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._watch = watch

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._watch.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._watch.discard(self)
        super().connection_lost(exc)

    def expect_headers(self, seconds: float) -> None:
        """Give the provider this long from now until the headers of its final answer are complete."""
        self._headers_by = self.deadline = self._loop.time() + seconds

    def set_response_params(self, **settings: Any) -> None:
        """aiohttp calls this for each request, just before it is written."""
        self._asked, self._answer, self.heard = True, None, False
        super().set_response_params(**settings)

    def data_received(self, data: bytes) -> None:
        if data and (not self._asked or (self._answer is not None and self._answer.is_eof())):
            self.abort()
            return
        self.heard = True
        super().data_received(data)
        if self._answer is None:  # a part of the headers, or an interim answer, gives no more time
            self.deadline = min(self.deadline, self._headers_by)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """One message's headers are complete."""
        message, body = data
        if self._answer is not None:
            self.abort()
            return
        if message.code >= 200:
            self._answer = body
        super().feed_data(data, size)

    def resume_reading(self, resume_parser: bool = True) -> None:
        """aiohttp calls this for each piece that is read, and runs its parser over nothing if nothing was held back."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def _reschedule_timeout(self) -> None:
        self.deadline = self._loop.time() + self._read_timeout if self._read_timeout else inf

    def _drop_timeout(self) -> None:
        self.deadline = inf

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        super().set_exception(exc, *cause)
        if self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(exc, *cause)


def connector(upstream: Upstream) -> aiohttp.TCPConnector:
    """aiohttp's pool of connections. Calls wait for the lane's slots; its own limit only stands behind them."""
    made = aiohttp.TCPConnector(
        limit=upstream.max_connections, keepalive_timeout=_KEEPALIVE_SECONDS, socket_factory=_with_keepalive
    )
    factory = functools.partial(Handler, Watch(upstream), loop=asyncio.get_running_loop())
    made._factory = cast("functools.partial[ResponseHandler]", factory)
    return made


def timeouts(upstream: Upstream) -> aiohttp.ClientTimeout:
    """No total: a stream may last for hours. Reading is bounded by the first-byte and idle deadlines."""
    return aiohttp.ClientTimeout(
        total=None, sock_connect=upstream.connect_seconds, sock_read=upstream.first_byte_seconds
    )


def _with_keepalive(address: AddrInfoType) -> socket.socket:
    """A socket with TCP keep-alive; what the platform lacks is left out."""
    family, kind, protocol, _, _ = address
    connection = socket.socket(family, kind, protocol)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBES.items():
        option = getattr(socket, name, None)
        if option is not None:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, option, value)
    return connection
