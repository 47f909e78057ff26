"""One client connection: uvicorn's HTTP/1.1 protocol with the bounds that it leaves open.

    what a client can do                      what happens
    send headers for too long                 408 and close, `header_seconds` after connecting or after the first byte
    send a body too slowly                    408 and close, below `body_bytes_per_second`, after `body_grace_seconds`
    send headers too many or too large        431 and close
    send the like between or behind a body's  thrown away, and 431 where it is too large
    chunks (extensions, trailers)
    read nothing of its answer                connection dropped after `write_stall_seconds` without progress
    keep a connection idle                    closed after `keep_alive_seconds`
    open too many connections                 429 and close, beyond `connections_per_address`, trusted proxies aside
    frame a request in two ways, name a       400 and close; llhttp (under httptools) refuses the rest: both lengths,
    foreign host in its request line          two lengths, bare LF, folded headers, spaces before colons
    ask to upgrade (WebSocket, h2c)           served as plain HTTP/1.1, then closed

No request costs a timer: the server calls `Guard.sweep` about once a second, which looks at every connection.
"""

import fcntl
import ipaddress
import struct
import termios
from asyncio import AbstractEventLoop, Event, Future, Transport
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import Any, cast
from urllib.parse import unquote

import httptools
import msgspec
from uvicorn import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gateway.core.extensions import DISCONNECT
from gateway.cycle import Cycle, Refusals, TurnAway
from gateway.sources import new_request_id

_RARE_HEADERS = frozenset((b"expect", b"transfer-encoding"))
_MESSAGES = {
    400: "This is not a well-formed HTTP/1.1 request.",
    408: "The request did not arrive in time.",
    429: "Too many connections from this address.",
    431: "The request's headers are too many or too large.",
}


@dataclass(frozen=True, slots=True)
class ConnectionBounds:
    """What one client connection may take. All times in seconds."""

    header_seconds: float = 10.0
    body_grace_seconds: float = 30.0
    body_bytes_per_second: int = 1024  # slower than any modem; a 64 MB body may still take a long time
    max_headers: int = 100
    max_header_bytes: int = 32 * 1024
    write_stall_seconds: float = 60.0
    keep_alive_seconds: float = 75.0  # above the idle time of common load balancers (60), so they close first
    linger_seconds: float = 5.0  # how long the rest of a body is read after an early answer such as 413
    connections_per_address: int = 4096


class Guard:
    """What the connections of one process share: bounds, a coarse clock, the count per address."""

    def __init__(
        self,
        bounds: ConnectionBounds,
        trusted_proxies: tuple[str, ...],
        loop: AbstractEventLoop,
        turn_away: TurnAway = lambda method, path, headers: None,
    ) -> None:
        self.bounds = bounds
        self.turn_away = turn_away
        self.draining = False
        self.now = loop.time()  # as of the last sweep: a deadline may come so much later
        self._loop = loop
        self._trusted = [ipaddress.ip_network(proxy, strict=False) for proxy in trusted_proxies]
        self._connections: Counter[str] = Counter()
        self.refusals = Refusals(loop)
        self.sent: Future[None] = loop.create_future()
        self.sent.set_result(None)

    def admit(self, address: str) -> bool:
        """Count one more connection of `address`; False where that is one too many."""
        self._connections[address] += 1
        return self._connections[address] <= self.bounds.connections_per_address or self._is_trusted(address)

    def release(self, address: str) -> None:
        """Count one connection less."""
        self._connections[address] -= 1
        if not self._connections[address]:
            del self._connections[address]

    def sweep(self, state: ServerState) -> None:
        """Close the connections whose deadline has passed."""
        self.now = self._loop.time()
        for connection in list(state.connections):
            cast(GuardedProtocol, connection).keep_bounds()

    def _is_trusted(self, address: str) -> bool:
        with suppress(ValueError):
            parsed = ipaddress.ip_address(address)
            return any(parsed in network for network in self._trusted)
        return False


class _Refusal(Exception):
    """A request is refused from within a parser callback, with this status."""

    def __init__(self, status: int) -> None:
        self.status = status


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, bounded. `deadline` is when what we wait for from the client must have come, inf for nothing.

    uvicorn keeps `cycle` (the latest request and its answer, None before the first), `pipeline` (requests that came
    before the answer to an earlier one was complete) and `flow`.
    """

    def __init__(
        self,
        guard: Guard,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        loop: AbstractEventLoop,
    ) -> None:
        super().__init__(config, server_state, app_state, loop)
        self.guard = guard
        self.deadline = inf
        self._address: str | None = None
        self._receiving = False  # a request has begun and not ended
        self._in_headers = False  # and its headers have not ended either
        self._read_bytes = 0  # of the read that is being parsed
        self._header_bytes = 0  # of the reads after the one in which the headers began, or a piece of the body came
        self._deaf = False  # what still arrives is thrown away
        self._unsent = (0, 0)  # bytes in our buffer and in the kernel's at the last sweep
        self._stalled_since = 0.0
        self._gone = False
        self._when_gone: Callable[[], None] | None = None

    def when_gone(self, callback: Callable[[], None] | None) -> None:
        """Have `callback` called once the client has left, perhaps now; None takes it back."""
        self._when_gone = callback
        if callback is not None and self._gone:
            callback()

    def hang_up(self) -> None:
        """Close before the answer is complete: the client sees that it is not whole."""
        self.cycle.disconnected = True  # that it is not complete is no news
        self.transport.close()

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.deadline = self.guard.now + self.guard.bounds.header_seconds
        if self.client is None:
            return
        self._address = self.client[0]
        if not self.guard.admit(self._address):
            self._deaf = True
            self.transport.write(_refusal_answer(429))
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._address is not None:
            self.guard.release(self._address)
            self._address = None
        super().connection_lost(exc)
        self._gone = True
        if self._when_gone is not None:
            self._when_gone()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._read_bytes = len(data)
        if self._receiving:
            self._header_bytes += self._read_bytes
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._deaf = True  # the request is served, the protocol it asked for is not
        except httptools.HttpParserError as error:
            refusal = error.__context__
            self._refuse(refusal.status if isinstance(refusal, _Refusal) else 400)
        else:
            if self._receiving and self._header_bytes > self.guard.bounds.max_header_bytes:
                self._refuse(431)

    # What the parser finds, in its order

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._receiving = self._in_headers = True
        self._header_bytes = 0
        if self.cycle is not None:  # the first request's deadline runs since the connection was made
            self.deadline = self.guard.now + self.guard.bounds.header_seconds

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_headers:
            return  # behind the body, where nobody looks for a key or for how the body is to be read
        name = name.lower()
        if name in _RARE_HEADERS:
            self._on_rare_header(name, value)
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        bounds = self.guard.bounds
        if len(self.headers) > bounds.max_headers or self._has_oversized_headers():
            raise _Refusal(431)
        if not self.url.startswith(b"/") or self.url.find(b"#") >= 0:  # `in` on bytes first raises an error of its own
            raise _Refusal(400)
        self._begin_cycle()
        self._in_headers = False
        self.deadline = self.guard.now + bounds.body_grace_seconds

    def _is_last(self) -> bool:
        """Tell whether the answer to what is being parsed closes the connection."""
        return self.guard.draining or self.parser.should_upgrade()

    def _begin_cycle(self) -> None:
        """Serve the request whose headers are complete, now or behind the one that is being answered."""
        url = httptools.parse_url(self.url)
        raw_path = url.path
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["http_version"] = version = self.parser.get_http_version()
        self.scope["raw_path"] = raw_path
        self.scope["path"] = unquote(path) if "%" in (path := raw_path.decode("ascii")) else path
        self.scope["query_string"] = url.query or b""
        # What the endpoint watches its client by.
        self.scope["extensions"] = cast(dict[str, dict[object, object]], {DISCONNECT: self})
        before = cast(RequestResponseCycle | None, self.cycle)
        self.cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive() and not self._is_last(),
            on_response=self.on_response_complete,
        )
        self.cycle.sent = self.guard.sent
        if before is None or before.response_complete:
            refusal = self.guard.turn_away(self.scope["method"], raw_path, self.headers)
            if refusal is None or self.flow.write_paused:  # only the application waits for a client that does not read
                self._start_asgi_task(self.cycle, self.app)
            elif refusal.at_once:
                self.cycle.answer(refusal)
            else:
                self.guard.refusals.add(self.cycle, refusal)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        self._header_bytes = 0
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.body += body
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            cycle.message_event.set()
            bounds = self.guard.bounds
            earned = self.deadline + len(body) / bounds.body_bytes_per_second
            self.deadline = min(earned, self.guard.now + bounds.body_grace_seconds)

    def on_message_complete(self) -> None:
        cycle = self.cycle
        self._receiving = False
        if cycle.response_complete:
            self.deadline = self.guard.now + self.guard.bounds.keep_alive_seconds
            return
        cycle.more_body = False
        cycle.message_event.set()
        self.deadline = inf

    # What the server and the answers tell

    def on_response_complete(self) -> None:
        """Go on with the next request. Replaces uvicorn's, which arms a timer per answer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        bounds = self.guard.bounds
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif not self._receiving:
            self.deadline = self.guard.now + bounds.keep_alive_seconds
        elif not self._in_headers:  # answered early: read the rest, or the client may never see the answer
            self.deadline = self.guard.now + bounds.linger_seconds

    def shutdown(self) -> None:
        """Close if idle. A request that has begun is still served, its answer closes the connection."""
        if not self._in_headers:
            super().shutdown()

    def keep_bounds(self) -> None:
        """Drop the client if it is late with what it owes: a request's bytes, or reading its answer."""
        now = self.guard.now
        if now >= self.deadline:
            self._expire()
        waiting = self.transport.get_write_buffer_size()
        if not waiting:
            self._unsent = (0, 0)
            return
        unsent = (waiting, _unsent_in_kernel(self.transport))
        if unsent != self._unsent:
            self._unsent, self._stalled_since = unsent, now
        elif now - self._stalled_since >= self.guard.bounds.write_stall_seconds:
            self.transport.abort()

    # How requests are refused

    def _expire(self) -> None:
        if self._receiving and self.flow.read_paused:  # it is us who do not read
            self.deadline = self.guard.now + self.guard.bounds.body_grace_seconds
        elif self._receiving and not self._deaf and (self._in_headers or not self.cycle.response_complete):
            self._refuse(408)
        else:
            self.deadline = inf
            self.transport.close()

    def _refuse(self, status: int) -> None:
        """Answer what is being received with `status`, if the connection is free for an answer, and close."""
        self._deaf = True
        self.deadline = self.guard.now + self.guard.bounds.linger_seconds
        cycle = cast(RequestResponseCycle | None, self.cycle)
        if self._receiving and not self._in_headers and self.cycle.response_complete:
            self.transport.close()  # it has its answer
        elif cycle is None or cycle.response_complete:
            self._answer_and_close(status)
        elif self._in_headers or not self._receiving:  # an earlier request is still being answered: that one may end
            cycle.keep_alive = False
            self.deadline = inf
        elif self.pipeline or cycle.response_started:
            self.transport.abort()
        else:
            cycle.disconnected = True
            cycle.message_event.set()
            self._answer_and_close(status)

    def _answer_and_close(self, status: int) -> None:
        self.transport.write(_refusal_answer(status))
        # Closing with unread input resets the connection, and the client may lose the answer: close our side only and
        # throw away what comes until the client closes or the deadline passes.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def _on_rare_header(self, name: bytes, value: bytes) -> None:
        value = value.lower()
        if name == b"expect":
            self.expect_100_continue = value == b"100-continue"
        elif value != b"chunked" or self.parser.get_http_version() == "1.0":
            raise _Refusal(400)  # other codings, or any in HTTP/1.0: proxies disagree on where such a body ends

    def _has_oversized_headers(self) -> bool:
        limit = self.guard.bounds.max_header_bytes
        if self._header_bytes + self._read_bytes <= limit:
            return False  # as nearly always: all that was read is less
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > limit


def _refusal_answer(status: int) -> bytes:
    error = {"message": _MESSAGES[status], "type": "invalid_request_error", "param": None, "code": None}
    body = msgspec.json.encode({"error": error})
    return (
        b"%bcontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\nconnection: close\r\n\r\n%b"
        % (
            STATUS_LINE[status],
            len(body),
            new_request_id().encode(),
            body,
        )
    )


def _unsent_in_kernel(transport: Transport) -> int:
    """Return how many bytes wait in the socket for the client's acknowledgement; 0 where the system does not tell."""
    try:
        answer = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    except (AttributeError, OSError, ValueError):
        return 0
    return int(struct.unpack("i", answer)[0])
