"""Time in tests: how long one waits for what must come, and how long an event loop stood still.

A busy machine must not fail a test, so nothing here holds the program to a time in which others may have had the
processor.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 60
"""Far beyond what anything takes: it ends a test that hangs, and judges nothing."""
TICK_SECONDS = 0.005
EARLY_SECONDS = 20
HOUR_SECONDS = 3_600
LONGEST_TEST_SECONDS = 60
TURNED_SECONDS = 0.5
"""After that a minute or an hour has turned for every clock of this machine, however a timer was rounded."""


async def early_in_a_minute() -> None:
    """Return once this minute, and so the hour and the day, goes on for long enough for what follows."""
    while (left := 60 - time.time() % 60) < EARLY_SECONDS:  # noqa: ASYNC110 - time tells nobody
        await asyncio.sleep(left + TURNED_SECONDS)


def before_an_hour_turns() -> None:
    """Return once this hour, and so the day, the week and the month, goes on for as long as a test may take.

    Whatever a test does under a limit or finds in a report is then in one period.
    """
    while (left := HOUR_SECONDS - time.time() % HOUR_SECONDS) < LONGEST_TEST_SECONDS:
        threading.Event().wait(left + TURNED_SECONDS)


QUARTER_SECONDS = 0.25


async def in_quarters(work: Awaitable[T]) -> tuple[T, int]:
    """Return what came of the work, and for how many quarters of a second it was waited for, rounded down.

    The running loop counts them: while the machine holds up the process nothing is counted.
    """
    quarters = 0

    async def count() -> None:
        nonlocal quarters
        while True:
            await asyncio.sleep(QUARTER_SECONDS)
            quarters += 1

    counting = asyncio.create_task(count())
    try:
        return await work, quarters
    finally:
        counting.cancel()


class Stalls:
    """Counts how often a thread beside the running loop woke since the loop last turned.

    What holds up the whole machine holds up both, so it does not count; what blocks the loop leaves the thread free.
    """

    def __init__(self) -> None:
        self.longest_ticks = 0
        """Each of TICK_SECONDS at least."""
        self._turns = 0
        self._ended = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._next_turn = self._loop.call_soon(self._turn)
        self._thread = threading.Thread(target=self._watch, name="watch of the loop")
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        self._next_turn.cancel()

    def _turn(self) -> None:
        self._turns += 1
        self._next_turn = self._loop.call_later(TICK_SECONDS / 2, self._turn)

    def _watch(self) -> None:
        seen, ticks = self._turns, 0
        while not self._ended.wait(TICK_SECONDS):
            ticks = ticks + 1 if self._turns == seen else 0
            seen = self._turns
            self.longest_ticks = max(self.longest_ticks, ticks)


@contextmanager
def stalls() -> Iterator[Stalls]:
    """Watch the running loop."""
    watch = Stalls()
    try:
        yield watch
    finally:
        watch.end()
