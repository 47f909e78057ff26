"""One connection to a provider: a request goes out, and llhttp reads the answer to it. Then the next.

What a provider can do                              what happens
    answer when nobody asked, or twice              the connection is closed: the next call never sees it
    not be HTTP, headers without end                BadAnswer, and closed
    say nothing until the headers are complete      NoAnswer, `first_byte_seconds` after the request
    stall in the body                               LateBody, after `idle_seconds` without a byte
    close before the headers are complete           Gone
    close in the body                               BrokenBody, unless only the close ends it and it was in order

No request costs a timer: `Watch` looks at all connections of an upstream a few times per deadline.
"""

import asyncio
from math import inf
from typing import cast

import httptools
import msgspec

from gateway.core.upstreams import Upstream
from gateway.upstream.body import BrokenBody, Inflow, LateBody

MAX_FIELD_BYTES = 8190
MAX_HEADERS = 128
MAX_HEAD_BYTES = 64 * 1024
ONE_WRITE_BYTES = 64 * 1024
"""A request's body up to this goes out in one write with its head; a longer one at the pace of the socket."""
_PIECE_BYTES = 256 * 1024

# Below what providers and their balancers keep (60 s and more); servers that keep less (uvicorn 5 s) say so by
# closing, and the moment of the race is covered by the one safe retry.
KEEPALIVE_SECONDS = 15.0

LENGTH_HEADERS = frozenset((b"content-length", b"transfer-encoding"))
"""What tells where a body ends; without them its connection's end does."""


class Gone(ConnectionError):
    """The connection ended before the answer's headers did."""


class NoAnswer(TimeoutError):
    """The answer's headers did not come in time."""


class BadAnswer(ConnectionError):
    """What came is not an answer in HTTP/1.1, or not one to what was asked."""


class Answer(msgspec.Struct, frozen=True):
    """The head of a final answer, header names in lower case, and its body as it comes."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: Inflow


class Watch:
    """Ends what is late on one upstream's connections, with one timer for them all; knows which of them rest."""

    def __init__(self, upstream: Upstream) -> None:
        # So much later than its deadline may a connection's end come: an eighth of the deadline, at most a second.
        self._seconds = min(1.0, upstream.first_byte_seconds / 8, upstream.idle_seconds / 8)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.connections: set[Connection] = set()
        self.resting: dict[Connection, None] = {}
        """Open and unused, the one that rested last at the end."""

    def add(self, connection: "Connection") -> None:
        """Watch an open connection."""
        self.connections.add(connection)
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)

    def discard(self, connection: "Connection") -> None:
        """Forget a connection that is closed. With the last one gone the timer rests."""
        self.connections.discard(connection)
        self.resting.pop(connection, None)
        if not self.connections and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        now = self._loop.time()
        for connection in tuple(self.connections):
            connection.keep_time(now)
        self._timer = self._loop.call_later(self._seconds, self._look) if self.connections else None


class Connection(asyncio.Protocol):
    """See above. `reads` counts what has come since the last request; `is_fit` says whether it can take another."""

    def __init__(self, upstream: Upstream, watch: Watch) -> None:
        self._upstream = upstream
        self._watch = watch
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = _parser(self)
        self._deadline = inf
        self.reads = 0
        self._reads_seen = 0
        self._head_bytes = 0  # that came since anything of a body did: of heads, trailers, chunks' sizes
        self._headers: list[tuple[bytes, bytes]] = []
        self._answer: asyncio.Future[Answer] | None = None  # to the request that is under way
        self._body: Inflow | None = None  # of its answer, once the headers came
        self._pieces: list[bytes] = []  # of the body, in the read that is being parsed
        self._is_complete = True  # the answer has come to its end, or nothing was asked yet
        self._is_bodiless = False  # the request was a HEAD
        self._keeps = True
        self._reading_paused = False
        self._upload: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None  # while the socket takes no more
        self._aborted = self._lost = False

    @property
    def is_fit(self) -> bool:
        # While reading is paused nobody knows what came behind the answer.
        is_free = self._is_complete and self._keeps and not self._reading_paused
        return is_free and self._transport is not None and not self._transport.is_closing()

    @property
    def is_uploading(self) -> bool:
        return self._upload is not None and not self._upload.done()

    async def ask(self, method: str, head: bytes, body: bytes) -> Answer:
        """Send a request; return once the final answer's headers have come. Raises Gone, NoAnswer, BadAnswer."""
        transport = self._transport
        if transport is None or self._lost:
            raise Gone("closed while it rested")
        self.reads = self._reads_seen = self._head_bytes = 0
        self._body, self._is_complete, self._is_bodiless = None, False, method == "HEAD"
        self._deadline = self._loop.time() + self._upstream.first_byte_seconds
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._answer = answer
        if len(body) <= ONE_WRITE_BYTES:
            transport.write(head + body)
        else:
            transport.write(head)
            self._upload = self._loop.create_task(self._write(transport, body))
        return await answer

    def rest(self) -> None:
        """Wait for the next request, so long as providers keep a connection."""
        self._deadline = self._loop.time() + KEEPALIVE_SECONDS
        self._answer = self._body = None
        self._watch.resting[self] = None

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self._aborted = True
        if self._upload is not None:
            self._upload.cancel()
        if self._transport is not None:
            self._transport.abort()

    def keep_time(self, now: float) -> None:
        """End what is late. A body that comes, or that it is us who do not read, has time again."""
        is_moving = self.reads != self._reads_seen or self._reading_paused
        if is_moving and self._body is not None and not self._is_complete:
            self._reads_seen = self.reads
            self._deadline = now + self._upstream.idle_seconds
        elif now >= self._deadline:
            self._deadline = inf
            self._end(NoAnswer("no answer in time"), LateBody("no more of the body in time"))
            self.abort()

    # What the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._watch.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._watch.discard(self)
        self.resume_writing()
        if exc is None and self._body is not None and not self._aborted and self._ends_with_connection():
            self._is_complete = True
            self._body.end()
        else:
            why = str(exc or "closed by the provider")
            self._end(Gone(why), BrokenBody(why))

    def data_received(self, data: bytes) -> None:
        if self._is_complete:
            self.abort()
            return
        self.reads += 1
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._pour()
            self._refuse(str(error))
            return
        if self._pieces or self._is_complete:
            self._head_bytes = 0
            self._pour()
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse("headers without end")

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # What the parser finds, in its order

    def on_message_begin(self) -> None:
        if self._body is not None:
            raise BadAnswer  # a second one to the same question
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._body is None:  # else it is a trailer
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 100 or status == 101 or len(self._headers) > MAX_HEADERS or self._has_oversized_headers():
            raise BadAnswer
        if status < 200:
            return
        self._keeps = self._parser.should_keep_alive()
        self._body = Inflow(self)
        answer = self._answer
        if answer is not None and not answer.done():
            answer.set_result(Answer(status, tuple(self._headers), self._body))
        if self._is_bodiless:
            self._is_complete = True
            self._parser = _parser(self)  # that one waits for the body that the headers speak of

    def on_body(self, body: bytes) -> None:
        if self._is_bodiless:
            raise BadAnswer
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        if self._body is not None:
            self._is_complete = True

    # What the body's reader asks for

    def pause_reading(self) -> None:
        """Let the provider wait."""
        if not self._reading_paused and self._transport is not None and not self._lost:
            self._reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on."""
        if self._reading_paused and self._transport is not None and not self._lost:
            self._reading_paused = False
            self._transport.resume_reading()

    def _pour(self) -> None:
        """Hand the body what one read brought of it: in one piece, however the provider framed it; and its end."""
        body, pieces = self._body, self._pieces
        if body is None:
            return
        if pieces:
            self._pieces = []
            body.feed(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if self._is_complete:
            body.end()

    def _refuse(self, why: str) -> None:
        """This is not what was asked for: no more of it."""
        self._end(BadAnswer(why), BrokenBody(why))
        self.abort()

    def _end(self, before_head: Exception, in_body: BrokenBody) -> None:
        """Tell whoever waits that nothing more comes."""
        if self._body is not None:
            if not self._is_complete:
                self._body.fail(in_body)
        elif self._answer is not None and not self._answer.done():
            self._answer.set_exception(before_head)

    def _ends_with_connection(self) -> bool:
        return not any(name in LENGTH_HEADERS for name, _ in self._headers)

    def _has_oversized_headers(self) -> bool:
        return any(len(name) + len(value) > MAX_FIELD_BYTES for name, value in self._headers)

    async def _write(self, transport: asyncio.Transport, body: bytes) -> None:
        """Pieces of the body as fast as the socket takes them, without a second copy of the whole."""
        view = memoryview(body)
        for start in range(0, len(body), _PIECE_BYTES):
            if self._writable is not None:
                await self._writable
            if transport.is_closing():
                return  # who waits for the answer hears of it
            transport.write(view[start : start + _PIECE_BYTES])


def _parser(connection: Connection) -> httptools.HttpResponseParser:
    parser = httptools.HttpResponseParser(connection)
    # What browsers and curl take as well; nothing that makes the end of a header or a body doubtful.
    parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True)
    return parser
