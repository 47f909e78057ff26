"""One read for all who wait for the same thing."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Flights(Generic[K, T]):
    """Runs at most one read per key at a time, each as a task of its own: a waiter that leaves does not end it."""

    def __init__(self, read: Callable[[K], Awaitable[T]]) -> None:
        self._read = read
        self._running: dict[K, asyncio.Task[T]] = {}

    async def join(self, key: K) -> T:
        """Return what the running read finds, or start one. Raises what the read raises."""
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.get_running_loop().create_task(self._fly(key))
            task.add_done_callback(_retrieve)
        return await asyncio.shield(task)

    async def after(self, key: K) -> T:
        """Return what a read finds that began after this call. Raises what the read raises."""
        if (running := self._running.get(key)) is not None:
            await asyncio.wait({running})
        # Who waited with us for the older read shares the new one: it began after all of our calls.
        return await self.join(key)

    async def _fly(self, key: K) -> T:
        try:
            return await self._read(key)
        finally:
            del self._running[key]

    async def close(self) -> None:
        """Wait for the reads that are under way."""
        while self._running:
            await asyncio.wait(self._running.values())


def _retrieve(task: asyncio.Task[T]) -> None:
    """Take the exception of a read whose waiters have all left, so that asyncio does not report it as lost."""
    if not task.cancelled():
        task.exception()
