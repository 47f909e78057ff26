"""Clock and entropy: the only places where the gateway learns what time it is or rolls dice.

Everything else takes `now`, a `Clock` or ready-made ids as parameters, so that a test can settle both.
"""

import os
import time
from datetime import UTC, datetime
from typing import Protocol

from gateway.core.ids import BASE62

# BASE62 is in ASCII order, so ids sort as their numbers do.
_PAIRS = [first + second for first in BASE62 for second in BASE62]
# 256 is no multiple of 62: a byte of 248 or more would favour the first eight characters.
_UNFAIR_BYTES = bytes(range(248, 256))
_BYTE_TO_BASE62 = bytes(BASE62[byte % 62].encode()[0] for byte in range(256))
_DRAWN_AHEAD = 1_200
_REQUEST_ID_RANDOM = 12  # base62 characters, 71 bits: two requests of one microsecond meet once in 10^21


class Clock(Protocol):
    """What time it is."""

    def now(self) -> float:
        """Unix seconds. May jump when the machine's clock is set: for records, not for durations."""

    def utc_now(self) -> datetime:
        """The same moment as an aware datetime in UTC."""

    def monotonic(self) -> float:
        """Seconds since an unknown moment, never going back: for durations and deadlines."""


class SystemClock:
    """The machine's clock."""

    # The system's own functions, without a call of ours around them: they are asked a dozen times per request.
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    def utc_now(self) -> datetime:
        return datetime.now(UTC)


class _Entropy:
    """Base62 characters drawn ahead: a system call per id would let go of the interpreter amid each request.

    The slight unfairness of `byte % 62` is harmless for ids, which have to be unique, not secret.
    """

    def __init__(self) -> None:
        self._drawn = ""

    def take(self, length: int) -> str:
        """Return characters that nobody else gets."""
        if len(self._drawn) < length:
            self._drawn = os.urandom(_DRAWN_AHEAD).translate(_BYTE_TO_BASE62).decode("ascii")
        taken, self._drawn = self._drawn[:length], self._drawn[length:]
        return taken


_id_entropy = _Entropy()


def random_base62(length: int) -> str:
    """Return `length` characters, each equally likely, from the system's cryptographic source."""
    drawn = b""
    while len(drawn) < length:
        drawn += os.urandom(length + 16).translate(_BYTE_TO_BASE62, _UNFAIR_BYTES)
    return drawn[:length].decode("ascii")


def new_request_id() -> str:
    """Return `req_` and 22 base62 characters: ten of Unix microseconds, then randomness.

    Ids of later microseconds sort after earlier ones, also across processes of one machine, so rows keyed by them are
    appended to an index instead of being scattered over it.
    """
    rest, fifth = divmod(time.time_ns() // 1000, 3844)
    rest, fourth = divmod(rest, 3844)
    rest, third = divmod(rest, 3844)
    first, second = divmod(rest, 3844)
    moment = _PAIRS[first] + _PAIRS[second] + _PAIRS[third] + _PAIRS[fourth] + _PAIRS[fifth]
    return f"req_{moment}{_id_entropy.take(_REQUEST_ID_RANDOM)}"
