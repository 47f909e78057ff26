"""What is told when spending reaches a threshold: as an e-mail's words and as a webhook's event.

A notice belongs to one threshold of one subject in one period, and is told once on each channel. Its id is made of
these three, so whoever hears twice (a sender may be killed between sending and writing that down) can tell.
"""

from datetime import UTC, datetime
from hashlib import sha256
from typing import Literal

import msgspec

from gateway.core.limits import Interval, Metric, Scope, period_end
from gateway.core.money import render_usd

Kind = Literal["spend_alert", "budget"]
ID_CHARACTERS = 24


class Notice(msgspec.Struct, frozen=True):
    """One thing to tell. Amounts are in the metric's unit, times Unix seconds.

    The subject is a spend alert or a limit. `threshold` is the amount that was reached, `percent` which part of the
    limit that is (None for an alert). `name` is what people call the thing whose spending it is, empty where
    nobody asked.
    """

    kind: Kind
    subject_id: str
    scope: Scope
    scope_id: str
    metric: Metric
    interval: Interval
    period_start: int
    threshold: int
    used: int
    reached_at: int
    name: str = ""
    percent: int | None = None
    limit: int | None = None
    recipients: tuple[str, ...] = ()
    subject_prefix: str | None = None

    @property
    def step(self) -> int:
        """Return what tells thresholds of one subject apart: a limit's by percent, for its amount may change."""
        return self.threshold if self.percent is None else self.percent

    @property
    def id(self) -> str:
        """The same for the same threshold of the same period, whoever finds it."""
        named = f"{self.subject_id}:{self.step}:{self.period_start}"
        return f"evt_{sha256(named.encode()).hexdigest()[:ID_CHARACTERS]}"


class EventData(msgspec.Struct, frozen=True):
    """What an event is about. Costs are decimal strings in USD, all other amounts integers."""

    id: str
    scope: Scope
    scope_id: str
    scope_name: str
    metric: Metric
    interval: Interval
    period_start: int
    period_end: int | None
    threshold: int | str
    used: int | str
    percent: int | None
    limit: int | str | None


class Event(msgspec.Struct, frozen=True):
    """A webhook's body, in the form of OpenAI's webhooks."""

    id: str
    type: Literal["spend_alert.reached", "budget.reached"]
    created_at: int
    data: EventData
    object: str = "event"


def event_of(notice: Notice) -> Event:
    """Return the event of a notice."""
    metric = notice.metric
    data = EventData(
        notice.subject_id, notice.scope, notice.scope_id, notice.name, metric, notice.interval, notice.period_start,
        period_end(notice.interval, notice.period_start), _plain(metric, notice.threshold), _plain(metric, notice.used),
        notice.percent, None if notice.limit is None else _plain(metric, notice.limit),
    )  # fmt: skip
    kind: Literal["spend_alert.reached", "budget.reached"] = (
        "spend_alert.reached" if notice.kind == "spend_alert" else "budget.reached"
    )
    return Event(notice.id, kind, notice.reached_at, data)


def subject_of(notice: Notice) -> str:
    """Return an e-mail's subject."""
    prefix = f"{notice.subject_prefix} " if notice.subject_prefix else ""
    if notice.percent is None:
        return f"{prefix}{_whose(notice)} has spent {_worded(notice, notice.threshold)} this month"
    return f"{prefix}{_whose(notice)} has used {notice.percent}% of a budget"


def text_of(notice: Notice) -> str:
    """Return an e-mail's text."""
    used, whose = _worded(notice, notice.used), _whose(notice)
    ends_at = period_end(notice.interval, notice.period_start)
    since = "" if ends_at is None else f" since {_day(notice.period_start)}; the {notice.interval} ends {_day(ends_at)}"
    if notice.percent is None:
        lines = [
            f"{whose} has spent {used}{since}.",
            f"You asked to be told at {_worded(notice, notice.threshold)}.",
            "Nothing is refused because of this alert.",
            f"Alert: {notice.subject_id}",
        ]
    else:
        allowed = notice.limit if notice.limit is not None else notice.threshold
        lines = [
            f"{whose} has used {used} of {_worded(notice, allowed)}{since}.",
            f"That is {notice.percent}% or more. Calls that do not fit into the rest are refused.",
            f"Limit: {notice.subject_id} ({notice.metric} per {notice.interval})",
        ]
    return "\n".join([*lines, f"{notice.scope}: {notice.scope_id}", ""])


def _whose(notice: Notice) -> str:
    if notice.scope is Scope.ORGANIZATION:
        return "The organization"
    words = {Scope.PROJECT: "Project", Scope.USER: "User", Scope.SERVICE_ACCOUNT: "Service account"}
    return f"{words.get(notice.scope, 'API key')} {notice.name}"


def _plain(metric: Metric, amount: int) -> int | str:
    return render_usd(amount) if metric is Metric.COST else amount


def _worded(notice: Notice, amount: int) -> str:
    return f"${render_usd(amount)}" if notice.metric is Metric.COST else f"{amount:,} {notice.metric.replace('_', ' ')}"


def _day(unix_seconds: int) -> str:
    return f"{datetime.fromtimestamp(unix_seconds, UTC):%Y-%m-%d %H:%M} UTC"
