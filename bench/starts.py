"""Starts gateways: timed on an empty database and again on a used one, then left running for the other rows."""

import contextlib
from dataclasses import dataclass

from bench.measure import median
from bench.servers import Cores
from bench.table import Row
from bench.targets import Installation, Target, governed_key, running_gateway


@dataclass(frozen=True, slots=True)
class Starts:
    """Seconds from the process's start to its first good /readyz."""

    first_seconds: float
    again_seconds: float


def start_gateway(
    stack: contextlib.ExitStack, installation: Installation, provider: Target, cores: Cores, rounds: int
) -> tuple[Target, Starts]:
    """Start and end a gateway, the first start making the tables, then start it `rounds` times (1 or more).

    The last stays up until `stack` is left. Raises ServerFailedError.
    """
    with running_gateway(installation, provider, cores) as server:
        first_seconds, key = server.start_seconds, governed_key(installation, server)
    again = []
    for _ in range(rounds - 1):
        with running_gateway(installation, provider, cores) as server:
            again.append(server.start_seconds)
    server = stack.enter_context(running_gateway(installation, provider, cores))
    again.append(server.start_seconds)
    return Target(installation.name, server, key), Starts(first_seconds, median(again))


def start_rows(relay: Target, starts: dict[str, Starts]) -> list[Row]:
    """Return the rows of `starts` by target; the relay's own start stands beside them."""
    first = {name: each.first_seconds for name, each in starts.items()}
    again = {name: each.again_seconds for name, each in starts.items()} | {relay.name: relay.server.start_seconds}
    return [
        Row("start to ready, empty database", "s", first, goals={"sqlite": 1.0}),
        Row("start to ready", "s", again, goals={"sqlite": 1.0}),
    ]
