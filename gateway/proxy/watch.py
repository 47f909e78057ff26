"""One watch per call: when the client has left, or the drain is over, it interrupts the coroutine that serves it."""

import asyncio
from collections.abc import Callable
from enum import Enum

from starlette.types import Scope

from gateway.core.extensions import DISCONNECT, Connection


class Reason(Enum):
    """Why a call was interrupted."""

    CLIENT_LEFT = "client_left"
    DRAINED = "drained"


class Watch:
    """Interrupts its owner, the task that made it, by cancelling it; `reason` then says why. Idempotent.

    `patience` is asked once, when the client has left: for how many seconds the call may go on without it.
    """

    __slots__ = ("_connection", "_expiry", "_owner", "_patience", "reason")

    def __init__(self, scope: Scope, patience: Callable[[], float]) -> None:
        owner = asyncio.current_task()
        assert owner is not None
        self._owner = owner
        self._patience = patience
        self._expiry: asyncio.TimerHandle | None = None
        self.reason: Reason | None = None
        self._connection: Connection = scope["extensions"][DISCONNECT]
        self._connection.when_gone(self._on_gone)

    def _on_gone(self) -> None:
        seconds = self._patience()
        if seconds > 0:
            self._expiry = asyncio.get_running_loop().call_later(seconds, self.interrupt, Reason.CLIENT_LEFT)
        else:
            self.interrupt(Reason.CLIENT_LEFT)

    def interrupt(self, reason: Reason) -> None:
        """Cancel the owner, once."""
        if self.reason is None:
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
        self._connection.when_gone(None)
        if self._expiry is not None:
            self._expiry.cancel()
