"""What our server adds to the ASGI scope for those inside, beside what ASGI itself has."""

from collections.abc import Callable
from typing import Protocol

DISCONNECT = "gateway.disconnect"
"""Key in `scope["extensions"]` of the client's connection."""


class Connection(Protocol):
    """A client's connection. Watching it costs no task and no turn of the loop."""

    def when_gone(self, callback: Callable[[], None] | None) -> None:
        """Have `callback` called once the client has left, perhaps now; None takes it back."""

    def hang_up(self) -> None:
        """Close before the answer is complete: the client sees that it is not whole."""
