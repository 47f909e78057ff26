"""The scripted provider: a real server on a socket that answers exactly what a test told it, and remembers every call.

    provider.answer(200, {"content-type": "application/json"}, b"{}")          # the next call gets this
    provider.answer(body=[b"half", Cut.RESET], framing="chunked")              # and the one after this
    provider.chat("Hello there")                                               # all others: an OpenAI-like chat
    request = await provider.request()                                         # the next call that came in

A body is bytes, or a list of steps: bytes to write, an asyncio.Event to wait for, or a Cut. Nothing sleeps. At
teardown a call that no script covered fails the test, and so does a script that nothing asked for.
"""

import asyncio
import gzip
import json
import socket
import ssl
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, cast


class Cut(Enum):
    """Ways to stop in the middle."""

    CLOSE = "close"  # in order: FIN
    RESET = "reset"  # at once: RST
    HANG = "hang"  # say nothing more until the client closes


Step = bytes | asyncio.Event | Cut
Headers = Mapping[str, str] | Sequence[tuple[str, str]]
Framing = Literal["length", "chunked", "until_close"]


@dataclass(eq=False)
class Request:
    """One call as it came in. Header names are lower case, in the order sent. `connection` counts from 1."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int
    _gone: asyncio.Event = field(repr=False)

    def header(self, name: str) -> str | None:
        """The header's value, None when it was not sent; several are joined as HTTP says."""
        values = [value for key, value in self.headers if key == name]
        return ", ".join(values) if values else None

    def json(self) -> dict[str, object]:
        """The body, which must be a JSON object."""
        parsed = json.loads(self.body)
        assert isinstance(parsed, dict)
        return parsed

    async def closed(self) -> None:
        """Return once the client has closed the connection that this call came on."""
        await self._gone.wait()


Script = Sequence[Step]
Responder = Callable[[Request], Script]


def compose(
    status: int = 200,
    headers: Headers = (),
    body: bytes | Iterable[Step] = b"",
    *,
    framing: Framing = "length",
    compress: bool = False,
) -> list[Step]:
    """A whole answer as steps. With framing "length" the steps' bytes are all counted, even behind a Cut."""
    steps: list[Step] = [body] if isinstance(body, bytes) else list(body)
    if compress:
        plain = b"".join(step for step in steps if isinstance(step, bytes))
        steps = [gzip.compress(plain), *[step for step in steps if not isinstance(step, bytes)]]
    pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    if compress:
        pairs.append(("content-encoding", "gzip"))
    if framing == "length":
        pairs.append(("content-length", str(sum(len(step) for step in steps if isinstance(step, bytes)))))
    elif framing == "chunked":
        pairs.append(("transfer-encoding", "chunked"))
        cut = any(isinstance(step, Cut) for step in steps)
        steps = [b"%x\r\n%b\r\n" % (len(step), step) if isinstance(step, bytes) else step for step in steps]
        steps += [] if cut else [b"0\r\n\r\n"]
    else:
        steps += [Cut.CLOSE]
    head = f"HTTP/1.1 {status} Scripted\r\n" + "".join(f"{name}: {value}\r\n" for name, value in pairs) + "\r\n"
    return [head.encode("latin-1"), *steps]


class Provider:
    """See the module's docstring. `base_url` has the version in it, as OpenAI's SDK wants it."""

    def __init__(self, certificate: ssl.SSLContext | None = None) -> None:
        self._certificate = certificate
        self.requests: list[Request] = []
        self.connections = 0
        self._fresh: asyncio.Queue[Request] = asyncio.Queue()
        self._scripts: deque[Script] = deque()
        self._responder: Responder | None = None
        self._unexpected: list[Request] = []
        self._open: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"{'https' if self._certificate else 'http'}://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def answer(
        self,
        status: int = 200,
        headers: Headers = (),
        body: bytes | Iterable[Step] = b"",
        *,
        framing: Framing = "length",
        compress: bool = False,
    ) -> None:
        """Queue one answer; each is used once, in order."""
        self.raw(*compose(status, headers, body, framing=framing, compress=compress))

    def raw(self, *steps: Step) -> None:
        """Queue one answer byte for byte, head included: garbage, 1xx answers, resets before a word."""
        self._scripts.append(steps)

    def always(self, responder: Responder) -> None:
        """Answer what no queued script covers."""
        self._responder = responder

    def chat(
        self,
        text: str = "Hello from the provider.",
        *,
        input_tokens: int = 10,
        output_tokens: int = 5,
        hold: asyncio.Event | None = None,
        report_usage: bool = True,
    ) -> None:
        """From now on answer as OpenAI's chat completions do: plain, or streamed by words where the body asks for it.

        A stream reports usage only if `stream_options.include_usage` asks; with `hold` it waits for that event before
        its last word.
        """
        usage = {
            "prompt_tokens": input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": input_tokens + output_tokens,
        }
        self.always(lambda request: _chat(request, text, usage if report_usage else None, hold))

    async def request(self) -> Request:
        """The next call that has come in and was not yet taken here; waits for it."""
        return await self._fresh.get()

    def drop_connections(self) -> None:
        """Close every connection, idle or not, in order."""
        for connection in tuple(self._open):
            connection.close()

    def verify(self) -> None:
        """Fail on a call that nothing was scripted for, and on a script that nothing asked for."""
        assert not self._unexpected, f"unexpected calls: {[(r.method, r.path) for r in self._unexpected]}"
        assert not self._scripts, f"{len(self._scripts)} scripted answers were never asked for"

    def refuse_connections(self) -> None:
        """Take no new connection; those that are open go on."""
        assert self._server is not None
        self._server.close()

    def script_for(self, request: Request) -> Script:
        """Note the call and choose its answer."""
        self.requests.append(request)
        self._fresh.put_nowait(request)
        if self._scripts:
            return self._scripts.popleft()
        if self._responder is not None:
            return self._responder(request)
        self._unexpected.append(request)
        return compose(500, {}, b"unexpected call")

    def opened(self, connection: "_Connection") -> int:
        """Note a new connection; its number."""
        self._open.add(connection)
        self.connections += 1
        return self.connections

    def ended(self, connection: "_Connection") -> None:
        self._open.discard(connection)

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, ssl=self._certificate)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close everything and wait for the connections' tasks."""
        assert self._server is not None
        self._server.close()
        ending = [connection.stop() for connection in tuple(self._open)]
        await asyncio.gather(*ending)
        await self._server.wait_closed()


@asynccontextmanager
async def running_provider(certificate: ssl.SSLContext | None = None) -> AsyncIterator[Provider]:
    """A started provider, verified and stopped at the end; with a certificate it speaks TLS."""
    provider = Provider(certificate)
    await provider.start()
    try:
        yield provider
    finally:
        await provider.stop()
    provider.verify()


class _Connection(asyncio.Protocol):
    """One client connection: reads requests by content-length and plays their scripts one after the other."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._number = 0
        self._buffer = b""
        self._arrived = asyncio.Event()
        self._gone = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from it
        self._number = self._provider.opened(self)
        self._task = asyncio.get_running_loop().create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._arrived.set()

    def eof_received(self) -> None:
        self._gone.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone.set()
        self._arrived.set()
        self._writable.set()
        self._provider.ended(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def close(self) -> None:
        self._transport.close()

    async def stop(self) -> None:
        self._transport.abort()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _serve(self) -> None:
        while (request := await self._read()) is not None:
            for step in self._provider.script_for(request):
                await self._play(step)

    async def _play(self, step: Step) -> None:
        match step:
            case bytes():
                await self._writable.wait()
                if not self._transport.is_closing():
                    self._transport.write(step)
            case asyncio.Event():
                await step.wait()
            case Cut.CLOSE:
                self._transport.close()
            case Cut.HANG:
                await self._gone.wait()
            case Cut.RESET:
                while self._transport.get_write_buffer_size() and not self._gone.is_set():  # noqa: ASYNC110 - as below
                    await asyncio.sleep(0)  # what comes before the reset is sent before it; nobody tells when it was
                peer = self._transport.get_extra_info("socket")
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._transport.abort()

    async def _read(self) -> Request | None:
        """The next request, None once the client has gone."""
        if (head := await self._until(lambda: self._buffer.find(b"\r\n\r\n") + 4, at_least=4)) is None:
            return None
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        headers = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        length = int(dict(headers).get("content-length", "0"))
        if (body := await self._until(lambda: length if len(self._buffer) >= length else -1, at_least=0)) is None:
            return None
        method, path, _ = first.split(" ")
        return Request(method, path, headers, body, self._number, self._gone)

    async def _until(self, end: Callable[[], int], at_least: int) -> bytes | None:
        """Take the buffer up to `end()` as soon as that is `at_least` so much; None once nothing more can come."""
        while (size := end()) < at_least:
            if self._gone.is_set():
                return None
            self._arrived.clear()
            await self._arrived.wait()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken


def _chat(request: Request, text: str, usage: dict[str, int] | None, hold: asyncio.Event | None) -> list[Step]:
    asked = request.json()
    if not asked.get("stream"):
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        reply = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": asked["model"]}
        reply |= {"choices": [choice]} | ({"usage": usage} if usage else {})
        return compose(200, {"content-type": "application/json"}, json.dumps(reply).encode())
    options = asked.get("stream_options")
    reported = usage if isinstance(options, dict) and options.get("include_usage") else None
    steps: list[Step] = [*_chat_events(str(asked["model"]), text, reported)]
    if hold is not None:
        steps.insert(len(text.split(" ")), hold)
    return compose(200, {"content-type": "text/event-stream"}, steps, framing="chunked")


def _chat_events(model: str, text: str, usage: dict[str, int] | None) -> list[bytes]:
    """One event per word with the role in front, the finish reason, the usage if asked for, and [DONE]."""

    def event(choices: list[object], reported: object) -> bytes:
        chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}
        chunk |= {"choices": choices} | ({"usage": reported} if usage else {})
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"

    deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}]
    words = text.split(" ")
    deltas += [{"content": word if index == 0 else f" {word}"} for index, word in enumerate(words)]
    events = [event([{"index": 0, "delta": delta, "finish_reason": None}], None) for delta in deltas]
    events.append(event([{"index": 0, "delta": {}, "finish_reason": "stop"}], None))
    if usage:
        events.append(event([], usage))
    return [*events, b"data: [DONE]\n\n"]
