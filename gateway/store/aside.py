"""A thread with an event loop of its own, for work that reads much: what serves calls goes on meanwhile.

A report may make tens of thousands of lines. On the loop that serves calls each of them would wait for it, and on the
connections that calls read their keys with a few reports at once would keep all others out.
"""

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.core.errors import ServiceUnavailable

T = TypeVar("T")

AT_ONCE = 2
WAIT_SECONDS = 30.0
"""How long a piece of work may wait for its turn."""
SWITCH_SECONDS = 0.0005
"""How long this thread may keep the interpreter once the loop that serves calls wants it; Python's own word is 5 ms."""
MESSAGE = "Many reports are being made; try again shortly."


class Aside:
    """Runs at most AT_ONCE pieces of work at a time; the others wait for their turn, in order."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._running = 0
        self._usual_seconds = sys.getswitchinterval()
        self._thread = threading.Thread(target=self._live, name="aside", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return what the work returned. Raises what it raises, ServiceUnavailable if its turn does not come."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._in_turn(work), self._loop))

    async def close(self, last: Callable[[], Awaitable[None]]) -> None:
        """Cancel what runs, do one thing more there, and end."""

        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await last()

        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(end(), self._loop))
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)

    def _live(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    async def _in_turn(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            await asyncio.wait_for(self._turns.acquire(), WAIT_SECONDS)
        except TimeoutError as error:
            raise ServiceUnavailable(MESSAGE) from error
        self._running += 1
        sys.setswitchinterval(SWITCH_SECONDS)
        try:
            return await work()
        finally:
            self._running -= 1
            if not self._running:
                sys.setswitchinterval(self._usual_seconds)
            self._turns.release()
