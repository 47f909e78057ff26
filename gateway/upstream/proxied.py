"""The way to send through an outbound proxy: aiohttp's ClientSession, as documented, with its gaps closed."""

import asyncio
import functools
import io
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
from aiohttp import ClientResponse, ClientSession, TraceConfig
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from yarl import URL

from gateway.core.errors import UpstreamFailed
from gateway.core.upstreams import Upstream
from gateway.upstream import failures
from gateway.upstream.body import BrokenBody, LateBody, Take
from gateway.upstream.connection import KEEPALIVE_SECONDS, LENGTH_HEADERS, MAX_FIELD_BYTES, MAX_HEADERS
from gateway.upstream.reply import Reply
from gateway.upstream.sockets import with_keepalive
from gateway.upstream.target import BODILESS, Headers, Target

_READ_BUFFER_BYTES = 64 * 1024  # twice this of an unread answer, then the provider has to wait
_ONE_WRITE_BYTES = 64 * 1024


class _Handler(ResponseHandler):
    """aiohttp's connection with its gaps closed.

    An answer that nobody asked for ends the connection: aiohttp would hand it to the next request. A syntax error
    inside a body reaches the body's reader, which would wait on.
    """

    _answer: StreamReader | None = None  # the body of the answer to the last request, once its headers came
    _asked = False

    def set_response_params(self, **settings: Any) -> None:
        """aiohttp calls this for each request, just before it is written."""
        self._asked, self._answer = True, None
        super().set_response_params(**settings)

    def data_received(self, data: bytes) -> None:
        if data and (not self._asked or (self._answer is not None and self._answer.is_eof())):
            self.abort()
            return
        super().data_received(data)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """One message's headers are complete."""
        message, body = data
        if self._answer is not None:
            self.abort()
            return
        if message.code >= 200:
            self._answer = body
        super().feed_data(data, size)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        super().set_exception(exc, *cause)
        if self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(exc, *cause)


class _Progress:
    """How far one attempt came, told by aiohttp's tracing."""

    __slots__ = ("reused", "sent")

    def __init__(self) -> None:
        self.reused = False
        self.sent = False


class _Body:
    """aiohttp's reader of a response as a Body."""

    __slots__ = ("_ends_with_connection", "_handler", "_reader")

    def __init__(self, response: ClientResponse, handler: ResponseHandler | None) -> None:
        self._reader = response.content
        self._handler = handler
        self._ends_with_connection = self._reader is not EMPTY_PAYLOAD and not any(
            name.lower() in LENGTH_HEADERS for name, _ in response.raw_headers
        )

    @property
    def is_whole(self) -> bool:
        return self._reader.is_eof() and not self._was_cut

    @property
    def is_read(self) -> bool:
        return self._reader.at_eof() and not self._was_cut

    async def read(self) -> bytes:
        try:
            piece = await self._reader.readany()
        except (aiohttp.ClientError, HttpProcessingError, OSError, RuntimeError) as error:
            if piece := self._arrived():
                return piece
            raise (LateBody if isinstance(error, TimeoutError) else BrokenBody)() from error
        if not piece and self._was_cut:
            raise BrokenBody
        return piece

    async def pour(self, take: Take) -> bool:
        while piece := await self.read():
            if not take(piece):
                return True
        return False

    def fail(self, error: BrokenBody) -> None:
        if not self._reader.is_eof():
            self._reader.set_exception(aiohttp.ClientConnectionError(str(error)))

    @property
    def _was_cut(self) -> bool:
        """Whether only the connection's end ended the body, and not in order: the parser takes a reset for an end."""
        reset = self._handler is not None and isinstance(self._handler.exception(), aiohttp.ClientOSError)
        return reset and self._ends_with_connection

    def _arrived(self) -> bytes:
        """Bytes that came before the break. aiohttp's reader raises first and would keep them."""
        rest = b"".join(self._reader._buffer)[self._reader._buffer_offset :]
        self._reader._buffer.clear()
        return rest


class _Carrier:
    """aiohttp's response as the holder of its connection."""

    __slots__ = ("_handler", "_response")

    def __init__(self, response: ClientResponse, handler: ResponseHandler | None) -> None:
        self._response = response
        self._handler = handler

    def give_back(self) -> None:
        self._response.release()

    def abort(self) -> None:
        if self._handler is not None:
            self._handler.abort()
        self._response.close()


class ProxiedSender:
    """Sends requests to one upstream. Create inside the running loop."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._target = Target(upstream)
        self._session = ClientSession(
            connector=_connector(upstream),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=upstream.connect_seconds, sock_read=upstream.first_byte_seconds
            ),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
            read_bufsize=_READ_BUFFER_BYTES,
            max_line_size=MAX_FIELD_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            max_headers=MAX_HEADERS,
            trace_configs=[_tracing()],
        )

    async def send(self, method: str, path: str, headers: Headers, body: bytes) -> Reply:
        url, pairs = self._target.request(method, path, headers)
        progress = _Progress()
        try:
            response = await self._attempt(method, url, pairs, body, progress)
        except aiohttp.ServerDisconnectedError as error:
            # The one safe retry, as in `direct`. Only with not one byte of an answer is the message words.
            if not (progress.reused and isinstance(error.message, str)) or self._session.closed:
                raise self._lost(progress) from error
            try:
                response = await self._attempt(method, url, pairs, body, _Progress())
            except (aiohttp.ServerDisconnectedError, UpstreamFailed) as again:
                if isinstance(again, UpstreamFailed) and again.sent:
                    raise
                raise failures.unanswered(self._upstream.name) from again  # it did go out, the first time
        connection = response.connection  # None when the whole answer came with its headers
        handler: ResponseHandler | None = connection.protocol if connection is not None else None
        carrier = _Carrier(response, handler)
        if response.status < 200:  # aiohttp passes on 101 and what is less than 100
            carrier.abort()
            raise failures.broken(self._upstream.name)
        if response.status == 407 and self._upstream.proxy_url is not None:
            carrier.abort()  # the proxy's own word, in front of a provider that has seen nothing
            raise failures.unreachable(self._upstream.name)
        if handler is not None:  # from the headers on, the deadline is the one between two pieces
            handler.read_timeout = self._upstream.idle_seconds
            handler.start_timeout()
        said = tuple([(name.lower(), value) for name, value in response.raw_headers])
        return Reply(self._upstream.name, response.status, said, _Body(response, handler), carrier)

    async def close(self) -> None:
        await self._session.close()

    async def _attempt(
        self, method: str, url: URL, headers: list[tuple[str, str]], body: bytes, progress: _Progress
    ) -> ClientResponse:
        """One request up to the answer's headers. Raises UpstreamFailed, and ServerDisconnectedError for `send`."""
        try:
            async with asyncio.timeout(self._upstream.first_byte_seconds):
                return await self._session.request(
                    method,
                    url,
                    headers=headers,
                    data=_data(method, body),
                    allow_redirects=False,
                    proxy=self._upstream.proxy_url,
                    ssl=self._target.tls or True,
                    trace_request_ctx=progress,
                )
        except aiohttp.ServerDisconnectedError:
            raise
        except aiohttp.ClientHttpProxyError as error:
            raise failures.unreachable(self._upstream.name) from error
        except aiohttp.ClientResponseError as error:
            raise failures.broken(self._upstream.name) from error
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            if progress.sent and isinstance(error, TimeoutError):
                raise failures.late(self._upstream.name) from error
            raise self._lost(progress) from error

    def _lost(self, progress: _Progress) -> UpstreamFailed:
        name = self._upstream.name
        return failures.unanswered(name) if progress.sent else failures.unreachable(name)


def _connector(upstream: Upstream) -> aiohttp.TCPConnector:
    """aiohttp's pool of connections. Calls wait for the lane's slots; its own limit only stands behind them."""
    made = aiohttp.TCPConnector(
        limit=upstream.max_connections, keepalive_timeout=KEEPALIVE_SECONDS, socket_factory=with_keepalive
    )
    factory = functools.partial(_Handler, loop=asyncio.get_running_loop())
    made._factory = cast("functools.partial[ResponseHandler]", factory)
    return made


def _data(method: str, body: bytes) -> bytes | io.BytesIO | None:
    """The body in the form that aiohttp sends well: large ones in pieces, none for a bodiless method."""
    if not body and method in BODILESS:
        return None
    return body if len(body) <= _ONE_WRITE_BYTES else io.BytesIO(body)


def _tracing() -> TraceConfig:
    """Writes what happens to a request into the _Progress that it carries."""

    async def reused(_: ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.reused = True

    async def sent(_: ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.sent = True

    tracing = TraceConfig()
    tracing.on_connection_reuseconn.append(reused)
    tracing.on_request_headers_sent.append(sent)
    return tracing
