"""Starts and ends the processes under test, each kind on its own core."""

import contextlib
import http.client
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
START_TIMEOUT_SECONDS = 30.0
END_TIMEOUT_SECONDS = 30.0
# Often enough to time a start to the hundredth of a second, seldom enough to leave the start its core.
POLL_SECONDS = 0.005


class ServerFailedError(Exception):
    """A server ended or did not become ready. The message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Where to run what. With one core both are the same, and the figures say little."""

    target: int
    load: int

    @classmethod
    def available(cls) -> "Cores":
        allowed = sorted(os.sched_getaffinity(0))
        return cls(target=allowed[0], load=allowed[-1])


@dataclass(frozen=True, slots=True)
class Server:
    """A running server on the loopback. `start_seconds` is from its start to its first good answer."""

    process: subprocess.Popen[bytes]
    port: int
    start_seconds: float


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def serve(
    command: Sequence[str], environment: Mapping[str, str], port: int, ready_path: str, core: int, folder: Path
) -> Iterator[Server]:
    """Run `command` in `folder`, its output in a file there, until the block ends.

    Ready means an answer below 500 on `ready_path`. Raises ServerFailedError when that takes 30 s.
    """
    log = folder / f"{port}.log"
    started_at = time.perf_counter()
    with log.open("wb") as output, _pinned(core):
        process = subprocess.Popen(  # noqa: S603 - the bench's own commands
            command, env=dict(environment), cwd=folder, stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )
    try:
        _wait_until_ready(process, port, ready_path, log)
        yield Server(process, port, time.perf_counter() - started_at)
    finally:
        _end(process)


@contextlib.contextmanager
def _pinned(core: int) -> Iterator[None]:
    # A child inherits its parent's cores from its first instruction on; pinned later, its first threads escape.
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, path: str, log: Path) -> None:
    gives_up_at = time.perf_counter() + START_TIMEOUT_SECONDS
    while not _is_ready(port, path):
        if process.poll() is not None or time.perf_counter() > gives_up_at:
            raise ServerFailedError(f"not ready (exit {process.returncode}): {log.read_text()[-2000:]}")
        time.sleep(POLL_SECONDS)


def _is_ready(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
