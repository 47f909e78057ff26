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
EARLY_SECONDS = 10


async def early_in_a_minute() -> None:
    """Return once this minute, and so the hour and the day, goes on for long enough for what follows."""
    left = 60 - time.time() % 60
    if left < EARLY_SECONDS:
        await asyncio.sleep(left)


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
