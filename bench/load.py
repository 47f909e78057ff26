"""The load: a few keep-alive connections on raw asyncio that ask, check every answer and note how long it took."""

import asyncio
import itertools
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, cast

from bench.answer import AnswerReader, WrongAnswerError
from bench.script import OPENAI, Expected, Script, Stream

# A target that stops answering fails the row instead of hanging the run.
ANSWER_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Call:
    """One call, ready to be written: where to, its bytes, and what must come back (see AnswerReader)."""

    port: int
    request: bytes
    expected: Expected
    lasts_seconds: float
    may_be_refused: bool = False


def call_to(port: int, key: str, stream: Stream | None = None, script: Script = OPENAI) -> Call:
    """Return the call of a script for a server on this port of the loopback."""
    path, body = script.request(stream)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
        f"Accept: application/json\r\nContent-Type: application/json\r\nUser-Agent: bench\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    lasts_seconds = stream.chunks * stream.delay_ms / 1000 if stream else 0.0
    return Call(port, head.encode() + body, script.expected(stream), lasts_seconds)


class Connection(asyncio.Protocol):
    """Asks one call at a time. `answered` is told the seconds since the call was due."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._reader = AnswerReader(call.expected, may_refuse=call.may_be_refused)
        self._due_at: float | None = None
        self.answered: Callable[[Connection, float], None] = lambda _connection, _seconds: None
        self.failed: Callable[[WrongAnswerError], None] = lambda _error: None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, due_at: float) -> None:
        """Send the call. `due_at` is when it should have been sent, by time.perf_counter."""
        self._due_at = due_at
        self._transport.write(self._call.request)

    def data_received(self, data: bytes) -> None:
        try:
            is_whole = self._reader.feed(data)
        except WrongAnswerError as error:
            return self.failed(error)
        if is_whole and self._due_at is not None:
            due_at, self._due_at = self._due_at, None
            self.answered(self, time.perf_counter() - due_at)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._due_at is not None:
            self.failed(WrongAnswerError(f"the connection was closed before the answer ended: {exc}"))

    @property
    def was_refused(self) -> bool:
        """Whether the last answer was a refusal."""
        return self._reader.is_refusal

    def close(self) -> None:
        """Hang up, whatever is on its way."""
        self._due_at = None
        self._transport.close()


class Load:
    """Open connections that all ask the same call. Every mode returns the seconds of each answer, or raises
    WrongAnswerError at the first wrong one and TimeoutError when answers stay away. `refused` counts the calls that the
    target refused, where it may."""

    def __init__(self, call: Call, connections: Sequence[Connection]) -> None:
        self.refused = 0
        self._call = call
        self._connections = connections

    @classmethod
    async def connect(cls, call: Call, connections: int) -> Self:
        loop = asyncio.get_running_loop()
        opened = await asyncio.gather(
            *(loop.create_connection(lambda: Connection(call), "127.0.0.1", call.port) for _ in range(connections))
        )
        return cls(call, [protocol for _, protocol in opened])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._connections:
            connection.close()

    async def for_seconds(self, seconds: float) -> list[float]:
        """Closed loop: every connection asks again as soon as it was answered, until the time is up."""
        ends_at = time.perf_counter() + seconds
        return await self._closed(lambda: time.perf_counter() < ends_at, seconds)

    async def for_calls(self, calls: int) -> list[float]:
        """Closed loop until so many calls are asked, at least one for each connection."""
        asked = itertools.count(len(self._connections))
        # 500 calls a second is slower than any target worth measuring.
        return await self._closed(lambda: next(asked) < calls, calls / 500)

    async def _closed(self, is_more: Callable[[], bool], seconds: float) -> list[float]:
        latencies: list[float] = []
        idle: list[Connection] = []
        finished = asyncio.get_running_loop().create_future()

        def answered(connection: Connection, latency_seconds: float) -> None:
            latencies.append(latency_seconds)
            if is_more():
                return connection.ask(time.perf_counter())
            idle.append(connection)
            if len(idle) == len(self._connections):
                _resolve(finished)

        self._listen(answered, finished)
        for connection in self._connections:
            connection.ask(time.perf_counter())
        await self._wait(finished, seconds)
        return latencies

    async def at_rate(self, calls_per_second: float, seconds: float) -> list[float]:
        """Open loop: calls fall due at random moments of this mean rate, whatever the target does. A call that finds
        no free connection waits for one, and the wait counts: a slow target can't slow the question down."""
        schedule = _arrivals(calls_per_second, seconds)
        due: deque[float] = deque()
        idle = deque(self._connections)
        latencies: list[float] = []
        finished = asyncio.get_running_loop().create_future()
        planned = len(schedule)

        def answered(connection: Connection, latency_seconds: float) -> None:
            if connection.was_refused:
                self.refused += 1
            else:
                latencies.append(latency_seconds)
            idle.append(connection)
            _send(due, idle)
            if len(latencies) + self.refused == planned:
                _resolve(finished)

        self._listen(answered, finished)
        pacing = asyncio.create_task(_pace(schedule, due, idle))
        await self._wait(finished, seconds)
        await pacing
        return latencies

    def _listen(self, answered: Callable[[Connection, float], None], finished: "asyncio.Future[None]") -> None:
        def failed(error: WrongAnswerError) -> None:
            if not finished.done():
                finished.set_exception(error)

        for connection in self._connections:
            connection.answered = answered
            connection.failed = failed

    async def _wait(self, finished: "asyncio.Future[None]", seconds: float) -> None:
        async with asyncio.timeout(seconds + 2 * self._call.lasts_seconds + ANSWER_TIMEOUT_SECONDS):
            await finished


def _resolve(finished: "asyncio.Future[None]") -> None:
    if not finished.done():
        finished.set_result(None)


def _arrivals(calls_per_second: float, seconds: float) -> deque[float]:
    # The same seed for every target: all get the same bursts.
    moments = random.Random(1)  # noqa: S311 - a schedule, not a secret
    gaps = (moments.expovariate(calls_per_second) for _ in range(max(1, round(calls_per_second * seconds))))
    return deque(itertools.accumulate(gaps))


async def _pace(schedule: deque[float], due: deque[float], idle: deque[Connection]) -> None:
    started_at = time.perf_counter()
    while schedule:
        now = time.perf_counter()
        while schedule and started_at + schedule[0] <= now:
            due.append(started_at + schedule.popleft())
        _send(due, idle)
        # The loop's timers count in milliseconds.
        await asyncio.sleep(0.001)


def _send(due: deque[float], idle: deque[Connection]) -> None:
    while due and idle:
        idle.popleft().ask(due.popleft())
