"""Which upstreams can take a call, in which order, and what the model is called there: the catalog of this gateway."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from gateway.core.errors import Forbidden, NotFound, UpstreamFailed
from gateway.core.model_policy import WILDCARDS, ModelPolicy
from gateway.core.model_price import ModelPrice
from gateway.core.prices import ModelFacts, PriceTable
from gateway.core.rates import Unit
from gateway.core.upstreams import Provider, Upstream

DIALECT_PROVIDERS: Mapping[str, frozenset[Provider]] = {
    "openai": frozenset({"openai", "azure", "demo"}),
    "anthropic": frozenset({"anthropic", "demo"}),
    "gemini": frozenset({"gemini", "demo"}),
}
"""The species that speak a dialect themselves; the others need a translation."""
_DIALECTS: Mapping[Provider, str] = {
    provider: dialect for dialect, providers in DIALECT_PROVIDERS.items() for provider in providers
}
MOST_REMEMBERED = 4_096


@dataclass(frozen=True, slots=True)
class Route:
    """Where a call may go: `model` is the name behind an alias, `candidates` are tried in order.

    All candidates are spoken to in the one dialect `speaks`. `price` is None too where the model is paid by something
    that calls of this kind are not measured in; `prices` is the table that it is from.
    """

    model: str
    candidates: tuple[Upstream, ...]
    price: ModelPrice | None
    facts: ModelFacts
    speaks: str
    prices: PriceTable

    def price_of(self, model: str) -> ModelPrice | None:
        """Return the price of a model at the same provider: the call's own, or another that the provider asks."""
        return self.price if model == self.model else self.prices.lookup(self.candidates[0].provider, model)


class Catalog:
    """Upstreams, aliases and prices; replaced as a whole when settings are reloaded."""

    def __init__(self, upstreams: Sequence[Upstream], aliases: Mapping[str, str], prices: PriceTable) -> None:
        self.upstreams = tuple(upstreams)
        self.aliases = dict(aliases)
        self.prices = prices
        self._routes: dict[tuple[str, str | None, str, Unit | None], Route] = {}

    def find(self, dialect: str, requested_model: str, spoken: str | None = None, unit: Unit | None = None) -> Route:
        """Return the route of a model for clients of a dialect. `spoken` asks for providers of that dialect only.

        `unit` is what the call is measured in beside tokens, if anything. Who speaks the client's dialect goes before
        who needs a translation. Raises NotFound (model_not_found) when no upstream takes the model, UpstreamFailed
        (no_upstream) when none is configured at all.
        """
        known = self._routes.get((dialect, spoken, requested_model, unit))
        return known or self._find(dialect, spoken, requested_model, unit)

    def upstream(self, name: str) -> Upstream | None:
        """Return an upstream by its name."""
        return next((upstream for upstream in self.upstreams if upstream.name == name), None)

    def names(self) -> frozenset[str]:
        """Return the models that can be named without asking anybody: priced ones and those that patterns spell out."""
        named = {name for name in self.aliases.values() if any(takes(upstream, name) for upstream in self.upstreams)}
        for upstream in self.upstreams:
            named |= {pattern for pattern in upstream.models if not WILDCARDS & set(pattern)}
            named |= {name for name in self.prices.names_of(upstream.provider) if takes(upstream, name)}
        return frozenset(named)

    def keeper(self, dialect: str) -> Upstream:
        """Return where things are made that stay at a provider: the first that may, of those that speak the dialect.

        Raises UpstreamFailed (no_upstream).
        """
        keeper = next((it for it in self.upstreams if it.objects and speaks(it, dialect)), None)
        if keeper is None:
            raise UpstreamFailed(
                "No upstream here keeps files and other objects.", status=503, code="no_upstream", sent=False
            )
        return keeper

    def _find(self, dialect: str, spoken: str | None, requested_model: str, unit: Unit | None) -> Route:
        if not self.upstreams:
            raise UpstreamFailed("No upstream is configured.", status=503, code="no_upstream", sent=False)
        model = self.aliases.get(requested_model, requested_model)
        takers = [it for it in self.upstreams if takes(it, model) and (spoken is None or speaks(it, spoken))]
        # Who names the model, or a part of its name, goes before who takes anything.
        takers = [upstream for upstream in takers if takes(upstream, model, anything=False)] or takers
        if not takers:
            raise NotFound(
                f"The model `{requested_model}` does not exist here: no upstream takes it.",
                code="model_not_found",
                param="model",
            )
        language = spoken or (dialect if any(speaks(it, dialect) for it in takers) else _DIALECTS[takers[0].provider])
        candidates = tuple(upstream for upstream in takers if speaks(upstream, language))
        provider = candidates[0].provider
        price, facts = self.prices.lookup(provider, model), self.prices.facts(provider, model)
        if price is not None and not price.units <= {Unit.TOKENS, unit}:
            price = None
        route = Route(model, candidates, price, facts, language, self.prices)
        if len(self._routes) > MOST_REMEMBERED:
            self._routes.clear()
        self._routes[dialect, spoken, requested_model, unit] = route
        return route


def speaks(upstream: Upstream, dialect: str) -> bool:
    """Tell whether the upstream's provider speaks a dialect itself."""
    return upstream.provider in DIALECT_PROVIDERS[dialect]


def takes(upstream: Upstream, model: str, *, anything: bool = True) -> bool:
    """Tell whether the upstream's patterns cover the model; without `anything`, the pattern `*` does not count."""
    return any(fnmatchcase(model, pattern) for pattern in upstream.models if anything or pattern != "*")


def may_call(patterns: Sequence[str] | None, policy: ModelPolicy | None, *names: str) -> bool:
    """Tell whether a key's model list covers any of a model's names, and its project's policy permits them.

    The names are the client's word and the one behind it.
    """
    covered = patterns is None or any(fnmatchcase(name, pattern) for pattern in patterns for name in names)
    return covered and (policy is None or policy.permits(*names))


def check_allowed(
    patterns: Sequence[str] | None, policy: ModelPolicy | None, requested: str, model: str, others: Sequence[str] = ()
) -> None:
    """Raises Forbidden (model_not_allowed) when the key's model list or its project's policy keeps a model out.

    It is the model that was asked for, by either name, or one of `others` that the provider may ask besides.
    """
    for names in ((requested, model), *((other,) for other in others)):
        if may_call(patterns, policy, *names):
            continue
        if may_call(patterns, None, *names):
            why = f"The project of this API key does not permit the model `{names[0]}`."
        else:
            why = f"This API key may not call the model `{names[0]}`. It may call: {', '.join(patterns or ())}."
        raise Forbidden(why, code="model_not_allowed", param="model")
