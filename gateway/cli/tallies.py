"""What was used, added up: the days of a report over all kinds of usage, as `usage` and `report` print them."""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from operator import add

from gateway.admin.buckets import Bucket
from gateway.admin.usage import report_total
from gateway.admin.usage_results import TotalResult
from gateway.cli.asking import Office
from gateway.core.money import render_usd

MOST_DAYS = 31
"""Days of one page of a report."""
_NANO_PLACES = 9


@dataclass(frozen=True, slots=True)
class Figures:
    """A tally for people and programs. Cost is a decimal string of USD; what had no price counts as 0 there."""

    requests: int
    succeeded: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_usd: str
    unpriced_requests: int


@dataclass(frozen=True, slots=True)
class Day:
    """A UTC day as YYYY-MM-DD."""

    date: str
    usage: Figures


@dataclass(frozen=True, slots=True)
class Share:
    """One model, project, user or key, by the name that people call it."""

    name: str
    usage: Figures


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums that are added up further."""

    requests: int = 0
    succeeded: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_nano_usd: int = 0
    unpriced_requests: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*map(add, astuple(self), astuple(other)))

    @property
    def tokens(self) -> int:
        """Input and output."""
        return self.input_tokens + self.output_tokens

    @property
    def figures(self) -> Figures:
        """What is printed of it."""
        return Figures(
            self.requests,
            self.succeeded,
            self.input_tokens,
            self.cached_tokens,
            self.output_tokens,
            render_usd(self.cost_nano_usd),
            self.unpriced_requests,
        )


def tally(result: TotalResult) -> Tally:
    """Read one result. Its amount is exact, whatever a JSON reader would make of it."""
    return Tally(
        result.requests,
        result.num_model_requests,
        result.input_tokens,
        result.input_cached_tokens,
        result.output_tokens,
        int(Decimal(bytes(result.amount.value).decode()).scaleb(_NANO_PLACES)),
        result.unpriced_requests,
    )


def total(parts: Iterable[Tally]) -> Tally:
    """Add up."""
    return sum(parts, Tally())


async def buckets(
    office: Office, start: int, end: int, query: Mapping[str, object]
) -> AsyncIterator[Bucket[TotalResult]]:
    """Yield every day of [start, end), in Unix seconds, the empty ones too."""
    page: str | None = None
    while True:
        asked = {**query, "start_time": start, "end_time": end, "limit": MOST_DAYS, "page": page}
        answer = await office.ask(report_total, query=asked)
        for bucket in answer.data:
            yield bucket
        page = answer.next_page
        if page is None:
            return


def date_of(unix_seconds: int) -> str:
    """Return the UTC day that a moment is of, as YYYY-MM-DD."""
    return f"{datetime.fromtimestamp(unix_seconds, UTC):%Y-%m-%d}"
