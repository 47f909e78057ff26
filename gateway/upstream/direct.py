"""The direct way to send: connections of our own, kept for the next request, and nothing in between.

A client library's session is more than half of the cost of relaying a call, and hands a stream over by one wake-up a
piece. Upstreams behind a proxy go the other way (`proxied`).
"""

import asyncio
import socket

import aiohappyeyeballs

from gateway.core.errors import UpstreamFailed
from gateway.core.upstreams import Upstream
from gateway.upstream import failures
from gateway.upstream.connection import BadAnswer, Connection, Gone, NoAnswer, Watch
from gateway.upstream.reply import Reply
from gateway.upstream.sockets import with_keepalive
from gateway.upstream.target import Headers, Target

_SECOND_ADDRESS_SECONDS = 0.25  # RFC 8305 5: how long the first address is tried alone


class _Carrier:
    """A connection for as long as one answer holds it."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def give_back(self) -> None:
        # Answered before it had read the request: what is still to come would be misread.
        if self._connection.is_fit and not self._connection.is_uploading:
            self._connection.rest()
        else:
            self._connection.abort()

    def abort(self) -> None:
        self._connection.abort()


class DirectSender:
    """Sends requests to one upstream. Create inside the running loop."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._target = Target(upstream)
        self._watch = Watch(upstream)
        self._is_closed = False

    async def send(self, method: str, path: str, headers: Headers, body: bytes) -> Reply:
        head = self._target.head(method, path, headers, len(body))
        rested = self._rested()
        if rested is not None:
            try:
                return await self._ask(rested, method, head, body)
            except Gone as error:
                # A provider may close an idle connection just as we write to it. That it then sent nothing at all is
                # the one case where sending again is safe enough; the second try takes a new connection.
                if rested.reads:
                    raise failures.unanswered(self._upstream.name) from error
        try:
            return await self._ask(await self._opened(), method, head, body)
        except Gone as error:
            raise failures.unanswered(self._upstream.name) from error
        except UpstreamFailed as failure:
            if rested is None or failure.sent:
                raise
            raise failures.unanswered(self._upstream.name) from failure.__cause__  # it did go out, the first time

    async def close(self) -> None:
        self._is_closed = True
        for connection in tuple(self._watch.connections):
            connection.abort()

    def _rested(self) -> Connection | None:
        """The connection that rested last and is still good, so that those which nobody needs grow old and close."""
        while self._watch.resting:
            connection, _ = self._watch.resting.popitem()
            if connection.is_fit:
                return connection
            connection.abort()
        return None

    async def _opened(self) -> Connection:
        """A new connection. Raises UpstreamFailed."""
        try:
            async with asyncio.timeout(self._upstream.connect_seconds):
                return await self._connected()
        except (OSError, RuntimeError) as error:  # TimeoutError and ssl's are OSErrors; uvloop raises RuntimeError too
            raise failures.unreachable(self._upstream.name) from error

    async def _connected(self) -> Connection:
        loop = asyncio.get_running_loop()
        host, port, tls = self._target.host, self._target.port, self._target.tls
        addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        opened = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=_SECOND_ADDRESS_SECONDS, socket_factory=with_keepalive
        )
        connection = Connection(self._upstream, self._watch)
        try:
            await loop.create_connection(
                lambda: connection, sock=opened, ssl=tls, server_hostname=host if tls else None
            )
        except BaseException:
            connection.abort()  # asyncio would say goodbye in TLS first, on a socket that is closed here
            opened.close()
            raise
        if self._is_closed:
            connection.abort()
            raise ConnectionAbortedError("closed by us while it was opened")
        return connection

    async def _ask(self, connection: Connection, method: str, head: bytes, body: bytes) -> Reply:
        """One attempt. Raises UpstreamFailed, and Gone for `send` to judge."""
        try:
            answer = await connection.ask(method, head, body)
        except NoAnswer as error:
            raise self._given_up(connection, failures.late(self._upstream.name)) from error
        except BadAnswer as error:
            raise self._given_up(connection, failures.broken(self._upstream.name)) from error
        except BaseException:
            connection.abort()
            raise
        return Reply(self._upstream.name, answer.status, answer.headers, answer.body, _Carrier(connection))

    def _given_up(self, connection: Connection, failure: UpstreamFailed) -> UpstreamFailed:
        connection.abort()
        return failure
