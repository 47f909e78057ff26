"""What is measured, one function per group of rows. Every figure is the median over rounds, and within a round the
targets take turns, so that a machine that slows down slows all of them."""

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from bench.answer import WrongAnswerError
from bench.load import Load
from bench.measure import cpu_seconds, median, percentile, resident_bytes
from bench.native import NATIVE, TRANSLATED
from bench.script import OPENAI, Script, Stream
from bench.servers import ROOT, Cores
from bench.table import YARDSTICK, Row
from bench.targets import Target

CLIENTS = (1, 32, 128)
LATENCY_CLIENTS = 32
# Enough connections that at half load a call hardly ever waits for one.
OPEN_LOOP_CONNECTIONS = 256
STREAM_CHUNKS = 64
OVERLOAD_CLIENTS = 128
OVERLOAD = 3
# More than may wait in line, or the load would hold itself back; fewer than one address may have.
OVERLOAD_CONNECTIONS = 4000
OVERLOAD_ROUNDS = 4  # so many times as long as other rounds: a line must have the time to fill
# All streams together stay at this rate: a target that falls behind would get its chunks in heaps, which is cheaper.
CHUNKS_PER_SECOND = 10_000
# The loop's timers count in milliseconds.
SHORTEST_DELAY_MS = 2.0
# Work that a target does after the answer (records, logs) belongs to its calls.
AFTERWORK_SECONDS = 0.1
SAMPLE_SECONDS = 0.25
MEBIBYTE = 2**20

T = TypeVar("T")


class TargetFailedError(Exception):
    """A target answered wrongly, too late or not at all. The message names it."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure. `seconds` is per target, clients and round."""

    rounds: int
    seconds: float
    memory_calls: int
    slow_streams: int
    slow_stream: Stream


# Many short rounds: what disturbs a shared machine lasts longer than a second. 4,000 tokens come in chunks of ten: no
# Python event loop can hand on 1,000 streams of single tokens at the pace of a real model.
FULL = Effort(9, 1.2, 100_000, 1000, Stream(chunks=402, delay_ms=150, words=10))
QUICK = Effort(1, 0.7, 10_000, 200, Stream(chunks=42, delay_ms=100, words=100))


@dataclass(frozen=True, slots=True)
class Bench:
    """The targets under test, the yardstick first, and the provider for calls with nothing between.

    `folder`, `cores` and `postgres_url` are for what an experiment starts itself; the folder is removed after the run.
    """

    runner: asyncio.Runner
    provider: Target
    targets: Sequence[Target]
    effort: Effort
    folder: Path
    cores: Cores
    postgres_url: str

    def run(self, target: Target, work: Coroutine[None, None, T]) -> T:
        """Run a load to its end. Raises TargetFailedError for what `target` did wrong."""
        try:
            return self.runner.run(work)
        except (WrongAnswerError, OSError) as error:
            raise TargetFailedError(f"{target.name}: {type(error).__name__}: {error}") from error


Experiment = Callable[[Bench], list[Row]]


@dataclass(frozen=True, slots=True)
class Sample:
    """One target under one load. Seconds throughout."""

    cpu_per_call: float
    calls_per_second: float
    latencies: Sequence[float]


def plain_calls(bench: Bench) -> list[Row]:
    """CPU per plain call, and calls per second with one core, at 1, 32 and 128 clients."""
    rows = []
    for clients in CLIENTS:
        samples = _rounds(bench, partial(_sample, bench, clients, None))
        cpu = {name: [sample.cpu_per_call * 1e6 for sample in taken] for name, taken in samples.items()}
        goals = {"sqlite": 1.6, "postgres": 2.0} if clients == LATENCY_CLIENTS else {}
        rows.append(_against_relay(f"CPU per plain call, {_clients(clients)}", "µs", cpu, goals))
        rate = {name: median([sample.calls_per_second for sample in taken]) for name, taken in samples.items()}
        rows.append(Row(f"plain calls, {_clients(clients)}", "1/s", rate))
    return rows


def streamed_calls(bench: Bench) -> list[Row]:
    """CPU per streamed chunk; the call around the stream is in it, spread over its chunks."""
    rows = []
    for clients in CLIENTS:
        delay_ms = max(SHORTEST_DELAY_MS, clients / CHUNKS_PER_SECOND * 1000)
        stream = Stream(STREAM_CHUNKS, delay_ms)
        samples = _rounds(bench, partial(_sample, bench, clients, stream))
        cpu = {name: [sample.cpu_per_call * 1e6 / stream.chunks for sample in taken] for name, taken in samples.items()}
        rows.append(_against_relay(f"CPU per chunk, {_clients(clients)}", "µs", cpu, _for_gateways(1.2)))
    return rows


def dialects(bench: Bench) -> list[Row]:
    """CPU per call and per streamed chunk of other dialects and of translations, beside the relay on OpenAI's calls."""
    rows = []
    stream = Stream(STREAM_CHUNKS, LATENCY_CLIENTS / CHUNKS_PER_SECOND * 1000)
    for scripts, goal in ((NATIVE, 1.4), (TRANSLATED, 4.0)):
        for name, script in scripts.items():
            samples = _rounds(bench, partial(_sample, bench, LATENCY_CLIENTS, None, script=script))
            cpu = {one: [sample.cpu_per_call * 1e6 for sample in taken] for one, taken in samples.items()}
            rows.append(_against_relay(f"CPU per call, {name}", "µs", cpu, {}))
            samples = _rounds(bench, partial(_sample, bench, LATENCY_CLIENTS, stream, script=script))
            cpu = {
                one: [sample.cpu_per_call * 1e6 / stream.chunks for sample in taken] for one, taken in samples.items()
            }
            rows.append(_against_relay(f"CPU per chunk, {name}", "µs", cpu, _for_gateways(goal)))
    return rows


def latency(bench: Bench) -> list[Row]:
    """What a target adds to the provider's own latency: alone, and at half of what 32 clients get through it."""
    alone = _rounds(bench, partial(_added_alone, bench))
    half = _rounds(bench, partial(_added_at_half_load, bench))
    return [
        Row("added latency alone, p50", "ms", _medians(alone), goals=_for_gateways(2)),
        Row("added latency at half load, p99", "ms", _medians(half), goals=_for_gateways(15)),
    ]


def burst(bench: Bench) -> list[Row]:
    """500 new clients that connect and ask in the same moment, until the last has its answer."""
    seconds = _rounds(bench, lambda target: bench.run(target, _burst(target)))
    return [Row("burst of 500 calls", "s", _medians(seconds), goals=_for_gateways(3))]


def memory(bench: Bench) -> list[Row]:
    """Resident memory after many calls, and what the second half of them added."""
    half, calls = bench.effort.memory_calls // 2, bench.effort.memory_calls
    resident, growth = {}, {}
    for target in bench.targets:
        bench.run(target, _ask_calls(target, half))
        before = resident_bytes(target.pid)
        bench.run(target, _ask_calls(target, calls - half))
        resident[target.name] = resident_bytes(target.pid) / MEBIBYTE
        growth[target.name] = resident[target.name] - before / MEBIBYTE
    return [
        Row(f"resident after {calls:,} calls", "MiB", resident, goals=_for_gateways(160)),
        Row("  of it since half of them", "MiB", growth),
    ]


def slow_streams(bench: Bench) -> list[Row]:
    """Resident memory at its highest while many clients read slow answers of 4,000 tokens."""
    peaks = {target.name: bench.run(target, _peak(target, bench.effort)) for target in bench.targets}
    label = f"resident with {bench.effort.slow_streams:,} slow streams"
    return [Row(label, "MiB", peaks, goals=_for_gateways(250))]


def overload(bench: Bench) -> list[Row]:
    """Three times what a target carries: that many connections in a closed loop, that many calls in an open one."""
    gateways = replace(bench, targets=[target for target in bench.targets if target.name != YARDSTICK])
    taken = _rounds(gateways, partial(_overloaded, bench))
    lost, strain = {"sqlite": 10.0, "postgres": 10.0}, f"at {OVERLOAD} times the ceiling"

    def row(label: str, unit: str, of: Callable[[Overloaded], float], goals: Mapping[str, float]) -> Row:
        return Row(label, unit, {name: median([of(one) for one in some]) for name, some in taken.items()}, goals=goals)

    return [
        row(f"calls lost by {OVERLOAD} times the connections", "%", lambda one: 100 * one.crowd_lost, lost),
        row(f"calls lost {strain}", "%", lambda one: 100 * one.flood_lost, _for_gateways(50)),
        row("  of all calls refused then", "%", lambda one: 100 * one.refused, {}),
        row("  slowest health check then", "ms", lambda one: 1000 * one.slowest_probe, _for_gateways(100)),
        row("  slowest on a new connection", "ms", lambda one: 1000 * one.slowest_new_probe, _for_gateways(100)),
        row("  the machine's own lateness then", "ms", lambda one: 1000 * one.lateness, {}),
        row("  memory grown then", "MiB", lambda one: one.grown_bytes / MEBIBYTE, _for_gateways(100)),
    ]


@dataclass(frozen=True, slots=True)
class Overloaded:
    """One target under too much. Shares of one; what is lost is measured by what it carries at its best."""

    crowd_lost: float
    flood_lost: float
    refused: float
    slowest_probe: float
    slowest_new_probe: float
    lateness: float
    grown_bytes: int


def _overloaded(bench: Bench, target: Target) -> Overloaded:
    ceiling = _sample(bench, OVERLOAD_CLIENTS, None, target).calls_per_second
    crowd = _sample(bench, OVERLOAD * OVERLOAD_CLIENTS, None, target).calls_per_second
    seconds = OVERLOAD_ROUNDS * bench.effort.seconds
    before = resident_bytes(target.pid)
    answered, refused, slowest = bench.run(target, _flooded(target, OVERLOAD * ceiling, seconds))
    return Overloaded(
        1 - crowd / ceiling,
        1 - answered / ceiling,
        refused,
        *slowest,
        max(resident_bytes(target.pid) - before, 0),
    )


async def _flooded(target: Target, rate: float, seconds: float) -> tuple[float, float, tuple[float, float, float]]:
    """Return the calls that were served per second, the share that was refused, and what `bench.probe` saw."""
    async with await Load.connect(replace(target.call(), may_be_refused=True), OVERLOAD_CONNECTIONS) as load:
        probing = asyncio.create_task(_slowest_probes(target, seconds))
        started_at = time.perf_counter()
        latencies = await load.at_rate(rate, seconds)
        elapsed_seconds = time.perf_counter() - started_at
        calls = len(latencies) + load.refused
        return len(latencies) / elapsed_seconds, load.refused / calls, await probing


async def _slowest_probes(target: Target, seconds: float) -> tuple[float, float, float]:
    command = (sys.executable, "-m", "bench.probe", str(target.server.port), str(seconds))
    probing = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    printed, _ = await probing.communicate()
    kept, new, late = map(float, printed.split())
    return kept, new, late


def _sample(bench: Bench, clients: int, stream: Stream | None, target: Target, *, script: Script = OPENAI) -> Sample:
    # The relay knows one format.
    spoken = OPENAI if target.name == YARDSTICK else script
    return bench.run(target, _under_load(target, clients, stream, spoken, bench.effort.seconds))


async def _under_load(target: Target, clients: int, stream: Stream | None, script: Script, seconds: float) -> Sample:
    async with await Load.connect(target.call(stream, script), clients) as load:
        await load.for_calls(clients)
        cpu_before, started_at = cpu_seconds(target.pid), time.perf_counter()
        latencies = await load.for_seconds(seconds)
        elapsed_seconds = time.perf_counter() - started_at
        await asyncio.sleep(AFTERWORK_SECONDS)
        cpu = cpu_seconds(target.pid) - cpu_before
    return Sample(cpu / len(latencies), len(latencies) / elapsed_seconds, latencies)


def _added_alone(bench: Bench, target: Target) -> float:
    direct = _sample(bench, 1, None, bench.provider)
    through = _sample(bench, 1, None, target)
    return 1000 * (percentile(through.latencies, 0.5) - percentile(direct.latencies, 0.5))


def _added_at_half_load(bench: Bench, target: Target) -> float:
    rate = _sample(bench, LATENCY_CLIENTS, None, target).calls_per_second / 2
    direct = bench.run(bench.provider, _at_rate(bench.provider, rate, bench.effort.seconds))
    through = bench.run(target, _at_rate(target, rate, bench.effort.seconds))
    return 1000 * (percentile(through, 0.99) - percentile(direct, 0.99))


async def _at_rate(target: Target, rate: float, seconds: float) -> list[float]:
    async with await Load.connect(target.call(), OPEN_LOOP_CONNECTIONS) as load:
        return await load.at_rate(rate, seconds)


async def _burst(target: Target) -> float:
    started_at = time.perf_counter()
    async with await Load.connect(target.call(), 500) as load:
        await load.for_calls(500)
        return time.perf_counter() - started_at


async def _ask_calls(target: Target, calls: int) -> None:
    async with await Load.connect(target.call(), LATENCY_CLIENTS) as load:
        await load.for_calls(calls)


async def _peak(target: Target, effort: Effort) -> float:
    async with await Load.connect(target.call(effort.slow_stream), effort.slow_streams) as load:
        asking = asyncio.create_task(load.for_calls(effort.slow_streams))
        peak_bytes = 0
        while not asking.done():
            peak_bytes = max(peak_bytes, resident_bytes(target.pid))
            await asyncio.wait([asking], timeout=SAMPLE_SECONDS)
        await asking
    return peak_bytes / MEBIBYTE


def _rounds(bench: Bench, measure: Callable[[Target], T]) -> Mapping[str, list[T]]:
    taken: defaultdict[str, list[T]] = defaultdict(list)
    for round_number in range(bench.effort.rounds):
        # There and back, so that none is always the one after a busy neighbour.
        for target in bench.targets[:: -1 if round_number % 2 else 1]:
            taken[target.name].append(measure(target))
    return taken


def _medians(taken: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: median(values) for name, values in taken.items()}


def _against_relay(label: str, unit: str, taken: Mapping[str, list[float]], goals: Mapping[str, float]) -> Row:
    # Ratios are taken within a round and then their median: the neighbours in time are compared.
    ratios = {
        name: median([value / relay for value, relay in zip(values, taken[YARDSTICK], strict=True)])
        for name, values in taken.items()
    }
    return Row(label, unit, _medians(taken), ratios, goals, goal_is_ratio=True)


def _for_gateways(goal: float) -> dict[str, float]:
    return {"sqlite": goal, "postgres": goal}


def _clients(clients: int) -> str:
    return "1 client" if clients == 1 else f"{clients} clients"
