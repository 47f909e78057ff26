"""A scripted provider of three dialects that costs next to nothing: raw asyncio, every answer rendered beforehand.

Run: python -m bench.provider PORT
"""

import asyncio
import itertools
import re
import sys
from typing import cast

import uvloop

from bench import native, script

HEAD_END = b"\r\n\r\n"
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
MODELS = b'{"object":"list","data":[{"id":"%b","object":"model","created":1720000000,"owned_by":"system"}]}'
# Streams tick at different parts of one common beat, evenly spread however many there are (multiples of the golden
# ratio are): left to chance, the heaps they come in change the cost of a chunk by a third from run to run.
GOLDEN_RATIO = 0.618
_started = itertools.count()


class Provider(asyncio.Protocol):
    """One connection: one request at a time, kept alive. Sending is not held back: the answers are small."""

    def __init__(self) -> None:
        self._received = b""
        self._pending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._pending:
            self._pending.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_length = self._received.find(HEAD_END) + len(HEAD_END)
        if head_length < len(HEAD_END):
            return
        declared = CONTENT_LENGTH.search(self._received, 0, head_length)
        end = head_length + (int(declared[1]) if declared else 0)
        if len(self._received) >= end:
            request, self._received = self._received[:end], self._received[end:]
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        if request.startswith(b"GET /v1/models "):
            return self._transport.write(_whole(b"200 OK", MODELS % script.MODEL.encode()))
        head = next((head for head in PLAINS if request.startswith(head)), None)
        if head is None:
            return self._transport.write(_whole(b"404 Not Found", b'{"error":{"message":"not in the script"}}'))
        asked = script.asked_stream(request, always=head == GEMINI_STREAM)
        if asked is None:
            return self._transport.write(PLAINS[head])
        stream, with_usage = asked
        self._transport.write(STREAM_HEAD)
        writes = _writes(head, stream, with_usage)
        delay_seconds = stream.delay_ms / 1000
        first_at = _next_beat(delay_seconds) + delay_seconds * (next(_started) * GOLDEN_RATIO % 1)
        self._wait(writes, 0, first_at, delay_seconds)

    def _wait(self, writes: tuple[bytes, ...], position: int, due_at: float, delay_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._pending = loop.call_at(due_at, self._play, writes, position, due_at, delay_seconds)

    def _play(self, writes: tuple[bytes, ...], position: int, due_at: float, delay_seconds: float) -> None:
        self._transport.write(writes[position])
        if position + 1 < len(writes):
            # From when it was due, not from now: streams that drift together would come in heaps.
            self._wait(writes, position + 1, due_at + delay_seconds, delay_seconds)


def _writes(head: bytes, stream: script.Stream, with_usage: bool) -> tuple[bytes, ...]:
    if head == CHAT:
        return script.stream_writes(stream.chunks, stream.words, with_usage)
    play = native.claudes_writes if head == CLAUDE else native.geminis_writes
    return play(stream.chunks, stream.words)


def _next_beat(delay_seconds: float) -> float:
    now = asyncio.get_running_loop().time()
    return now + delay_seconds - now % delay_seconds if delay_seconds else now


def _head(status: bytes, kind: bytes, framing: bytes) -> bytes:
    # As many headers as the real provider sends, since both the relay and the gateway must read them.
    return b"\r\n".join(
        (
            b"HTTP/1.1 " + status,
            b"Date: Mon, 16 Jun 2025 12:00:00 GMT",
            b"Content-Type: " + kind,
            framing,
            b"access-control-expose-headers: X-Request-ID",
            b"openai-organization: bench",
            b"openai-processing-ms: 1",
            b"openai-version: 2020-10-01",
            b"x-ratelimit-limit-requests: 30000",
            b"x-ratelimit-remaining-requests: 29999",
            b"x-request-id: req_bench",
            b"strict-transport-security: max-age=31536000; includeSubDomains; preload",
            HEAD_END[2:],
        )
    )


def _whole(status: bytes, body: bytes) -> bytes:
    return _head(status, b"application/json", b"Content-Length: %d" % len(body)) + body


CHAT, CLAUDE, GEMINI, GEMINI_STREAM = (
    f"POST {path} ".encode()
    for path in (script.PATH, native.CLAUDE_PATH, native.GEMINI_PATH, native.GEMINI_STREAM_PATH)
)
PLAIN = _whole(b"200 OK", script.plain_answer())
PLAINS = {
    CHAT: PLAIN,
    CLAUDE: _whole(b"200 OK", native.claudes_answer()),
    GEMINI: _whole(b"200 OK", native.geminis_answer()),
    GEMINI_STREAM: b"",
}
"""Beginning of a request -> its plain answer; the last is always streamed."""
STREAM_HEAD = _head(b"200 OK", b"text/event-stream; charset=utf-8", b"Transfer-Encoding: chunked")


async def serve(port: int) -> None:
    """Serve on the loopback until the process is ended."""
    # 1,000 clients may connect in one moment; the default backlog of 100 would make them wait a second.
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
