"""Several worker processes under one: started, kept alive, told to stop, their exit codes gathered.

Orders go over a pipe and not as signals: a terminal or an init system may signal the workers itself as well, and a
worker that got the same wish twice would take it for the second, impatient one. A worker whose pipe closes has lost its
supervisor and drains.
"""

import logging
import multiprocessing
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from gateway.sources import Clock, SystemClock

READY = b"ready"
DRAIN = b"drain"
HURRY = b"hurry"
RELOAD = b"reload"

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_FIRST_RESTART_SECONDS = 1.0
_SLOWEST_RESTART_SECONDS = 30.0
_LONG_LIFE_SECONDS = 60.0  # a worker that lived so long did not die of how it was started

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    orders: Connection
    started_at: float
    ready: bool = False


class Supervisor:
    """Runs `count` processes that each call `work(pipe)`.

    `on_ready` is called when all were ready once, `on_stop` at the first stop signal. A worker that ends with
    `hopeless_exit_code` would fail again: then all stop, and that is the exit code.
    """

    def __init__(
        self,
        count: int,
        work: Callable[[Connection], None],
        *,
        on_ready: Callable[[], None],
        on_stop: Callable[[], None],
        hopeless_exit_code: int,
        clock: Clock | None = None,
    ) -> None:
        self._count = count
        self._work = work
        self._on_ready: Callable[[], None] | None = on_ready
        self._on_stop = on_stop
        self._hopeless_exit_code = hopeless_exit_code
        self._clock = clock or SystemClock()
        self._spawn = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._restarts_due: list[float] = []
        self._restart_seconds = _FIRST_RESTART_SECONDS
        self._stop_orders = 0
        self._exit_code = 0

    def run(self) -> int:
        """Return when every worker has ended: 0, or the worst exit code since the stop."""
        with self._signals() as signals:
            for _ in range(self._count):
                self._start()
            while self._workers or self._restarts_due:
                self._turn(signals)
        return self._exit_code

    def _turn(self, signals: socket.socket) -> None:
        """Wait for the next thing to happen and act on it."""
        sentinels = {worker.process.sentinel: worker for worker in self._workers}
        unready = [worker for worker in self._workers if not worker.ready]
        timeout = max(0.0, min(self._restarts_due) - self._clock.monotonic()) if self._restarts_due else None
        for happened in wait([signals, *sentinels, *(worker.orders for worker in unready)], timeout):
            if happened is signals:
                for number in signals.recv(64):
                    self._obey(number)
            elif isinstance(happened, int):
                self._bury(sentinels[happened])
            else:
                self._welcome(next(worker for worker in unready if worker.orders is happened))
        now = self._clock.monotonic()
        for due in [due for due in self._restarts_due if due <= now]:
            self._restarts_due.remove(due)
            self._start()

    def _start(self) -> None:
        ours, theirs = self._spawn.Pipe()
        process = self._spawn.Process(target=self._work, args=(theirs,))
        process.start()
        theirs.close()  # so that the worker's end of it is the only one, and its death can be read here
        self._workers.append(_Worker(process, ours, self._clock.monotonic()))

    def _welcome(self, worker: _Worker) -> None:
        with suppress(EOFError, OSError):  # it died; its sentinel says so too
            worker.ready = worker.orders.recv_bytes() == READY
        if self._on_ready and len(self._workers) == self._count and all(each.ready for each in self._workers):
            self._on_ready()
            self._on_ready = None

    def _bury(self, worker: _Worker) -> None:
        """Take a dead worker off the list, and see to its successor unless all are to stop."""
        worker.process.join()
        worker.orders.close()
        self._workers.remove(worker)
        code = worker.process.exitcode
        if self._stop_orders:
            self._exit_code = max(self._exit_code, 1 if code is None or code < 0 else code)
            return
        _log.error("worker %s ended with exit code %s", worker.process.pid, code)
        if code == self._hopeless_exit_code:
            self._exit_code = code
            self._stop()
            return
        if self._clock.monotonic() - worker.started_at > _LONG_LIFE_SECONDS:
            self._restart_seconds = _FIRST_RESTART_SECONDS
        self._restarts_due.append(self._clock.monotonic() + self._restart_seconds)
        self._restart_seconds = min(self._restart_seconds * 2, _SLOWEST_RESTART_SECONDS)

    def _obey(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._order(RELOAD)
        else:
            self._stop()

    def _stop(self) -> None:
        self._stop_orders += 1
        self._restarts_due.clear()
        if self._stop_orders == 1:
            self._on_stop()
        self._order(DRAIN if self._stop_orders == 1 else HURRY)

    def _order(self, order: bytes) -> None:
        for worker in self._workers:
            with suppress(OSError):  # it is dead: its sentinel says so
                worker.orders.send_bytes(order)

    @contextmanager
    def _signals(self) -> Iterator[socket.socket]:
        """Yield a socket on which each signal's number arrives as a byte."""
        reading, writing = socket.socketpair()
        writing.setblocking(False)
        with reading, writing:
            before = {number: signal.signal(number, lambda _number, _frame: None) for number in _SIGNALS}
            wakeup = signal.set_wakeup_fd(writing.fileno())
            try:
                yield reading
            finally:
                signal.set_wakeup_fd(wakeup)
                for number, handler in before.items():
                    signal.signal(number, handler)
