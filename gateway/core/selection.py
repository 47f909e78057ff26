"""Which upstreams can take a call, in which order, and what the model is called there: the catalog of this gateway."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from gateway.core.errors import Forbidden, NotFound, UpstreamFailed
from gateway.core.model_price import ModelPrice
from gateway.core.prices import ModelFacts, PriceTable
from gateway.core.upstreams import Provider, Upstream

DIALECT_PROVIDERS: Mapping[str, frozenset[Provider]] = {"openai": frozenset({"openai", "azure", "demo"})}
"""The species that speak a dialect themselves; the others need a translation."""
MOST_REMEMBERED = 4_096


@dataclass(frozen=True, slots=True)
class Route:
    """Where a call may go: `model` is the name behind an alias, `candidates` are tried in order."""

    model: str
    candidates: tuple[Upstream, ...]
    price: ModelPrice | None
    facts: ModelFacts


class Catalog:
    """Upstreams, aliases and prices; replaced as a whole when settings are reloaded."""

    def __init__(self, upstreams: Sequence[Upstream], aliases: Mapping[str, str], prices: PriceTable) -> None:
        self.upstreams = tuple(upstreams)
        self.aliases = dict(aliases)
        self.prices = prices
        self._routes: dict[tuple[str, str], Route] = {}

    def find(self, dialect: str, requested_model: str) -> Route:
        """Return the route of a model in a dialect.

        Raises NotFound (model_not_found) when no upstream takes the model, UpstreamFailed (no_upstream) when none is
        configured at all.
        """
        known = self._routes.get((dialect, requested_model))
        return known or self._find(dialect, requested_model)

    def upstream(self, name: str) -> Upstream | None:
        """Return an upstream by its name."""
        return next((upstream for upstream in self.upstreams if upstream.name == name), None)

    def _find(self, dialect: str, requested_model: str) -> Route:
        if not self.upstreams:
            raise UpstreamFailed("No upstream is configured.", status=503, code="no_upstream", sent=False)
        model = self.aliases.get(requested_model, requested_model)
        takers = [upstream for upstream in self.upstreams if takes(upstream, model)]
        # Who names the model, or a part of its name, goes before who takes anything.
        takers = [upstream for upstream in takers if takes(upstream, model, anything=False)] or takers
        speakers = DIALECT_PROVIDERS[dialect]
        candidates = tuple(upstream for upstream in takers if upstream.provider in speakers)
        if not candidates:
            why = "is not served in this API's format" if takers else "does not exist here: no upstream takes it"
            raise NotFound(f"The model `{requested_model}` {why}.", code="model_not_found", param="model")
        provider = candidates[0].provider
        route = Route(model, candidates, self.prices.lookup(provider, model), self.prices.facts(provider, model))
        if len(self._routes) > MOST_REMEMBERED:
            self._routes.clear()
        self._routes[dialect, requested_model] = route
        return route


def takes(upstream: Upstream, model: str, *, anything: bool = True) -> bool:
    """Tell whether the upstream's patterns cover the model; without `anything`, the pattern `*` does not count."""
    return any(fnmatchcase(model, pattern) for pattern in upstream.models if anything or pattern != "*")


def may_call(patterns: Sequence[str] | None, *names: str) -> bool:
    """Tell whether a key's model list covers any of a model's names: the client's word or the one behind it."""
    return patterns is None or any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


def check_allowed(patterns: Sequence[str] | None, requested: str, model: str) -> None:
    """Raises Forbidden (model_not_allowed) when the key's model list covers neither name."""
    if not may_call(patterns, requested, model):
        raise Forbidden(
            f"This API key may not call the model `{requested}`. It may call: {', '.join(patterns or ())}.",
            code="model_not_allowed",
            param="model",
        )
