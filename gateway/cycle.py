"""One request and its answer on a connection: uvicorn's cycle with a shorter way out.

An answer's head waits for the first bytes of its body, so that both leave in one write, the dearest part of answering;
a head whose body is late leaves at the loop's next turn. Headers are checked once, as a whole.
"""

import asyncio
from collections.abc import Iterable

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

BODILESS = frozenset({204, 304})


class Cycle(RequestResponseCycle):
    """Passes one ASGI answer to its transport. What uvicorn keeps in its attributes means the same here."""

    head: bytes = b""

    async def send(self, message: ASGISendEvent) -> None:
        """Write one ASGI message. Waits while the client does not read; does nothing once it has left."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.body" and self.response_started and not self.response_complete:
            self._send_body(message.get("body", b""), more=message.get("more_body", False))
        elif message["type"] == "http.response.start" and not self.response_started:
            self.response_started = True
            self.waiting_for_100_continue = False
            self.head = self._render_head(message["status"], message.get("headers", ()))
            if self.chunked_encoding:  # else its length is known, so that all of it is there to follow
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
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        head = b"".join(lines)
        if not head.count(b"\n") == head.count(b"\r") == len(lines) or b"\0" in head:
            raise RuntimeError("A header of the answer has a line end or a NUL in it.")
        return head + b"\r\n"

    def _send_body(self, body: bytes, *, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            framed = b""
            self.expected_content_length = 0
        elif self.chunked_encoding:
            framed = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                framed += b"0\r\n\r\n"
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
