"""Our ledger beside a provider's export: per day, model and project, figure by figure.

Both sides are added up to what the export tells apart: one that is not grouped by model or by project is compared
without it. A provider names the dated version that answered, callers mostly the family, so both go by the family.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

ALL = "(all)"
"""Stands for every model or project where the export does not tell them apart."""
_DATED = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{4})$")
_LINE_ITEM = re.compile(r"(?:[^|]*\| )?(?P<model>[^,|]+), [^,]+")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a figure belongs: `day` is the Unix second at which a UTC day begins."""

    day: int
    model: str | None
    project_id: str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of both sides, in its unit: calls, tokens, nano-USD."""

    place: Place
    figure: str
    ours: int
    theirs: int

    @property
    def amount(self) -> int:
        """Ours less theirs."""
        return self.ours - self.theirs

    @property
    def percent(self) -> Decimal:
        """The difference in percent of the larger side, 0 where both are 0."""
        larger = max(abs(self.ours), abs(self.theirs))
        return Decimal(100 * abs(self.amount)) / larger if larger else Decimal(0)

    def is_beyond(self, tolerance_percent: Decimal) -> bool:
        """Tell whether the sides differ by more than is tolerated."""
        return self.percent > tolerance_percent


def family(model: str) -> str:
    """Return a model's name without the date of its version: gpt-4o-2024-08-06 and gpt-4-0613 lose theirs."""
    return _DATED.sub("", model)


def model_of_line_item(line_item: str) -> str:
    """Return the model that a line of costs is about, the whole line where it names none.

    Lines read `gpt-4o-mini-2024-07-18, input` or `evals | gpt-4o-mini-2024-07-18, input`; others are `whisper-1` or
    `assistants api | file search`.
    """
    found = _LINE_ITEM.fullmatch(line_item.strip())
    return found["model"].strip() if found else line_item.strip()


Amounts = Mapping[Place, Mapping[str, int]]
"""Figures by name for each place, on one side."""


def compare(ours: Amounts, theirs: Amounts, figures: Iterable[str]) -> list[Difference]:
    """Return every figure of every place that either side has, days first, then models and projects."""
    places = sorted(
        ours.keys() | theirs.keys(), key=lambda place: (place.day, place.model or "", place.project_id or "")
    )
    nothing: Mapping[str, int] = {}
    return [
        Difference(place, figure, ours.get(place, nothing).get(figure, 0), theirs.get(place, nothing).get(figure, 0))
        for figure in figures
        for place in places
        if ours.get(place, nothing).get(figure, 0) or theirs.get(place, nothing).get(figure, 0)
    ]


def added_up(
    rows: Iterable[tuple[Place, Mapping[str, int]]], keep: Callable[[Place], Place]
) -> dict[Place, dict[str, int]]:
    """Add rows up by what `keep` leaves of their places."""
    sums: dict[Place, dict[str, int]] = {}
    for place, figures in rows:
        kept = sums.setdefault(keep(place), {})
        for name, amount in figures.items():
            kept[name] = kept.get(name, 0) + amount
    return sums
