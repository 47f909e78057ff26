"""A clock that a test sets."""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass
class SettableClock:
    """Stands still until `advance`. `seconds` is Unix time; the monotonic clock starts at 0."""

    seconds: float = 1_700_000_000.0
    elapsed: float = 0.0

    def now(self) -> float:
        return self.seconds

    def utc_now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def monotonic(self) -> float:
        return self.elapsed

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self.seconds += seconds
        self.elapsed += seconds
