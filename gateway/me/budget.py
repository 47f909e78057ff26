"""What a key may spend: the cost budget that will refuse first, in nano-USD."""

from dataclasses import dataclass

from gateway.core.limits import Limit, Metric
from gateway.core.money import NANO_PER_USD
from gateway.store import standings
from gateway.store.engine import Connection
from gateway.store.principals import Principal
from gateway.store.standings import LimitStanding

UNLIMITED_NANO_USD = 100_000_000 * NANO_PER_USD
"""What clients of this family read as "no budget"."""


@dataclass(frozen=True, slots=True)
class Budget:
    """`standing` is None when nothing bounds the key's spending."""

    standing: LimitStanding | None

    @property
    def granted_nano_usd(self) -> int:
        """The budget's amount."""
        return UNLIMITED_NANO_USD if self.standing is None else self.standing.limit.amount


def read_budget(connection: Connection, principal: Principal, now: int) -> Budget:
    """Return the budget, the key's own or inherited, with the least remaining."""
    bounding = [limit for limit in principal.limits if _bounds_spending(limit)]
    return Budget(min(standings.read(connection, bounding, now), key=lambda one: one.remaining, default=None))


def _bounds_spending(limit: Limit) -> bool:
    """Tell whether no call of the key can pass it by: one for some models only leaves the others open."""
    return limit.metric is Metric.COST and not limit.is_rate_limit and limit.models is None
