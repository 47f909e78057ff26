"""The turnstile before the river: so many calls begin in one turn of the event loop, the others wait in line.

A loop that begins whatever comes gets slow for everybody when more comes than the process can carry: each turn has more
to do, health checks and running streams wait for its end, and calls are answered when nobody waits for them any more.
Here turns stay short, calls begin in the order in which they came, and who finds the line full hears at once that it
should come back. Behind the turnstile calls wait once more, for their key and for the ledger; those count as waiting
too, so a slow database fills the line as well. Whoever is being served by a provider does not wait, nor who is slow to
send a body.
"""

import asyncio
from collections import deque

from gateway.core.errors import ServiceUnavailable

CALLS_PER_TURN = 16
"""Some 5 ms of work: more would make health checks late, fewer would make turns of little but their own cost."""
RETRY_SECONDS = 1.0


class Turnstile:
    """Made once by app.py, inside the running loop. `most_waiting` bounds those who wait, wherever they do.

    `at_desk` is how many wait for their key or to be admitted; the endpoint keeps it. `turned_away` counts the refused.
    """

    __slots__ = ("_begun", "_crowd", "_line", "_most_waiting", "at_desk", "turned_away")

    def __init__(self, most_waiting: int) -> None:
        self._most_waiting = most_waiting
        self._crowd = min(CALLS_PER_TURN + 1, most_waiting)
        self._line: deque[asyncio.Future[None]] = deque()
        self._begun = 0
        self.at_desk = 0
        self.turned_away = 0

    @property
    def waiting(self) -> int:
        """How many calls have come and are not admitted yet, those that are still being read aside."""
        return len(self._line) + self.at_desk

    @property
    def is_crowded(self) -> bool:
        """True while more wait than begin in one turn, or no more may wait."""
        return len(self._line) + self.at_desk >= self._crowd

    @property
    def is_full(self) -> bool:
        """True while no more may wait."""
        return len(self._line) + self.at_desk >= self._most_waiting

    def refusal(self) -> ServiceUnavailable:
        """Count one that is turned away; return what to tell it."""
        self.turned_away += 1
        return ServiceUnavailable(
            "The gateway has more calls than it can take; try again shortly.", retry_after_seconds=RETRY_SECONDS
        )

    def enter(self) -> "asyncio.Future[None] | None":
        """Return what to wait for, None for a call that may begin. Raises ServiceUnavailable when too many wait."""
        if self.is_full:
            raise self.refusal()
        loop = asyncio.get_running_loop()
        if self._begun < CALLS_PER_TURN and not self._line:
            if not self._begun:
                loop.call_soon(self._next_turn)
            self._begun += 1
            return None
        turn: asyncio.Future[None] = loop.create_future()
        self._line.append(turn)
        return turn

    def _next_turn(self) -> None:
        """Begin the calls that wait for it; runs once in each turn in which calls begin."""
        self._begun = 0
        while self._line and self._begun < CALLS_PER_TURN:
            turn = self._line.popleft()
            if not turn.done():  # its call was cancelled: the process ends
                turn.set_result(None)
                self._begun += 1
        if self._begun:
            asyncio.get_running_loop().call_soon(self._next_turn)
