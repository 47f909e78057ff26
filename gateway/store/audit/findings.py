"""What an audit says: checks, and of each the faults, in words with the figures.

No check keeps more than MOST_FAULTS of its faults: a ledger that is broken all over must still be audited in bounded
memory. A repair goes round until nothing is left.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from gateway.core.limits import Interval, Limit, Metric, Scope
from gateway.core.money import render_usd

MOST_FAULTS = 10_000

Key = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is off. `key` says to its repair which one; it is empty where nothing can be repaired."""

    words: str
    key: Key = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One invariant: how many rows it was held against, and where it is broken.

    `has_more` says that there are more faults than are listed. `notes` are worth knowing and nothing is off.
    """

    name: str
    promise: str
    examined: int
    faults: tuple[Fault, ...] = ()
    has_more: bool = False
    notes: tuple[str, ...] = ()


def check(name: str, promise: str, examined: int, faults: Iterable[Fault], notes: Iterable[str] = ()) -> Check:
    """Make a check of as many faults as it keeps; the rest of them is not looked at."""
    found = tuple(islice(faults, MOST_FAULTS + 1))
    return Check(name, promise, examined, found[:MOST_FAULTS], len(found) > MOST_FAULTS, tuple(notes))


def amount_text(metric: Metric, amount: int) -> str:
    """Write an amount with its unit."""
    match metric:
        case Metric.COST:
            return f"{render_usd(amount)} USD"
        case Metric.REQUESTS:
            return f"{amount:,} requests"
        case Metric.CONCURRENCY:
            return f"{amount:,} calls at once"
        case _:
            return f"{amount:,} {metric.replace('_', ' ')}"


def limit_text(limit: Limit, period_start: int) -> str:
    """Say which limit and which period of it is meant."""
    whose = "the organization" if limit.scope is Scope.ORGANIZATION else f"{limit.scope} {limit.scope_id}"
    models = f" for {', '.join(limit.models)}" if limit.models else ""
    if limit.interval in (None, Interval.LIFETIME):
        period = "in all"
    else:
        period = f"in the {limit.interval} from {moment_text(period_start)}"
    return f"limit {limit.id}, {limit.metric} of {whose}{models}, {period}"


def moment_text(unix_seconds: int) -> str:
    """Write a time, as short as it is exact."""
    moment = datetime.fromtimestamp(unix_seconds, UTC)
    return f"{moment:%Y-%m-%d}" if unix_seconds % 86_400 == 0 else f"{moment:%Y-%m-%d %H:%M} UTC"


def some(found: Iterable[Fault], *others: Iterable[Fault]) -> Iterator[Fault]:
    """Return the faults of several sources, one after the other."""
    for source in (found, *others):
        yield from source
