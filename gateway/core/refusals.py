"""What a refused caller is told: whose limit, which metric and interval, how much of how much, when it resets."""

from collections.abc import Sequence
from datetime import UTC, datetime

from gateway.core.errors import TooManyRequests
from gateway.core.limits import TOKEN_METRICS, Limit, Metric, Refusal, Scope, Standing, period_end
from gateway.core.money import render_usd

_WHOSE = {
    Scope.ORGANIZATION: "The organization's",
    Scope.PROJECT: "The project's",
    Scope.USER: "Your user's",
    Scope.SERVICE_ACCOUNT: "The service account's",
    Scope.API_KEY: "This API key's",
}
_UNITS = {
    Metric.REQUESTS: "requests",
    Metric.TOKENS: "tokens",
    Metric.INPUT_TOKENS: "input tokens",
    Metric.OUTPUT_TOKENS: "output tokens",
    Metric.CONCURRENCY: "calls at once",
}


class LimitReached(TooManyRequests):
    """Limits refused a call. `standings` are theirs at that moment, `now` the ledger's clock in Unix seconds."""

    standings: tuple[Standing, ...] = ()
    now = 0.0


def refusal_error(refusals: Sequence[Refusal], now: float) -> LimitReached:
    """Return the error for limits that refused, the one that takes longest to give way first."""
    refusal = refusals[0]
    limit = refusal.limit
    wait = refusal.retry_after_seconds(now)
    if limit.is_rate_limit:
        kind = "tokens" if limit.metric in TOKEN_METRICS else "requests"
        code, never = "rate_limit_exceeded", not refusal.can_ever_fit
    else:
        kind = "insufficient_quota"
        code, never = ("budget_exhausted", True) if refusal.is_final else ("budget_held", False)
    error = LimitReached(
        describe(refusal),
        kind=kind,
        code=code,
        retry_after_seconds=wait,
        should_retry=False if never else None,
    )
    error.standings = tuple(Standing(each.limit, each.period_start, each.used, each.held) for each in refusals)
    error.now = now
    return error


def describe(refusal: Refusal) -> str:
    """Return the whole story of one refusal in a sentence or two."""
    limit = refusal.limit
    patterns = f" for {', '.join(limit.models)}" if limit.models else ""
    name = f"{_WHOSE[limit.scope]} limit of {amount_text(limit, limit.amount)}{_interval(limit)}{patterns}"
    parts = [f"{amount_text(limit, refusal.used)} used"] if limit.metric is not Metric.CONCURRENCY else []
    if refusal.held:
        parts.append(f"{amount_text(limit, refusal.held)} held by calls in flight")
    if limit.metric not in (Metric.REQUESTS, Metric.CONCURRENCY):
        parts.append(f"up to {amount_text(limit, refusal.asked)} asked for")
    return f"{name} is reached: {', '.join(parts) or 'none is free'}.{_advice(refusal)}"


def amount_text(limit: Limit, amount: int) -> str:
    """Render an amount in the metric's own unit."""
    return f"${render_usd(amount)}" if limit.metric is Metric.COST else f"{amount} {_UNITS[limit.metric]}"


def _interval(limit: Limit) -> str:
    if limit.interval is None:
        return ""
    return " in all" if limit.interval == "lifetime" else f" per {limit.interval}"


def _advice(refusal: Refusal) -> str:
    end = period_end(refusal.limit.interval, refusal.period_start)
    resets = f" It resets at {datetime.fromtimestamp(end, UTC):%Y-%m-%dT%H:%M:%SZ}." if end is not None else ""
    if not refusal.can_ever_fit and refusal.limit.amount:
        return f" This call alone is larger than the limit; a lower output cap may fit.{resets}"
    return resets
