"""How far our estimates are from what a provider reports, per model: learned from its own figures while calls run.

Only models without a public formula are calibrated; OpenAI's own formulas stay as they are. What was learned is
bounded, so that no run of odd prompts can make an estimate absurd, and gone with the process.
"""

UNIT = 1_000
"""Factors are in thousandths."""
LEAST, MOST = 500, 2_000
WEIGHT = 8
"""A new call counts for one eighth of the running mean."""
LEAST_TOKENS = 100
"""In a shorter prompt the frame around the messages says more than the text."""
MOST_MODELS = 1_024


class Calibration:
    """The factors of one process."""

    def __init__(self) -> None:
        self._factors: dict[str, int] = {}

    def factor(self, model: str) -> int:
        """Return by how many thousandths an estimate for this model is to be taken."""
        return self._factors.get(model, UNIT)

    def applied(self, model: str, tokens: int) -> int:
        """Return an estimate with what was learned, rounded up."""
        factor = self._factors.get(model, UNIT)
        return tokens if factor == UNIT else -(-tokens * factor // UNIT)

    def learn(self, model: str, estimated: int, reported: int) -> int | None:
        """Take note of a prompt that was estimated, before calibration, and reported. Returns the factor from now on,
        None for a prompt that says too little.
        """
        if estimated < LEAST_TOKENS or reported <= 0:
            return None
        if len(self._factors) >= MOST_MODELS and model not in self._factors:
            self._factors.clear()
        mean = self.factor(model)
        seen = min(max(reported * UNIT // estimated, LEAST), MOST)
        self._factors[model] = mean + (seen - mean) // WEIGHT
        return self._factors[model]
