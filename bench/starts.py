"""Starts gateways: timed on an empty database and again on a used one, then left running for the other rows."""

from dataclasses import dataclass

from bench.measure import median
from bench.servers import Cores
from bench.table import Row
from bench.targets import Installation, Target, governed_key, running_gateway


@dataclass(frozen=True, slots=True)
class Starts:
    """Seconds from the process's start to its first good /readyz, and the key that was issued meanwhile."""

    first_seconds: float
    again_seconds: float
    key: str


def timed_starts(installation: Installation, provider: Target, cores: Cores, rounds: int) -> Starts:
    """Start and end a gateway 1 + `rounds` times; the first start makes the tables."""
    with running_gateway(installation, provider, cores) as server:
        first_seconds, key = server.start_seconds, governed_key(installation, server)
    again = []
    for _ in range(rounds):
        with running_gateway(installation, provider, cores) as server:
            again.append(server.start_seconds)
    return Starts(first_seconds, median(again), key)


def start_rows(relay: Target, starts: dict[str, Starts]) -> list[Row]:
    """Return the rows of `starts` by target; the relay's own start stands beside them."""
    first = {name: each.first_seconds for name, each in starts.items()}
    again = {name: each.again_seconds for name, each in starts.items()} | {relay.name: relay.server.start_seconds}
    goals = dict.fromkeys(starts, 1.0)
    return [
        Row("start to ready, empty database", "s", first, goals={"sqlite": 1.0}),
        Row("start to ready", "s", again, goals=goals),
    ]
