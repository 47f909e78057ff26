"""Which thresholds are reached: spend alerts by the month's rollups, budgets by their counters."""

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import Connection, Table, and_, func, or_, select

from gateway.core.limits import DAY_SECONDS, Interval, Limit, Metric, Scope, period_start
from gateway.core.notices import Notice
from gateway.store import limits, spend_alerts
from gateway.store.api_keys import api_key
from gateway.store.limits import counter, limit
from gateway.store.projects import project
from gateway.store.service_accounts import service_account
from gateway.store.spend_alerts import SpendAlert
from gateway.store.usage import usage_day
from gateway.store.users import user

BUDGET_INTERVALS = tuple(interval for interval in Interval if interval is not Interval.MINUTE)
CLOSED_DAYS_SECONDS = 600
_NAMED: dict[Scope, Table] = {
    Scope.PROJECT: project,
    Scope.USER: user,
    Scope.SERVICE_ACCOUNT: service_account,
    Scope.API_KEY: api_key,
}


def spent(connection: Connection, start: int, end: int) -> Mapping[str, int]:
    """Return what each project spent from `start` to before `end`, two midnights, in nano-USD."""
    costs = (
        select(usage_day.c.project_id, func.sum(usage_day.c.cost_nano_usd).label("cost"))
        .where(usage_day.c.start >= start, usage_day.c.start < end)
        .group_by(usage_day.c.project_id)
    )
    return {row.project_id: int(row.cost) for row in connection.execute(costs)}


class Month:
    """What the present month's days that are over cost, remembered: looking at today's rollups alone is cheap.

    They are read again each day and after CLOSED_DAYS_SECONDS, for a call of yesterday may end today.
    """

    def __init__(self) -> None:
        self._today = self._read_at = 0
        self._before_today: Mapping[str, int] = {}

    def spent(self, connection: Connection, now: int) -> Mapping[str, int]:
        """Return what each project spent in this month."""
        today = period_start(Interval.DAY, now)
        if today != self._today or not 0 <= now - self._read_at < CLOSED_DAYS_SECONDS:
            self._before_today = spent(connection, period_start(Interval.MONTH, now), today)
            self._today, self._read_at = today, now
        present = spent(connection, today, today + DAY_SECONDS)
        projects = self._before_today.keys() | present.keys()
        return {project: self._before_today.get(project, 0) + present.get(project, 0) for project in projects}


def alerts_reached(connection: Connection, month: Month, now: int) -> list[Notice]:
    """Return the spend alerts whose amount this month's cost has reached."""
    alerts = spend_alerts.every(connection)
    if not alerts:
        return []
    start, by_project = period_start(Interval.MONTH, now), month.spent(connection, now)
    reached = [(alert, _spent(alert, by_project)) for alert in alerts]
    return [_of_alert(alert, used, start, now) for alert, used in reached if used >= alert.threshold_nano_usd]


def budgets_reached(connection: Connection, percents: Sequence[int], now: int) -> list[Notice]:
    """Return the budgets of which such a part is used in the present period, one notice per part that is reached.

    What calls in flight hold does not count. A budget of 0 blocks everything and has no parts.
    """
    if not percents:
        return []
    present = [
        and_(limit.c.interval == interval, counter.c.period_start == period_start(interval, now))
        for interval in BUDGET_INTERVALS
    ]
    # Dividing first cannot overflow, and lets through no less than the exact comparison below.
    enough = counter.c.used >= limit.c.amount // 100 * min(percents)
    query = (
        select(limit, counter.c.used)
        .join(counter, counter.c.limit_id == limit.c.id)
        .where(limit.c.amount > 0, counter.c.used > 0, enough, or_(*present))
    )
    return [
        _of_budget(one, used, percent, now)
        for one, used in [(limits.from_row(row), int(row.used)) for row in connection.execute(query)]
        for percent in percents
        if used * 100 >= one.amount * percent
    ]


def named(connection: Connection, notice: Notice) -> Notice:
    """Return the notice with the present name of the thing whose spending it is."""
    table = _NAMED.get(notice.scope)
    if table is None:
        return notice
    name = connection.execute(select(table.c.name).where(table.c.id == notice.scope_id)).scalar_one_or_none()
    return notice if name is None else msgspec.structs.replace(notice, name=str(name))


def _spent(alert: SpendAlert, by_project: Mapping[str, int]) -> int:
    if alert.scope is Scope.ORGANIZATION:
        return sum(by_project.values())
    return by_project.get(alert.scope_id, 0)


def _of_alert(alert: SpendAlert, used: int, start: int, now: int) -> Notice:
    return Notice(
        kind="spend_alert",
        subject_id=alert.id,
        scope=alert.scope,
        scope_id=alert.scope_id,
        metric=Metric.COST,
        interval=Interval.MONTH,
        period_start=start,
        threshold=alert.threshold_nano_usd,
        used=used,
        reached_at=now,
        recipients=alert.recipients,
        subject_prefix=alert.subject_prefix,
    )


def _of_budget(budget: Limit, used: int, percent: int, now: int) -> Notice:
    interval = budget.interval or Interval.LIFETIME
    return Notice(
        kind="budget",
        subject_id=budget.id,
        scope=budget.scope,
        scope_id=budget.scope_id,
        metric=budget.metric,
        interval=interval,
        period_start=period_start(interval, now),
        threshold=-(-budget.amount * percent // 100),
        used=used,
        reached_at=now,
        percent=percent,
        limit=budget.amount,
    )
