"""The plain way to send: aiohttp's ClientSession, as documented. The fallback, and the way through proxies."""

import asyncio
import io
from types import SimpleNamespace

import aiohttp
from aiohttp import ClientResponse, ClientSession, TraceConfig
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from gateway.core.errors import UpstreamFailed
from gateway.core.upstreams import Upstream
from gateway.upstream import failures
from gateway.upstream.connections import (
    MAX_FIELD_BYTES,
    MAX_HEADERS,
    MAX_LINE_BYTES,
    READ_BUFFER_BYTES,
    connector,
    timeouts,
)
from gateway.upstream.reply import Reply
from gateway.upstream.target import BODILESS, Headers, Target

_ONE_WRITE_BYTES = 64 * 1024


class _Progress:
    """How far one attempt came, told by aiohttp's tracing."""

    __slots__ = ("reused", "sent")

    def __init__(self) -> None:
        self.reused = False
        self.sent = False


class _Carrier:
    """aiohttp's response as the holder of its connection."""

    __slots__ = ("_handler", "_response")

    def __init__(self, response: ClientResponse) -> None:
        self._response = response
        connection = response.connection  # None when the whole answer came with its headers
        self._handler: ResponseHandler | None = connection.protocol if connection is not None else None

    @property
    def was_reset(self) -> bool:
        return self._handler is not None and isinstance(self._handler.exception(), aiohttp.ClientOSError)

    def idle_after(self, seconds: float) -> None:
        """From the headers on, the deadline is the one between two pieces."""
        if self._handler is not None:
            self._handler.read_timeout = seconds
            self._handler.start_timeout()

    def give_back(self) -> None:
        self._response.release()

    def abort(self) -> None:
        if self._handler is not None:
            self._handler.abort()
        self._response.close()


class PlainSender:
    """Sends requests to one upstream. Create inside the running loop."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._target = Target(upstream)
        self._session = ClientSession(
            connector=connector(upstream),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=timeouts(upstream),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
            read_bufsize=READ_BUFFER_BYTES,
            max_line_size=MAX_LINE_BYTES,
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
            # The one safe retry, as in `lean`. Only with not one byte of an answer is the message words.
            if not (progress.reused and isinstance(error.message, str)):
                raise self._lost(progress) from error
            progress = _Progress()
            try:
                response = await self._attempt(method, url, pairs, body, progress)
            except aiohttp.ServerDisconnectedError as again:
                raise self._lost(progress) from again
        carrier = _Carrier(response)
        if response.status == 101:
            carrier.abort()
            raise failures.broken(self._upstream.name)
        carrier.idle_after(self._upstream.idle_seconds)
        return Reply(self._upstream.name, response.status, response.raw_headers, response.content, carrier)

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
                    ssl=self._target.ssl,
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
