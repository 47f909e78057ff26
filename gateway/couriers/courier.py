"""What every courier does."""

from typing import Protocol

from gateway.core.notices import Notice


class NotDelivered(Exception):
    """A notice did not arrive, as far as we know. The message is for the log and holds no secret."""


class Courier(Protocol):
    """Brings notices to one place."""

    async def send(self, notice: Notice, recipients: tuple[str, ...], now: float) -> None:
        """Bring a notice; it has arrived when this returns. `now` is in Unix seconds. Raises NotDelivered."""

    async def close(self) -> None:
        """Close what is open."""
