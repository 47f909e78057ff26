"""Which models a project permits: a list of those that are allowed, or of those that are not."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

Mode = Literal["allow_list", "deny_list"]
WILDCARDS = frozenset("*?[")
"""What makes a pattern of a name."""


class ModelPolicy(msgspec.Struct, frozen=True):
    """`names` are whole, `patterns` have wildcards; both are in lower case where they deny."""

    mode: Mode
    names: frozenset[str]
    patterns: tuple[str, ...]

    def permits(self, *names: str) -> bool:
        """Tell whether a model may be called: by any of its names where they allow, by none where they deny.

        Denying looks past upper and lower case: some providers do too, and nobody shall get around it.
        """
        if self.mode == "allow_list":
            return any(self._has(name) for name in names)
        return not any(self._has(name.lower()) for name in names)

    def _has(self, name: str) -> bool:
        return name in self.names or any(fnmatchcase(name, pattern) for pattern in self.patterns)


def policy_of(mode: Mode, models: Sequence[str]) -> ModelPolicy | None:
    """Make a policy of names and patterns; None for the empty deny list, which permits everything."""
    if mode == "deny_list" and not models:
        return None
    spelt = list(models) if mode == "allow_list" else [model.lower() for model in models]
    names = frozenset(model for model in spelt if not WILDCARDS & set(model))
    return ModelPolicy(mode, names, tuple(model for model in spelt if model not in names))
