"""Periods and the decision: properties over everything, and the corners by hand."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.limits import (
    OUTPUT_METRICS,
    Admission,
    Demand,
    Interval,
    Limit,
    Metric,
    Refusal,
    Scope,
    Standing,
    decide,
    hold_amount,
    period_end,
    period_start,
)

FAR = 253_402_300_799 - 40 * 86_400
"""Nearly the end of the year 9999."""
ENDING = [interval for interval in Interval if interval is not Interval.LIFETIME]

seconds = st.integers(0, FAR)
amounts = st.integers(0, 100_000)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


# --- periods ---


@given(st.sampled_from(ENDING), seconds)
def test_period_contains_its_moment_and_touches_the_next(interval: Interval, now: int) -> None:
    start = period_start(interval, now)
    end = period_end(interval, start)
    assert end is not None
    assert start <= now < end
    assert period_start(interval, start) == start
    assert period_start(interval, end - 1) == start
    assert period_start(interval, end) == end


@given(seconds)
def test_period_of_a_week_begins_on_monday_at_midnight(now: int) -> None:
    begun = datetime.fromtimestamp(period_start(Interval.WEEK, now), UTC)
    # The week of 1 January 1970, a Thursday, began before time did.
    assert (begun.weekday(), begun.hour, begun.minute, begun.second) == (0, 0, 0, 0)


@given(seconds)
def test_period_of_a_month_is_the_calendars(now: int) -> None:
    moment = datetime.fromtimestamp(now, UTC)
    begun = datetime.fromtimestamp(period_start(Interval.MONTH, now), UTC)
    end = period_end(Interval.MONTH, period_start(Interval.MONTH, now))
    assert end is not None
    last = datetime.fromtimestamp(end, UTC) - timedelta(seconds=1)
    assert begun == datetime(moment.year, moment.month, 1, tzinfo=UTC)
    assert (last.year, last.month) == (moment.year, moment.month)


@given(seconds)
def test_period_that_never_ends_begins_at_nought(now: int) -> None:
    for interval in (None, Interval.LIFETIME):
        assert period_start(interval, now) == 0
        assert period_end(interval, 0) is None


@pytest.mark.parametrize(
    ("interval", "now", "start", "end"),
    [
        (Interval.MINUTE, "2024-02-29T23:59:59", "2024-02-29T23:59:00", "2024-03-01T00:00:00"),
        (Interval.HOUR, "2024-02-29T23:59:59", "2024-02-29T23:00:00", "2024-03-01T00:00:00"),
        (Interval.DAY, "2024-02-29T12:00:00", "2024-02-29T00:00:00", "2024-03-01T00:00:00"),
        (Interval.WEEK, "2024-03-03T23:59:59", "2024-02-26T00:00:00", "2024-03-04T00:00:00"),
        (Interval.WEEK, "2024-03-04T00:00:00", "2024-03-04T00:00:00", "2024-03-11T00:00:00"),
        (Interval.MONTH, "2024-02-10T00:00:00", "2024-02-01T00:00:00", "2024-03-01T00:00:00"),
        (Interval.MONTH, "2023-02-28T23:59:59", "2023-02-01T00:00:00", "2023-03-01T00:00:00"),
        (Interval.MONTH, "2023-12-31T23:59:59", "2023-12-01T00:00:00", "2024-01-01T00:00:00"),
        (Interval.MONTH, "2100-02-28T00:00:00", "2100-02-01T00:00:00", "2100-03-01T00:00:00"),
    ],
)
def test_period_at_the_edges_of_the_calendar(interval: Interval, now: str, start: str, end: str) -> None:
    assert period_start(interval, at(now)) == at(start)
    assert period_end(interval, at(start)) == at(end)


# --- the decision ---


@st.composite
def limits(draw: st.DrawFn) -> Limit:
    metric = draw(st.sampled_from(Metric))
    interval = None if metric is Metric.CONCURRENCY else draw(st.sampled_from(Interval))
    return Limit(f"lim_{draw(st.integers(0, 999))}", Scope.PROJECT, "proj_1", metric, interval, draw(amounts))


@st.composite
def standings(draw: st.DrawFn) -> Standing:
    limit = draw(limits())
    start = period_start(limit.interval, draw(seconds))
    used = 0 if limit.metric is Metric.CONCURRENCY else draw(st.integers(0, 120_000))
    return Standing(limit, start, used, draw(st.integers(0, 50_000)))


@st.composite
def demands(draw: st.DrawFn) -> Demand:
    choices = draw(st.integers(1, 4))
    output = draw(st.integers(0, 20_000)) * choices
    return Demand(
        input_tokens=draw(st.integers(0, 5_000)),
        output_tokens=output,
        expected_output_tokens=draw(st.integers(0, output)),
        input_rate=draw(st.integers(0, 60_000)),
        output_rate=draw(st.integers(0, 60_000)),
        fee_pico=draw(st.integers(0, 10_000)),
        choices=choices,
        floor_output_tokens=draw(st.sampled_from((None, 1, 1_024, 4_096))),
    )


def lowered(demand: Demand, cap: int) -> Demand:
    output = cap * demand.choices
    return replace(demand, output_tokens=output, expected_output_tokens=min(demand.expected_output_tokens, output))


@given(demands(), st.lists(standings(), max_size=5))
def test_decision_holds_under_all_limits_or_under_none(demand: Demand, against: list[Standing]) -> None:
    before = [replace(one) for one in against]

    admission = decide(demand, against)

    assert against == before
    if admission.refusals:
        assert (admission.amounts, admission.output_cap) == ((), None)
        assert all(refused.limit in [one.limit for one in against] for refused in admission.refusals)
        return
    asked = demand if admission.output_cap is None else lowered(demand, admission.output_cap)
    assert admission.amounts == tuple(hold_amount(one.limit, asked) for one in against)
    for one, amount in zip(against, admission.amounts, strict=True):
        assert one.limit.amount > 0
        assert one.used + one.held + amount <= one.limit.amount
        assert amount >= 0


@given(demands(), st.lists(standings(), max_size=5))
def test_decision_refuses_only_what_does_not_fit(demand: Demand, against: list[Standing]) -> None:
    fits = all(one.limit.amount > 0 and hold_amount(one.limit, demand) <= one.remaining for one in against)

    admission = decide(demand, against)

    if fits:
        assert admission.refusals == ()
        assert admission.output_cap is None
    if demand.floor_output_tokens is None:
        assert bool(admission.refusals) is not fits


@given(demands(), st.lists(standings(), min_size=1, max_size=4))
def test_decision_lowers_the_cap_to_half_of_what_remains_at_least_the_floor(
    demand: Demand, against: list[Standing]
) -> None:
    admission = decide(demand, against)
    if admission.output_cap is None:
        return
    floor = demand.floor_output_tokens
    assert floor is not None
    assert floor <= admission.output_cap <= demand.output_tokens // demand.choices
    for one in against:
        if one.limit.metric not in OUTPUT_METRICS or one.limit.interval is Interval.MINUTE:
            continue
        output = Demand(0, admission.output_cap * demand.choices, 0, 0, demand.output_rate)
        # One nano-USD: what is held is rounded up.
        assert admission.output_cap == floor or hold_amount(one.limit, output) <= one.remaining // 2 + 1


@given(demands(), st.lists(standings(), min_size=1, max_size=4))
@example(
    Demand(0, 2, expected_output_tokens=2, floor_output_tokens=1),
    [Standing(Limit("lim_0", Scope.PROJECT, "proj_1", Metric.TOKENS, Interval.MINUTE, 1), 0, 0, 0)],
)
def test_decision_refuses_a_free_cap_only_if_the_floor_does_not_fit(demand: Demand, against: list[Standing]) -> None:
    floor = demand.floor_output_tokens
    admission = decide(demand, against)
    if floor is None or not admission.refusals or demand.output_tokens // demand.choices < floor:
        return
    smallest = lowered(demand, floor)
    # A cap makes room in budgets only: a minute limit that what is expected does not fit refuses, whatever the cap.
    least = [(one, demand if one.limit.interval is Interval.MINUTE else smallest) for one in against]
    assert any(one.limit.amount == 0 or hold_amount(one.limit, asked) > one.remaining for one, asked in least)


# --- how long to wait ---


def after(refusal: Refusal, wait: float, now: float) -> Standing:
    """The limit's counter after that wait, if every call in flight has settled at what it held at most by then."""
    limit, moment = refusal.limit, int(now + wait + 0.001)
    start = period_start(limit.interval, moment)
    if limit.interval is Interval.MINUTE:
        passed = (start - refusal.period_start) // 60
        return Standing(limit, start, max(0, refusal.used - limit.amount * passed), 0)
    return Standing(limit, start, refusal.used if start == refusal.period_start else 0, 0)


@given(demands(), standings(), st.floats(0, 0.999))
def test_wait_that_is_told_is_true(demand: Demand, one: Standing, into: float) -> None:
    """After it the call fits, unless calls in flight use all that they hold; a moment sooner it does not."""
    demand = replace(demand, floor_output_tokens=None)
    now = one.period_start + into
    admission = decide(demand, [one])
    for refusal in admission.refusals:
        wait = refusal.retry_after_seconds(now)
        if wait is None:
            assert not refusal.can_ever_fit or refusal.limit.interval is Interval.LIFETIME
            continue
        assert wait > 0
        assert refusal.can_ever_fit
        assert decide(demand, [after(refusal, wait, now)]).refusals == ()
        if refusal.limit.interval is Interval.MINUTE and wait > 60:
            assert decide(demand, [after(refusal, wait - 60, now)]).refusals != ()


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("interval", list(Interval))
def test_limit_of_nought_blocks_whatever_is_asked_and_for_ever(metric: Metric, interval: Interval) -> None:
    limit = Limit("lim", Scope.PROJECT, "p", metric, None if metric is Metric.CONCURRENCY else interval, 0)

    admission = decide(Demand(0, 0, 0), [Standing(limit, 0, 0, 0)])

    [refusal] = admission.refusals
    assert refusal.retry_after_seconds(10.0) is None
    assert refusal.is_final is (metric is not Metric.CONCURRENCY)


def test_refusals_begin_with_the_one_that_lasts() -> None:
    budget = Limit("lim_1", Scope.PROJECT, "p", Metric.TOKENS, Interval.MONTH, 10)
    rate = Limit("lim_2", Scope.PROJECT, "p", Metric.REQUESTS, Interval.MINUTE, 1)
    minute, month = Standing(rate, 0, 1, 0), Standing(budget, 0, 10, 0)

    admission = decide(Demand(1, 1, 1), [minute, month])

    assert isinstance(admission, Admission)
    assert [refusal.limit.id for refusal in admission.refusals] == ["lim_1", "lim_2"]
