"""Rate limits per project and model: a view of those limits on a project that name exactly one model.

A row of the view is made of up to three limits. Other intervals, metrics, scopes and patterns have no place in it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection

from gateway.core.limits import Interval, Limit, Metric, Scope
from gateway.core.model_policy import WILDCARDS
from gateway.store import limit_opening, limits

KINDS: Mapping[str, tuple[Metric, Interval | None]] = {
    "max_requests_per_1_minute": (Metric.REQUESTS, Interval.MINUTE),
    "max_tokens_per_1_minute": (Metric.TOKENS, Interval.MINUTE),
    "max_requests_per_1_day": (Metric.REQUESTS, Interval.DAY),
}
"""OpenAI's field -> the limit that it shows."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What a project may do with a model, by OpenAI's fields; one that is absent is not limited in this shape."""

    model: str
    amounts: Mapping[str, int] = field(default_factory=dict)


def of_project(connection: Connection, project_id: str) -> dict[str, RateLimit]:
    """Return the rate limits that are set in a project, by model. Of several for the same the tightest counts."""
    fields = {kind: name for name, kind in KINDS.items()}
    found: dict[str, dict[str, int]] = {}
    for limit in limits.of_scope(connection, Scope.PROJECT, project_id):
        name = fields.get((limit.metric, limit.interval))
        if name is not None and limit.models is not None and len(limit.models) == 1:
            # The tightest comes first.
            found.setdefault(limit.models[0], {}).setdefault(name, limit.amount)
    return {model: RateLimit(model, amounts) for model, amounts in found.items() if not WILDCARDS & set(model)}


def update(
    connection: Connection,
    project_id: str,
    model: str,
    amounts: Mapping[str, int | None],
    new_id: Callable[[], str],
    now: int,
) -> RateLimit:
    """Set the limits behind these fields, None removes one; return the row. Raises NotFound for the project."""
    for name, amount in amounts.items():
        metric, interval = KINDS[name]
        shape = Limit(new_id(), Scope.PROJECT, project_id, metric, interval, amount or 0, (model,))
        if amount is None:
            limit_opening.remove(connection, shape)
        else:
            limit_opening.put(connection, shape, now)
    return of_project(connection, project_id).get(model, RateLimit(model))
