"""What the generations of Claude differ in, as far as a request must know it. Source: Anthropic's migration guides."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from gateway.translate.openai_chat.request import Effort


class Traits(msgspec.Struct, frozen=True):
    """What a model takes.

    `thinks` says how it is told to: by a budget of tokens, by an effort, or never. `thinks_unasked` models must be told
    not to. `samples` models take a temperature, `one_sampler` models not both temperature and top_p.
    """

    thinks: Literal["never", "by_budget", "by_effort"]
    thinks_unasked: bool = False
    samples: bool = True
    one_sampler: bool = True


_FIRST_WINS: tuple[tuple[str, Traits], ...] = (
    ("claude-3-7*", Traits("by_budget", one_sampler=False)),
    ("claude-[123]*", Traits("never", one_sampler=False)),
    ("claude-instant*", Traits("never", one_sampler=False)),
    ("claude-*-4-[0-5]*", Traits("by_budget")),
    ("claude-*-4-6*", Traits("by_effort")),
    ("claude-*-4-*", Traits("by_effort", samples=False)),
)
_NEWEST = Traits("by_effort", thinks_unasked=True, samples=False)

EFFORTS: Mapping[Effort, str] = {
    "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max",
}  # fmt: skip
BUDGETS: Mapping[Effort, int] = {
    "minimal": 1024, "low": 1024, "medium": 8192, "high": 16384, "xhigh": 24576, "max": 32000,
}  # fmt: skip
LEAST_BUDGET = 1024
"""Anthropic takes no smaller one."""


def traits_of(model: str) -> Traits:
    """Return what a model takes; one that is not known is taken for one of the newest."""
    return next((traits for pattern, traits in _FIRST_WINS if fnmatchcase(model, pattern)), _NEWEST)


def effort_of(effort: Effort, model: str) -> str:
    """Return Anthropic's word for an effort. The 4.6 models do not know `xhigh` yet."""
    return "high" if effort == "xhigh" and "-4-6" in model else EFFORTS[effort]


def budget_of(effort: Effort, max_tokens: int) -> int | None:
    """Return how many tokens to think with, at most half of the cap, None where that is too few."""
    budget = min(BUDGETS[effort], max_tokens // 2)
    return budget if budget >= LEAST_BUDGET else None
