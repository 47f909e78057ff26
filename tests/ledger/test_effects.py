"""What a correction does to limits that were made after its call was admitted: decided without a database."""

from gateway.core.limits import Interval, Limit, Metric, Scope
from gateway.ledger.effects import Batch, Final, State, apply
from gateway.ledger.entries import Caller, Outcome, Settlement, Source, Subject
from tests.ledger.books import figures

ADMITTED = 1_700_000_000
CALLER = Caller("key_1", "proj_1", "user_1", None)
SWEPT = figures(10, 5)
REAL = figures(10, 3)


def corrected(now: int, late: Limit, created_at: int) -> dict[tuple[str, int], int]:
    """Settle a swept call late, with a limit that was made since; return what that adds to `used`."""
    settlement = Settlement(
        "req_1", ADMITTED * 1_000_000, CALLER, Subject("chat", "m", "m", "main"), (), REAL, Source.REPORTED,
        Outcome.COMPLETED, 200,
    )  # fmt: skip
    state = State(now * 1_000_000, 1, {}, limits=[(late, created_at)])
    state.finals["req_1"] = Final("req_1", Source.SWEPT, False, SWEPT)
    effects = apply(Batch(settlements=[settlement]), state)
    return {key: change.used for key, change in effects.deltas.items() if change.used}


def late_limit(interval: Interval) -> Limit:
    return Limit("lim_late", Scope.ORGANIZATION, "org_gateway", Metric.TOKENS, interval, 100)


def test_correction_downwards_gives_nothing_back_to_the_present_minute() -> None:
    assert corrected(ADMITTED + 120, late_limit(Interval.MINUTE), ADMITTED + 60) == {}


def test_correction_leaves_a_limit_alone_that_was_made_in_a_later_period() -> None:
    assert corrected(ADMITTED + 7_200, late_limit(Interval.HOUR), ADMITTED + 3_600) == {}


def test_correction_reaches_a_limit_that_was_made_within_the_period() -> None:
    assert list(corrected(ADMITTED + 60, late_limit(Interval.LIFETIME), ADMITTED + 30).values()) == [-2]
