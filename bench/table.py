"""The printed table: a line per measurement, a column per target, its ratio to the relay beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

YARDSTICK = "relay"
_LABEL_WIDTH = 46
_CELL_WIDTH = 18


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement. Keys are target names. A goal is an upper bound in the row's unit, or, with
    `goal_is_ratio`, of the ratio to the relay."""

    label: str
    unit: str
    values: Mapping[str, float]
    ratios: Mapping[str, float] = field(default_factory=dict)
    goals: Mapping[str, float] = field(default_factory=dict)
    goal_is_ratio: bool = False

    def is_missed(self, target: str) -> bool:
        reached = self.ratios if self.goal_is_ratio else self.values
        return target in self.goals and target in reached and reached[target] > self.goals[target]


@dataclass(frozen=True, slots=True)
class Gap:
    """A measurement that failed, and why."""

    label: str
    reason: str


def render(rows: Sequence[Row | Gap], targets: Sequence[str]) -> str:
    """Return the table as lines of text. `!` stands behind what misses its goal."""
    head = f"{'':{_LABEL_WIDTH}}" + "".join(f"{name:>{_CELL_WIDTH}}" for name in targets) + "   goal"
    return "\n".join([head, *(_line(row, targets) for row in rows)])


def _line(row: Row | Gap, targets: Sequence[str]) -> str:
    if isinstance(row, Gap):
        return f"{row.label:{_LABEL_WIDTH}}   failed: {row.reason}"
    label = f"{row.label}, {row.unit}"
    cells = "".join(f"{_cell(row, name):>{_CELL_WIDTH}}" for name in targets)
    return f"{label:{_LABEL_WIDTH}}{cells}   {_goal(row)}".rstrip()


def _cell(row: Row, target: str) -> str:
    if target not in row.values:
        return "-"
    text = _number(row.values[target])
    if target in row.ratios and target != YARDSTICK:
        text += f" x{row.ratios[target]:.2f}"
    return text + ("!" if row.is_missed(target) else " ")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}"


def _goal(row: Row) -> str:
    sign = "x" if row.goal_is_ratio else ""
    return " / ".join(dict.fromkeys(f"{sign}{goal:g}" for goal in row.goals.values()))
