"""Call -> Route: the upstreams that can take it, in order."""

from dataclasses import replace

from gateway.core.call import Call
from gateway.core.errors import NotFound
from gateway.core.selection import Catalog, Route
from gateway.core.upstreams import Upstream


def route(call: Call, catalog: Catalog, dialect: str, spoken: str | None, pinned: str | None) -> Route:
    """Return where the call may go. `pinned` names the upstream that keeps what the call refers to.

    A call without a model makes or lists things at the first upstream that keeps such. `spoken` is the dialect that the
    URL asks the provider to speak, None for any.

    Raises NotFound (model_not_found, or when the pinned upstream is gone), UpstreamFailed (no_upstream).
    """
    unit = None if call.media is None else call.media.unit
    if pinned is None and call.model:
        found = catalog.find(dialect, call.model, spoken, unit)
        return found if call.media is None or not call.media.is_open else replace(found, price=None)
    kept_at = catalog.keeper(dialect) if pinned is None else keeper(catalog, pinned)
    if not call.model:
        return Route("", (kept_at,), None, catalog.prices.facts(kept_at.provider, ""), dialect, catalog.prices)
    return replace(catalog.find(dialect, call.model, dialect, unit), candidates=(kept_at,))


def keeper(catalog: Catalog, pinned: str) -> Upstream:
    """Return the upstream that keeps what a call refers to. Raises NotFound when it is gone."""
    found = catalog.upstream(pinned)
    if found is None:
        raise NotFound("The upstream that keeps this is not configured any more.", code="not_found")
    return found
