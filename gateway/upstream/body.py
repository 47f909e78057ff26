"""The bytes of one answer, between the connection that they come on and the one who reads them.

A reader pulls pieces with `read`, or has them poured: then each is handed over the moment it comes, inside the
connection's own callback, and a stream costs no turn of the event loop and no wake-up a piece.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

Take = Callable[[bytes], bool]
"""Takes one piece; False says that it wants no more for now."""

MOST_KEPT_BYTES = 128 * 1024
"""Of an answer that nobody reads; then the provider has to wait."""


class BrokenBody(ConnectionError):
    """No more will come, and what came is not all of it."""


class LateBody(BrokenBody):
    """Nothing came in time."""


class Body(Protocol):
    """What a reply reads from, however it was sent."""

    @property
    def is_whole(self) -> bool:
        """Whether the last byte has come, read or not."""

    @property
    def is_read(self) -> bool:
        """Whether the last byte has come and nothing is left to read."""

    async def read(self) -> bytes:
        """Return what has come since, b"" at the clean end. Raises BrokenBody behind the last byte that came."""

    async def pour(self, take: Take) -> bool:
        """Hand every piece to `take`. Returns True once it wants no more, False at the clean end. Raises BrokenBody."""

    def fail(self, error: BrokenBody) -> None:
        """End it here, unless it has ended already."""


class Flow(Protocol):
    """The reading side of a connection."""

    def pause_reading(self) -> None:
        """Let the provider wait."""

    def resume_reading(self) -> None:
        """Go on."""


class Inflow:
    """A Body that a connection feeds. One reader at a time."""

    __slots__ = ("_error", "_flow", "_kept_bytes", "_pieces", "_take", "_waiter", "is_whole")

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._pieces: list[bytes] = []
        self._kept_bytes = 0
        self._error: BrokenBody | None = None
        self._take: Take | None = None
        self._waiter: asyncio.Future[bool] | None = None
        self.is_whole = False

    @property
    def is_read(self) -> bool:
        return self.is_whole and not self._pieces

    async def read(self) -> bytes:
        while not self._pieces:
            if self._has_ended():
                return b""
            await self._wait()
        return self._all_kept()

    async def pour(self, take: Take) -> bool:
        if self._pieces and not take(self._all_kept()):
            return True
        if self._has_ended():
            return False
        self._take = take
        try:
            if await self._wait():
                return True
        finally:
            self._take = None
        self._has_ended()
        return False

    def feed(self, data: bytes) -> None:
        """Take what came on the connection."""
        waiter, take = self._waiter, self._take
        if take is None or waiter is None or waiter.done():
            self._keep(data)
            return
        try:
            wants_more = take(data)
        except Exception as error:  # noqa: BLE001 - raised again where the pouring was asked for
            if not waiter.done():
                waiter.set_exception(error)
            return
        if not wants_more and not waiter.done():
            waiter.set_result(True)

    def end(self) -> None:
        """Nothing more comes, and nothing is missing."""
        self.is_whole = True
        self._wake()

    def fail(self, error: BrokenBody) -> None:
        if not self.is_whole and self._error is None:
            self._error = error
            self._wake()

    def _keep(self, data: bytes) -> None:
        self._pieces.append(data)
        self._kept_bytes += len(data)
        if self._kept_bytes > MOST_KEPT_BYTES:
            self._flow.pause_reading()
        self._wake()

    def _has_ended(self) -> bool:
        """Return False while more may come. Raises BrokenBody if it broke off."""
        if self._error is not None:
            raise self._error
        return self.is_whole

    def _all_kept(self) -> bytes:
        kept = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._kept_bytes = 0
        self._flow.resume_reading()
        return kept

    async def _wait(self) -> bool:
        """Wait until something happens; return whether `take` stopped the pouring."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            return await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(False)
