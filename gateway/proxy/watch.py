"""One watcher per call: it reads `receive()` until the client has left, then interrupts whoever serves it."""

import asyncio
from enum import Enum

from starlette.types import Receive


class Reason(Enum):
    """Why a call was interrupted."""

    CLIENT_LEFT = "client_left"
    DRAINED = "drained"


class Watch:
    """Interrupts its owner, the task that made it, by cancelling it; `reason` then says why. Idempotent."""

    __slots__ = ("_owner", "_task", "reason")

    def __init__(self, receive: Receive) -> None:
        owner = asyncio.current_task()
        assert owner is not None
        self._owner = owner
        self.reason: Reason | None = None
        self._task = asyncio.get_running_loop().create_task(self._wait(receive))

    async def _wait(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.interrupt(Reason.CLIENT_LEFT)

    def interrupt(self, reason: Reason) -> None:
        """Cancel the owner, once."""
        if self.reason is None and self._task is not None:
            self.reason = reason
            self._owner.cancel()

    def taken(self) -> bool:
        """Tell whether the cancellation that the owner just caught is ours, and take it back if so."""
        if self.reason is None:
            return False
        self._owner.uncancel()
        return True

    def stop(self) -> None:
        """Let go of the client: from here on the call ends in its own time."""
        self._task.cancel()
