"""Which days a question is about: whole UTC days, read from a query and cut into windows. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

WINDOW_DAYS = 90
"""A window is this many days and one more, both ends inclusive, and so is the default range."""
MOST_DAYS = 3_653
"""Ten years, leap days included."""
FIRST_DAY, LAST_DAY = date(1970, 1, 1), date(2999, 12, 31)
_SHAPE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class Days:
    """From the first to the last day, both inclusive."""

    first: date
    last: date

    @property
    def seconds(self) -> tuple[int, int]:
        """The Unix second at which the first day begins, and the one at which the last has ended."""
        return midnight(self.first), midnight(self.last + timedelta(days=1))


class BadDaysError(ValueError):
    """A date that is none, or a range that cannot be. The two texts are what is known of the range, None if unknown."""

    def __init__(self, message: str, param: str, start_date: str | None, end_date: str | None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.start_date = start_date
        self.end_date = end_date


def read_days(query: Mapping[str, str], default_last: date) -> Days:
    """Return the days from `start_date` to `end_date`; without them the last 90 days up to `default_last`.

    Raises BadDaysError.
    """
    start_text, end_text = query.get("start_date"), query.get("end_date", default_last.isoformat())
    last = _read(end_text)
    if last is None:
        raise BadDaysError(_complaint("end_date", end_text), "end_date", start_text, end_text)
    start_text = (last - timedelta(days=WINDOW_DAYS)).isoformat() if start_text is None else start_text
    first = _read(start_text) if "start_date" in query else last - timedelta(days=WINDOW_DAYS)
    if first is None:
        raise BadDaysError(_complaint("start_date", start_text), "start_date", start_text, end_text)
    if first > last:
        raise BadDaysError("start_date must not be after end_date.", "start_date", start_text, end_text)
    if (last - first).days > MOST_DAYS:
        raise BadDaysError("The range is longer than ten years.", "start_date", start_text, end_text)
    return Days(first, last)


def windows(days: Days) -> list[Days]:
    """Cut into windows of start..start+90 days, the last one clamped."""
    starts = range(0, (days.last - days.first).days + 1, WINDOW_DAYS + 1)
    firsts = [days.first + timedelta(days=offset) for offset in starts]
    return [Days(first, min(first + timedelta(days=WINDOW_DAYS), days.last)) for first in firsts]


def midnight(day: date) -> int:
    """Return the Unix second at which a UTC day begins."""
    return int(datetime.combine(day, time(), UTC).timestamp())


def _read(text: str) -> date | None:
    if _SHAPE.fullmatch(text) is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if FIRST_DAY <= day <= LAST_DAY else None


def _complaint(name: str, text: str) -> str:
    return f"{name} must be a date between {FIRST_DAY} and {LAST_DAY} such as 2026-05-31, not {text[:40]!r}."
