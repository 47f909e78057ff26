"""The lean way to send: aiohttp's connector and response parser, our own request bytes, nothing in between.

`ClientSession._request` is more than half of the cost of relaying a call. What is used instead is public in name but
little documented, so it is taken only for the versions of aiohttp on which tests/upstream/test_contract.py has passed
(`usable`); any other, and any upstream behind a proxy, goes the plain way.
"""

import asyncio
import typing

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http import HttpResponseParser, RawResponseMessage, StreamWriter
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader

from gateway.core.upstreams import Upstream
from gateway.upstream import failures
from gateway.upstream.connections import (
    MAX_FIELD_BYTES,
    MAX_HEADERS,
    MAX_LINE_BYTES,
    READ_BUFFER_BYTES,
    Handler,
    connector,
    timeouts,
)
from gateway.upstream.reply import Reply
from gateway.upstream.target import Headers, Target

TESTED_VERSIONS = frozenset({"3.14.5"})
# Up to here the body goes out in one write with the head; above, a task writes it at the pace of the socket.
ONE_WRITE_BYTES = 64 * 1024
_PIECE_BYTES = 256 * 1024


def usable(version: str = aiohttp.__version__) -> bool:
    """Whether this aiohttp is one that the contract was tested on, with its C parser."""
    return version in TESTED_VERSIONS and HttpResponseParser.__module__ == "aiohttp._http_parser"


class _Exchange:
    """One request on one connection. Ends in `give_back` or `abort`, once; more do no harm."""

    __slots__ = ("_connection", "_handler", "_writing", "reused")

    def __init__(self, connection: Connection, handler: Handler) -> None:
        self._connection = connection
        self._handler = handler
        self._writing: asyncio.Task[None] | None = None
        self.reused = handler.read_timeout is not None  # set with the first request

    @property
    def ready(self) -> bool:
        """Whether a request may be written: open, and nothing left over from the answer before."""
        return self._handler.is_connected() and not self._handler.should_close

    @property
    def silent(self) -> bool:
        """Whether not one byte has come since the request."""
        return not self._handler.heard

    @property
    def was_reset(self) -> bool:
        return isinstance(self._handler.exception(), aiohttp.ClientOSError)

    def begin(self, upstream: Upstream, method: str, head: bytes, body: bytes) -> None:
        """Write the request and arm the parser; the idle deadline runs from the final answer's headers on."""
        handler = self._handler
        handler.set_response_params(
            skip_payload=method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            read_timeout=upstream.idle_seconds,
            read_bufsize=READ_BUFFER_BYTES,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            max_headers=MAX_HEADERS,
        )
        handler.expect_headers(upstream.first_byte_seconds)
        transport = handler.transport
        if transport is None:
            raise aiohttp.ServerDisconnectedError
        if len(body) <= ONE_WRITE_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            self._writing = asyncio.create_task(self._write(body))

    async def headers(self) -> tuple[RawResponseMessage, StreamReader]:
        """The final answer's status and headers; 1xx ones before it are passed over. Raises aiohttp's errors."""
        while True:
            message, payload = await self._handler.read()
            if message.code >= 200:
                return message, payload
            if message.code == 101:
                raise HttpProcessingError(message="Switched protocols unasked")

    def give_back(self) -> None:
        if self._writing is not None and not self._writing.done():
            self.abort()  # answered before it had read the request: what is still to come would be misread
            return
        self._connection.release()

    def abort(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
        self._handler.abort()
        self._connection.close()

    async def _write(self, body: bytes) -> None:
        """Pieces of the body as fast as the socket takes them, without a second copy of the whole."""
        writer = StreamWriter(self._handler, asyncio.get_running_loop())
        view = memoryview(body)
        try:
            for start in range(0, len(body), _PIECE_BYTES):
                await writer.write(view[start : start + _PIECE_BYTES])
                await writer.drain()
        except (aiohttp.ClientError, OSError):
            return  # whoever waits for the answer hears of the lost connection


class LeanSender:
    """Sends requests to one upstream. Create inside the running loop."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._target = Target(upstream)
        self._timeouts = timeouts(upstream)
        self._connector = connector(upstream)
        # Stands for the upstream: the connector reads host, port and TLS from it.
        loop = asyncio.get_running_loop()
        self._origin = aiohttp.ClientRequest("POST", self._target.url, loop=loop, ssl=self._target.ssl)

    async def send(self, method: str, path: str, headers: Headers, body: bytes) -> Reply:
        head = self._target.head(method, path, headers, len(body))
        exchange = await self._open()
        try:
            return await self._ask(exchange, method, head, body)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            # A provider may close an idle connection just as we write to it. That it then sent nothing at all is the
            # one case where sending again is safe enough; the second try takes a new connection.
            if not (exchange.reused and exchange.silent):
                raise failures.unanswered(self._upstream.name) from error
        exchange = await self._open(fresh=True)
        try:
            return await self._ask(exchange, method, head, body)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            raise failures.unanswered(self._upstream.name) from error

    async def close(self) -> None:
        await self._connector.close(abort_ssl=True)

    async def _open(self, *, fresh: bool = False) -> _Exchange:
        """A connection that a request may be written to at once; with `fresh`, one that carried none before."""
        while True:
            try:
                connection = await self._connector.connect(self._origin, [], self._timeouts)
            except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
                raise failures.unreachable(self._upstream.name) from error
            exchange = _Exchange(connection, typing.cast(Handler, connection.protocol))
            if exchange.ready and not (fresh and exchange.reused):
                return exchange
            exchange.abort()
            if not exchange.reused:
                raise failures.unreachable(self._upstream.name)

    async def _ask(self, exchange: _Exchange, method: str, head: bytes, body: bytes) -> Reply:
        """One attempt. Lets aiohttp's errors of a lost connection through, for `send` to judge."""
        try:
            exchange.begin(self._upstream, method, head, body)
            message, payload = await exchange.headers()
        except TimeoutError as error:
            exchange.abort()
            raise failures.late(self._upstream.name) from error
        except HttpProcessingError as error:
            exchange.abort()
            raise failures.broken(self._upstream.name) from error
        except BaseException:
            exchange.abort()
            raise
        return Reply(self._upstream.name, message.code, message.raw_headers, payload, exchange)
