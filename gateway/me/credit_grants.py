"""What a key used in windows of 91 days, and of how much."""

import msgspec

from gateway.me.budget import Budget, read_budget
from gateway.me.days import BadDaysError, Days, read_days, windows
from gateway.me.endpoint import Asked, Reply, Services, usd
from gateway.store import reports
from gateway.store.engine import Connection
from gateway.store.reports import Sums


class WindowUsed(msgspec.Struct):
    """One window; both days are inclusive."""

    start_date: str
    end_date: str
    used: msgspec.Raw
    prompt_tokens: int
    completion_tokens: int
    requests: int


class CreditGrants(msgspec.Struct):
    """The whole answer. Money is in USD; `requests` are calls that the provider answered with success."""

    list_used: list[WindowUsed]
    total_used: msgspec.Raw
    total_granted: msgspec.Raw
    start_date: str
    end_date: str
    prompt_tokens: int
    completion_tokens: int
    requests: int


class Complaint(msgspec.Struct):
    """What was wrong with the dates; they are null where neither given nor known."""

    error: str
    start_date: str | None
    end_date: str | None


async def credit_grants(services: Services, asked: Asked) -> Reply:
    """Answer `GET /billing/credit_grants?start_date&end_date`."""
    try:
        days = read_days(asked.query, asked.now.date())
    except BadDaysError as bad:
        return Reply(Complaint(bad.message, bad.start_date, bad.end_date), 400)
    cut = windows(days)

    def read(connection: Connection) -> tuple[tuple[Sums, ...], Budget]:
        used = reports.windows(connection, asked.principal.api_key_id, [window.seconds for window in cut])
        return used, read_budget(connection, asked.principal, int(asked.now.timestamp()))

    used, budget = await services.database.read(read)
    total = reports.total(used)
    shown = [_window_used(window, sums) for window, sums in zip(cut, used, strict=True)]
    return Reply(
        CreditGrants(
            shown,
            usd(total.cost_nano_usd),
            usd(budget.granted_nano_usd),
            days.first.isoformat(),
            days.last.isoformat(),
            total.input_tokens,
            total.output_tokens,
            total.succeeded,
        ),
        rows=[WindowUsed.__struct_fields__, *map(msgspec.structs.astuple, shown)],
    )


def _window_used(window: Days, sums: Sums) -> WindowUsed:
    return WindowUsed(
        window.first.isoformat(),
        window.last.isoformat(),
        usd(sums.cost_nano_usd),
        sums.input_tokens,
        sums.output_tokens,
        sums.succeeded,
    )
