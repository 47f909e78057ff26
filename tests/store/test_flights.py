"""Reads that are shared: whose key is asked for meanwhile waits for the next one, and nobody gets an older answer."""

import asyncio
from collections.abc import Collection, Mapping

import pytest

from gateway.core.errors import ServiceUnavailable
from gateway.store.flights import MOST_IN_A_FLIGHT, Flights
from tests.patience import PATIENCE_SECONDS


class Reader:
    """Answers each key with how many reads had begun by then, when it is let."""

    def __init__(self) -> None:
        self.read: list[set[int]] = []
        self.gate = asyncio.Event()
        self.fails = False

    async def __call__(self, keys: Collection[int]) -> Mapping[int, int]:
        self.read.append(set(keys))
        number = len(self.read)
        await self.gate.wait()
        if self.fails:
            raise OSError
        return dict.fromkeys(keys, number)


def patient() -> float:
    """A moment that does not come."""
    return asyncio.get_running_loop().time() + PATIENCE_SECONDS


async def turns() -> None:
    """Let everything go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_keys_that_come_together_are_read_together_and_later_ones_by_the_next_read() -> None:
    reader = Reader()
    flights = Flights(reader)
    first = [asyncio.create_task(flights.after(key, patient())) for key in (1, 2, 1)]
    await turns()
    later = [asyncio.create_task(flights.after(key, patient())) for key in (1, 3)]
    joined = [asyncio.create_task(flights.join(key, patient())) for key in (2, 3)]
    await turns()
    assert reader.read == [{1, 2}]
    reader.gate.set()
    assert await asyncio.gather(*first) == [1, 1, 1]
    assert await asyncio.gather(*later) == [2, 2]
    assert await asyncio.gather(*joined) == [1, 2]
    assert reader.read == [{1, 2}, {1, 3}]


async def test_one_read_takes_so_many_keys_and_no_more() -> None:
    reader = Reader()
    reader.gate.set()
    flights = Flights(reader)
    keys = range(2 * MOST_IN_A_FLIGHT + 1)
    await asyncio.gather(*(flights.after(key, patient()) for key in keys))
    assert [len(read) for read in reader.read] == [MOST_IN_A_FLIGHT, MOST_IN_A_FLIGHT, 1]


async def test_read_goes_on_without_those_who_left_and_none_begins_for_nobody() -> None:
    reader = Reader()
    flights = Flights(reader)
    leaving = [asyncio.create_task(flights.after(1, patient()))]
    await turns()
    leaving.append(asyncio.create_task(flights.after(2, patient())))
    await turns()
    for waiter in leaving:
        waiter.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    staying = asyncio.create_task(flights.join(1, patient()))
    await turns()
    reader.gate.set()
    assert await staying == 1
    await flights.close()
    assert reader.read == [{1}]
    assert await flights.after(3, patient()) == 2


async def test_read_that_fails_fails_its_own_waiters_alone() -> None:
    reader = Reader()
    reader.fails = True
    reader.gate.set()
    flights = Flights(reader)
    for answer in await asyncio.gather(
        flights.after(1, patient()), flights.after(2, patient()), return_exceptions=True
    ):
        assert isinstance(answer, ServiceUnavailable)
    reader.fails = False
    assert await flights.after(1, patient()) == 2
    with pytest.raises(ServiceUnavailable):
        reader.fails = True
        await flights.join(1, patient())


async def test_waiters_wait_until_their_own_moments_and_the_read_goes_on() -> None:
    reader = Reader()
    flights = Flights(reader)
    now = asyncio.get_running_loop().time()
    first = asyncio.create_task(flights.after(1, patient()))
    await turns()
    for waiting in (flights.join(1, now), flights.after(2, now + 0.01)):
        with pytest.raises(ServiceUnavailable):
            await waiting
    assert not first.done()
    reader.gate.set()
    assert await first == 1
    await flights.close()
    assert reader.read == [{1}]
