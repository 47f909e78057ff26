"""How a Gemini is told how hard to think, which differs by generation. Source: Google's guide to thinking."""

from collections.abc import Mapping

from gateway.core.prices import ModelFacts
from gateway.translate.gemini_content.body import ThinkingConfig
from gateway.translate.openai_chat.request import Effort

BUDGETS: Mapping[Effort, int] = {
    "none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576,
}  # fmt: skip
"""Those of Google's own compatible endpoint."""
LEAST_PRO_BUDGET = 128
"""2.5 Pro can't be told not to think."""
LEVELS: Mapping[Effort, str] = {
    "none": "MINIMAL", "minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "HIGH",
    "max": "HIGH",
}  # fmt: skip
UNSIGNED = "skip_thought_signature_validator"
"""Google's word for a call whose signature is lost, without which the third generation refuses it."""


def thinking_of(effort: Effort, model: str, facts: ModelFacts) -> ThinkingConfig | None:
    """Return how to think, None for a model that does not."""
    if not facts.is_reasoning:
        return None
    shows = effort != "none"
    if "2.5" in model:
        least = LEAST_PRO_BUDGET if "pro" in model else 0
        return ThinkingConfig(shows, thinking_budget=max(BUDGETS[effort], least))
    level = LEVELS[effort]
    return ThinkingConfig(shows, thinking_level="LOW" if level == "MINIMAL" and "pro" in model else level)


def wants_signatures(model: str) -> bool:
    """Tell whether a model refuses calls without the signature that it gave them: from the third generation on."""
    return model.startswith("gemini-") and not model.startswith(("gemini-1", "gemini-2"))
