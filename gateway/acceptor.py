"""Accepts connections, many in one turn of the loop.

The loop's own server takes one a turn. In a flood, when turns are long, whoever connects would wait for seconds behind
all that connected before, health checks among them.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

AT_ONCE = 100
PAUSE_SECONDS = 1.0

log = logging.getLogger(__name__)


class Acceptor:
    """Hands each connection of a listening socket to a protocol of its own, from `open` to `close`.

    With a TLS context a handshake comes first, within `handshake_seconds`.
    """

    def __init__(
        self,
        listener: socket.socket,
        factory: Callable[[], asyncio.Protocol],
        *,
        context: ssl.SSLContext | None = None,
        handshake_seconds: float | None = None,
    ) -> None:
        self._listener = listener
        self._factory = factory
        self._context = context
        self._handshake_seconds = handshake_seconds
        self._loop = asyncio.get_running_loop()
        self._beginning: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None

    def open(self, backlog: int) -> None:
        """Listen. So many may wait to be accepted, or as many as the kernel allows."""
        self._listener.setblocking(False)
        self._listener.listen(backlog)
        self._resume()

    def close(self) -> None:
        """Accept nothing more. Handshakes that have begun go on."""
        if self._pause is not None:
            self._pause.cancel()
        else:
            self._loop.remove_reader(self._listener)
        self._listener.close()

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return  # another worker took it, or the client has left
            except OSError as error:
                # No descriptor or no memory is left. They would be asked for again and again: the socket stays ready.
                log.error("cannot accept connections: %s", error)
                self._loop.remove_reader(self._listener)
                self._pause = self._loop.call_later(PAUSE_SECONDS, self._resume)
                return
            beginning = self._loop.create_task(self._begin(connection))
            self._beginning.add(beginning)
            beginning.add_done_callback(self._beginning.discard)

    async def _begin(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(
                self._factory, connection, ssl=self._context, ssl_handshake_timeout=self._handshake_seconds
            )
        except OSError as error:  # errors of TLS are some too
            connection.close()
            log.debug("a connection ended before it began: %s", error)
