"""An answer as it arrives: status and headers at once, the body piece by piece, and one end, good or bad.

Both ways of sending (`lean`, `plain`) make this same Reply, over aiohttp's parser.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from gateway.core.errors import UpstreamFailed
from gateway.upstream import failures
from gateway.upstream.inflate import CorruptBodyError, Inflater

_INFLATED = frozenset({b"gzip", b"x-gzip", b"deflate"})


class Carrier(Protocol):
    """The connection under a reply, for as long as the reply holds it."""

    def give_back(self) -> None:
        """The answer was complete: others may use the connection, if it stays open."""

    def abort(self) -> None:
        """Close the connection at once, whatever is still under way on it."""

    @property
    def was_reset(self) -> bool:
        """Whether it ended with an error rather than in order."""


class Reply:
    """What a provider answers. `headers` have lower-case names and raw values; hop-by-hop ones are still among them.

    Give every reply one `close()`, in a `finally`.
    """

    __slots__ = ("_carrier", "_failure", "_inflater", "_on_end", "_payload", "_upstream", "headers", "status")

    def __init__(
        self,
        upstream: str,
        status: int,
        raw_headers: tuple[tuple[bytes, bytes], ...],
        payload: StreamReader,
        carrier: Carrier,
    ) -> None:
        self.status = status
        self.headers = tuple([(name.lower(), value) for name, value in raw_headers])
        self._upstream = upstream
        self._payload = payload
        self._carrier: Carrier | None = carrier
        self._failure: UpstreamFailed | None = None
        self._inflater: Inflater | None = None
        self._on_end: Callable[[Reply], None] | None = None
        encodings = [value.strip().lower() for name, value in self.headers if name == b"content-encoding"]
        if len(encodings) == 1 and encodings[0] in _INFLATED:
            self._inflater = Inflater(encodings[0].decode())
            dropped = (b"content-encoding", b"content-length")
            self.headers = tuple([header for header in self.headers if header[0] not in dropped])

    @property
    def content_type(self) -> str:
        """The header as it came, "" when there is none."""
        return next((value.decode("latin-1") for name, value in self.headers if name == b"content-type"), "")

    def on_end(self, callback: "Callable[[Reply], None]") -> None:
        """Have `callback` called once with the reply, as soon as it has let go of its connection (perhaps now)."""
        self._on_end = callback
        if self._payload.at_eof():
            self._complete()

    def chunk(self) -> Coroutine[Any, Any, bytes]:
        """The next piece as it comes; b"" at the clean end. What came before a break is delivered before it is raised.

        Raises UpstreamFailed: upstream_broken, or upstream_timeout when nothing came for the upstream's idle_seconds.
        """
        return self._raw() if self._inflater is None else self._inflated(self._inflater)  # one coroutine a piece

    def close(self) -> None:
        """Let go of the connection: given back if the whole answer has come, read or not, else closed. May be called
        often, and while another task waits in `chunk()`, which then raises.
        """
        if self._carrier is None:
            return
        whole = self._payload.is_eof()
        self._failure = failures.broken(self._upstream)
        self._let_go(reusable=whole)
        if not whole:
            self._payload.set_exception(aiohttp.ClientConnectionError("Closed by us"))

    async def _inflated(self, inflater: Inflater) -> bytes:
        while True:
            raw = b"" if inflater.pending else await self._raw()
            if not raw and not inflater.pending:
                if not inflater.complete:
                    raise self._fail(failures.broken(self._upstream))
                return b""
            try:
                piece = inflater.feed(raw)
            except CorruptBodyError as error:
                raise self._fail(failures.broken(self._upstream)) from error
            if piece:
                return piece

    async def _raw(self) -> bytes:
        if self._failure is not None:
            raise self._failure
        if self._carrier is None:
            return b""
        try:
            piece = await self._payload.readany()
        except (aiohttp.ClientError, HttpProcessingError, OSError, RuntimeError) as error:
            late = isinstance(error, TimeoutError)
            failure = self._fail(failures.late(self._upstream) if late else failures.broken(self._upstream))
            failure.__cause__ = error
            if piece := _arrived(self._payload):
                return piece
            raise failure from error
        if self._payload.at_eof():
            self._complete()
            if self._failure is not None and not piece:
                raise self._failure
        return piece

    def _complete(self) -> None:
        """All is read. A body that only the end of its connection ends is whole only if that was in order; the parser
        takes a reset for an end too.
        """
        if self._carrier is not None and self._carrier.was_reset and self._ends_with_connection():
            self._fail(failures.broken(self._upstream))
        else:
            self._let_go(reusable=True)

    def _ends_with_connection(self) -> bool:
        if self._payload is EMPTY_PAYLOAD or self._inflater is not None:  # the inflater knows its end by itself
            return False
        return not any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers)

    def _fail(self, failure: UpstreamFailed) -> UpstreamFailed:
        """Note why nothing more will come; the first reason stands."""
        if self._failure is None:
            self._failure = failure
        self._let_go(reusable=False)
        return self._failure

    def _let_go(self, *, reusable: bool) -> None:
        carrier, self._carrier = self._carrier, None
        if carrier is None:
            return
        if reusable:
            carrier.give_back()
        else:
            carrier.abort()
        if self._on_end is not None:
            callback, self._on_end = self._on_end, None
            callback(self)


def _arrived(payload: StreamReader) -> bytes:
    """Bytes that came before the break. aiohttp's reader raises first and would keep them (checked in `lean`)."""
    rest = b"".join(payload._buffer)[payload._buffer_offset :]
    payload._buffer.clear()
    return rest
