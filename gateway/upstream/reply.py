"""An answer as it arrives: status and headers at once, the body piece by piece, and one end, good or bad.

Both ways of sending (`direct`, `proxied`) make this same Reply, each over a Body of its own.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from gateway.core.errors import UpstreamFailed
from gateway.upstream import failures
from gateway.upstream.body import Body, BrokenBody, LateBody, Take
from gateway.upstream.inflate import CorruptBodyError, Inflater

_INFLATED = frozenset({b"gzip", b"x-gzip", b"deflate"})


class Carrier(Protocol):
    """The connection under a reply, for as long as the reply holds it."""

    def give_back(self) -> None:
        """The answer was complete: others may use the connection, if it stays open."""

    def abort(self) -> None:
        """Close the connection at once, whatever is still under way on it."""


class Reply:
    """What a provider answers. `headers` have lower-case names and raw values; hop-by-hop ones are still among them.

    Give every reply one `close()`, in a `finally`.
    """

    __slots__ = ("_body", "_carrier", "_failure", "_inflater", "_on_end", "_upstream", "headers", "status")

    def __init__(
        self, upstream: str, status: int, headers: tuple[tuple[bytes, bytes], ...], body: Body, carrier: Carrier
    ) -> None:
        self.status = status
        self.headers = headers
        self._upstream = upstream
        self._body = body
        self._carrier: Carrier | None = carrier
        self._failure: UpstreamFailed | None = None
        self._inflater: Inflater | None = None
        self._on_end: Callable[[Reply], None] | None = None
        encodings = [value.strip().lower() for name, value in headers if name == b"content-encoding"]
        if len(encodings) == 1 and encodings[0] in _INFLATED:
            self._inflater = Inflater(encodings[0].decode())
            dropped = (b"content-encoding", b"content-length")
            self.headers = tuple([header for header in headers if header[0] not in dropped])

    @property
    def content_type(self) -> str:
        """The header as it came, "" when there is none."""
        return next((value.decode("latin-1") for name, value in self.headers if name == b"content-type"), "")

    def on_end(self, callback: "Callable[[Reply], None]") -> None:
        """Have `callback` called once with the reply, as soon as it has let go of its connection (perhaps now)."""
        self._on_end = callback
        if self._body.is_read:
            self._let_go(reusable=True)

    def chunk(self) -> Coroutine[Any, Any, bytes]:
        """The next piece as it comes; b"" at the clean end. What came before a break is delivered before it is raised.

        Raises UpstreamFailed: upstream_broken, or upstream_timeout when nothing came for the upstream's idle_seconds.
        """
        return self._raw() if self._inflater is None else self._inflated(self._inflater)  # one coroutine a piece

    async def pour(self, take: Take) -> bool:
        """Hand every piece to `take` the moment it comes. Returns True once that wants no more for now, and the rest
        can be had as if nothing had been taken; False at the clean end. Raises as `chunk` does, and what `take` raises.
        """
        if self._inflater is not None:
            while piece := await self.chunk():
                if not take(piece):
                    return True
            return False
        if self._carrier is None:
            return self._ended()
        try:
            stopped = await self._body.pour(take)
        except BrokenBody as error:
            raise self._fail(error) from error
        if self._body.is_read:
            self._let_go(reusable=True)
        return stopped

    def close(self) -> None:
        """Let go of the connection: given back if the whole answer has come, read or not, else closed. May be called
        often, and while another task waits in `chunk()`, which then raises.
        """
        if self._carrier is None:
            return
        self._failure = failures.broken(self._upstream)
        self._let_go(reusable=self._body.is_whole)
        self._body.fail(BrokenBody("Closed by us"))

    async def _inflated(self, inflater: Inflater) -> bytes:
        while True:
            raw = b"" if inflater.pending else await self._raw()
            if not raw and not inflater.pending:
                if not inflater.complete:
                    raise self._fail(BrokenBody("The compressed body ends too early"))
                return b""
            try:
                piece = inflater.feed(raw)
            except CorruptBodyError as error:
                raise self._fail(BrokenBody("The compressed body is corrupt")) from error
            if piece:
                return piece

    async def _raw(self) -> bytes:
        if self._carrier is None:
            self._ended()
            return b""
        try:
            piece = await self._body.read()
        except BrokenBody as error:
            raise self._fail(error) from error
        if self._body.is_read:
            self._let_go(reusable=True)
        return piece

    def _ended(self) -> bool:
        """Return False where nothing more comes. Raises UpstreamFailed if something should have."""
        if self._failure is not None:
            raise self._failure
        return False

    def _fail(self, error: BrokenBody) -> UpstreamFailed:
        """Note why nothing more will come; the first reason stands."""
        if self._failure is None:
            late = isinstance(error, LateBody)
            self._failure = failures.late(self._upstream) if late else failures.broken(self._upstream)
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
