"""Spend limits: a view of those limits on a project or the organization that bound a month's cost for all models."""

from sqlalchemy import Connection

from gateway.core.errors import NotFound
from gateway.core.limits import Interval, Limit, Metric, Scope
from gateway.store import limits, standings
from gateway.store.standings import LimitStanding


def shape(scope: Scope, scope_id: str, id: str = "", amount: int = 0) -> Limit:
    """Return a limit of this shape; `amount` is in nano-USD."""
    return Limit(id, scope, scope_id, Metric.COST, Interval.MONTH, amount)


def find(connection: Connection, scope: Scope, scope_id: str, now: int) -> LimitStanding | None:
    """Return how the spend limit stands, None where none is set. Of several the tightest counts."""
    present = limits.alike(connection, shape(scope, scope_id))
    return standings.read(connection, present[:1], now)[0] if present else None


def get(connection: Connection, scope: Scope, scope_id: str, now: int) -> LimitStanding:
    """Return how the spend limit stands. Raises NotFound where none is set."""
    found = find(connection, scope, scope_id, now)
    if found is None:
        raise NotFound(f"There is no spend limit on this {scope}.", code="not_found")
    return found
