"""One read for all who wait for the same thing, or for others of its kind, and nobody waits for long.

A read that takes longer goes on without its waiters: who asks again a little later may find it done.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from typing import Generic, TypeVar

from gateway.core.errors import ServiceUnavailable
from gateway.store.engine import MESSAGE, unavailable_when_away

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

READ_SECONDS = 8.0
"""Then its connection is of more use to others."""
MOST_IN_A_FLIGHT = 200
"""A start under load has as many keys to read as there are callers: together they take a fiftieth of the time."""


class Flight(Generic[K, T]):
    """One read, of the keys that were asked for before it began. `landed` is the task that reads."""

    landed: asyncio.Task[Mapping[K, T]]

    def __init__(self) -> None:
        self.keys: set[K] = set()
        self.waiters = 0
        self.has_begun = False


class Flights(Generic[K, T]):
    """Runs one read at a time, each as a task of its own: a waiter that leaves does not end it.

    `read` returns what it finds for each key. A waiter waits until a moment of the loop's clock; it is told
    ServiceUnavailable then, and of a read that does not end.
    """

    def __init__(self, read: Callable[[Collection[K]], Awaitable[Mapping[K, T]]]) -> None:
        self._read = read
        self._flying: Flight[K, T] | None = None
        self._last: Flight[K, T] | None = None
        """In the row of those that wait for one another to land."""

    async def join(self, key: K, until: float) -> T:
        """Return what a read finds that may have begun already. Raises what the read raises."""
        flight = self._flying
        if flight is None or key not in flight.keys or flight.landed.done():
            return await self.after(key, until)
        return await self._landed(flight, key, until)

    async def after(self, key: K, until: float) -> T:
        """Return what a read finds that begins after this call. Raises what the read raises."""
        flight, before = self._last, self._last
        if flight is None or flight.has_begun or len(flight.keys) >= MOST_IN_A_FLIGHT:
            flight = self._last = Flight()
            flight.landed = asyncio.get_running_loop().create_task(self._fly(flight, before))
            flight.landed.add_done_callback(_retrieve)
        flight.keys.add(key)
        return await self._landed(flight, key, until)

    async def _fly(self, flight: Flight[K, T], before: Flight[K, T] | None) -> Mapping[K, T]:
        if before is not None:
            await asyncio.wait({before.landed})
        flight.has_begun = True
        if not flight.waiters:  # all have lost patience, and others wait behind
            raise ServiceUnavailable(MESSAGE)
        self._flying = flight
        with unavailable_when_away():
            async with asyncio.timeout(READ_SECONDS):
                return await self._read(flight.keys)

    async def _landed(self, flight: Flight[K, T], key: K, until: float) -> T:
        flight.waiters += 1
        try:
            with unavailable_when_away():
                async with asyncio.timeout_at(until):
                    return (await asyncio.shield(flight.landed))[key]
        finally:
            flight.waiters -= 1

    async def close(self) -> None:
        """Wait for the reads that are under way."""
        if self._last is not None:
            await asyncio.wait({self._last.landed})


def _retrieve(task: asyncio.Task[T]) -> None:
    """Take the exception of a read whose waiters have all left, so that asyncio does not report it as lost."""
    if not task.cancelled():
        task.exception()
