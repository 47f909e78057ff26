"""The thread that waits for the disk: in order, off the loop, and what goes wrong comes back to who asked."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from gateway.ledger.disk import Disk
from tests.patience import PATIENCE_SECONDS


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk("test-disk")
    yield disk
    disk.close()


async def test_work_of_many_at_once_runs_in_its_order_off_the_loop(disk: Disk) -> None:
    ran: list[tuple[int, str]] = []

    def work(number: int) -> None:
        ran.append((number, threading.current_thread().name))

    await asyncio.gather(*(disk.run(lambda number=number: work(number)) for number in range(100)))  # type: ignore[misc]
    assert ran == [(number, "test-disk") for number in range(100)]


async def test_error_of_the_work_is_raised_to_who_asked_and_to_nobody_else(disk: Disk) -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    failed, fine = await asyncio.gather(disk.run(fail), disk.run(lambda: None), return_exceptions=True)
    assert isinstance(failed, OSError) and fine is None


async def test_loop_goes_on_while_the_disk_is_slow(disk: Disk) -> None:
    slow = threading.Event()
    waiting = asyncio.ensure_future(disk.run(lambda: assert_set(slow)))
    turns = 0
    while turns < 10:
        await asyncio.sleep(0)
        turns += 1
    assert not waiting.done()
    slow.set()
    await waiting


async def test_cancelled_wait_leaves_the_work_and_those_behind_it_alone(disk: Disk) -> None:
    gate, ran = threading.Event(), threading.Event()
    first = asyncio.ensure_future(disk.run(lambda: assert_set(gate)))
    second = asyncio.ensure_future(disk.run(ran.set))
    await asyncio.sleep(0)
    second.cancel()
    gate.set()
    await first
    await disk.run(lambda: None)
    assert second.cancelled() and ran.is_set()


async def test_close_waits_for_all_that_was_given() -> None:
    disk, gate, ran = Disk("closing-disk"), threading.Event(), threading.Event()
    waits = [asyncio.ensure_future(disk.run(work)) for work in (lambda: assert_set(gate), ran.set)]
    await asyncio.sleep(0)
    gate.set()
    disk.close()
    assert ran.is_set()
    for wait in waits:
        wait.cancel()


def assert_set(event: threading.Event) -> None:
    assert event.wait(PATIENCE_SECONDS)
