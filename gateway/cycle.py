"""One request and its answer on a connection: uvicorn's cycle with a shorter way out.

An answer's head waits for the first bytes of its body, so that both leave in one write, the dearest part of answering;
a head whose body is late leaves at the loop's next turn. Headers are checked once, as a whole.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

RawHeaders = Sequence[tuple[bytes, bytes]]

REFUSALS_PER_TURN = 32
"""Of the event loop: less work than the calls that begin in one, so that refusing never takes most of the time."""
BODILESS = frozenset({204, 304})


class Cycle(RequestResponseCycle):
    """Passes one ASGI answer to its transport. What uvicorn keeps in its attributes means the same here."""

    head: bytes = b""
    ends_with_connection: bool = False  # nothing else tells a client of HTTP/1.0 where a body without a length ends
    is_mid_stream: bool = False  # the head and a first chunk are out, and more will follow
    sent: asyncio.Future[None]  # done, and shared by all: what to await where there is nothing to wait for

    def send(self, message: ASGISendEvent) -> Awaitable[None]:  # type: ignore[override]
        """Write one ASGI message. Waits while the client does not read; does nothing once it has left.

        Not a coroutine itself: most messages go out at once, and a stream has one for each chunk. Those in its middle
        take no way through the rest of this class.
        """
        if self.disconnected:
            return self.sent
        if self.flow.write_paused:
            return self._send_in_turn(message)
        if self.is_mid_stream and message["type"] == "http.response.body" and message.get("more_body"):
            if body := message["body"]:
                self.transport.write(b"%x\r\n%b\r\n" % (len(body), body))
        else:
            self._write(message)
        return self.sent

    def answer(self, refusal: "Refusal") -> None:
        """Write a whole answer without asking the application."""
        status, headers, body, _ = refusal
        self.response_started = True
        self.head = self._render_head(status, (*headers, (b"content-length", b"%d" % len(body))))
        self._send_body(body, more=False)

    async def _send_in_turn(self, message: ASGISendEvent) -> None:
        await self.flow.drain()
        if not self.disconnected:
            self._write(message)

    def _write(self, message: ASGISendEvent) -> None:
        if message["type"] == "http.response.body" and self.response_started and not self.response_complete:
            self._send_body(message.get("body", b""), more=message.get("more_body", False))
        elif message["type"] == "http.response.start" and not self.response_started:
            self.response_started = True
            self.waiting_for_100_continue = False
            self.head = self._render_head(message["status"], message.get("headers", ()))
            if (
                self.chunked_encoding or self.ends_with_connection
            ):  # else its length is known, so that all of it is there to follow
                asyncio.get_running_loop().call_soon(self._flush)
        else:
            raise RuntimeError(f"ASGI message {message['type']} does not belong here.")

    def _render_head(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Return status line and headers. Raises RuntimeError for a header that would be two."""
        lines = [STATUS_LINE[status]]
        for name, value in (*self.default_headers, *headers):
            if name == b"content-length":
                self.chunked_encoding = False
                self.expected_content_length = int(value)
            elif name == b"connection" and b"close" in value.lower():
                self.keep_alive = False
                continue
            lines.append(b"%b: %b\r\n" % (name, value))
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in BODILESS:
            if self.scope["http_version"] == "1.0":
                self.ends_with_connection = True
            else:
                self.chunked_encoding = True
                lines.append(b"transfer-encoding: chunked\r\n")
        head = b"".join(lines)
        if not head.count(b"\n") == head.count(b"\r") == len(lines) or head.find(b"\0") >= 0:
            raise RuntimeError("A header of the answer has a line end or a NUL in it.")
        return head + b"\r\n"

    def _send_body(self, body: bytes, *, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            framed = b""
            self.expected_content_length = 0
        elif self.chunked_encoding:
            self.is_mid_stream = more
            framed = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                framed += b"0\r\n\r\n"
        elif self.ends_with_connection:
            framed = body
        else:
            framed = body
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0 or (self.expected_content_length and not more):
                raise RuntimeError("The answer's body is not as long as its Content-Length.")
        self._flush(framed)
        if not more:
            self._complete()

    def _flush(self, framed: bytes = b"") -> None:
        """Write the head if it is still here, and what follows it."""
        head, self.head = self.head, b""
        if head or framed:
            self.transport.write(head + framed if head else framed)

    def _complete(self) -> None:
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


class Refusal(NamedTuple):
    """What is answered in place of serving a request: in its turn, or at once, which must be rare."""

    status: int
    headers: RawHeaders
    body: bytes
    at_once: bool = False


TurnAway = Callable[[str, bytes, RawHeaders], Refusal | None]
"""Given method, path as sent and headers, returns what to answer at once; None to serve the request as usual."""


class Refusals:
    """Answers requests that are not served, so many in a turn of the loop.

    Clients that are refused and ask again at once would else keep the loop refusing, and nothing else was done.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[tuple[Cycle, Refusal]] = deque()

    def add(self, cycle: Cycle, refusal: Refusal) -> None:
        """Answer a request so, in its turn."""
        if not self._waiting:
            self._loop.call_soon(self._next_turn)
        self._waiting.append((cycle, refusal))

    def _next_turn(self) -> None:
        for _ in range(min(len(self._waiting), REFUSALS_PER_TURN)):
            cycle, refusal = self._waiting.popleft()
            # Of pipelined requests only the last one hears that the client is gone, so the transport is asked.
            if not cycle.transport.is_closing():
                cycle.answer(refusal)
        if self._waiting:
            self._loop.call_soon(self._next_turn)
