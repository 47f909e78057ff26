"""OpenAI's old billing dashboard, which many chat clients still ask for what was used and what is left."""

from datetime import date, timedelta
from itertools import groupby

import msgspec

from gateway.core.errors import InvalidRequest
from gateway.me.budget import Budget, read_budget
from gateway.me.days import LAST_DAY, BadDaysError, midnight, read_days
from gateway.me.endpoint import Asked, Reply, Services, usd
from gateway.store.engine import Connection
from gateway.store.reports import Dimension, Filter, Line, Query, Width, lines, total

FOREVER = midnight(date(2100, 1, 1))
"""`access_until` of a key that does not expire: clients show it as a date."""


class Plan(msgspec.Struct):
    """What clients show as the plan's name."""

    title: str = "Gateway"
    id: str = "gateway"


class Subscription(msgspec.Struct):
    """What may be spent, in USD; all three limits are the same one. `access_until` is in Unix seconds."""

    object: str
    has_payment_method: bool
    soft_limit_usd: msgspec.Raw
    hard_limit_usd: msgspec.Raw
    system_hard_limit_usd: msgspec.Raw
    access_until: int
    plan: Plan


class LineItem(msgspec.Struct):
    """A model and what it cost, in US cents."""

    name: str
    cost: msgspec.Raw


class DailyCost(msgspec.Struct):
    """One day with usage; `timestamp` is its first Unix second."""

    timestamp: int
    line_items: list[LineItem]


class Usage(msgspec.Struct):
    """What was spent, in US cents."""

    object: str
    daily_costs: list[DailyCost]
    total_usage: msgspec.Raw


class CreditSummary(msgspec.Struct):
    """Granted, used and left of the budget's present period, in USD; without a budget, used since the beginning."""

    object: str
    total_granted: msgspec.Raw
    total_used: msgspec.Raw
    total_available: msgspec.Raw


async def subscription(services: Services, asked: Asked) -> Reply:
    """Answer `GET /dashboard/billing/subscription`."""
    budget = await services.database.read(lambda connection: _budget(connection, asked))
    granted = usd(budget.granted_nano_usd)
    expires_at = asked.principal.expires_at
    access_until = FOREVER if expires_at is None else expires_at
    return Reply(Subscription("billing_subscription", True, granted, granted, granted, access_until, Plan()))


async def usage(services: Services, asked: Asked) -> Reply:
    """Answer `GET /dashboard/billing/usage?start_date&end_date`; the end is exclusive, without it today is the last.

    Raises InvalidRequest for dates that cannot be.
    """
    tomorrow = asked.now.date() + timedelta(days=1)
    try:
        days = read_days(asked.query, tomorrow)
    except BadDaysError as bad:
        raise InvalidRequest(bad.message, param=bad.param, code="invalid_date") from None
    spent = await _spent(services, asked, midnight(days.first), midnight(days.last))
    return Reply(Usage("list", _daily_costs(spent), _cents(total(line.sums for line in spent).cost_nano_usd)))


async def credit_summary(services: Services, asked: Asked) -> Reply:
    """Answer `GET /dashboard/billing/credit_grants`."""
    budget = await services.database.read(lambda connection: _budget(connection, asked))
    granted = budget.granted_nano_usd
    if budget.standing is None:
        ever = await _spent(services, asked, 0, midnight(LAST_DAY))
        used = total(line.sums for line in ever).cost_nano_usd
        left = granted
    else:
        used, left = budget.standing.used, budget.standing.remaining
    return Reply(CreditSummary("credit_summary", usd(granted), usd(used), usd(left)))


def _budget(connection: Connection, asked: Asked) -> Budget:
    return read_budget(connection, asked.principal, int(asked.now.timestamp()))


async def _spent(services: Services, asked: Asked, start: int, end: int) -> list[Line]:
    own = Filter(api_key_ids=frozenset((asked.principal.api_key_id,)))
    query = Query(Width.DAY, start, end, frozenset((Dimension.MODEL,)), own, ("cost_nano_usd",))
    return await services.database.read(lambda connection: lines(connection, query))


def _daily_costs(spent: list[Line]) -> list[DailyCost]:
    return [
        DailyCost(start, [LineItem(line.group.model or "", _cents(line.sums.cost_nano_usd)) for line in day])
        for start, day in groupby(spent, key=lambda line: line.start)
    ]


def _cents(nano_usd: int) -> msgspec.Raw:
    return usd(nano_usd * 100)
