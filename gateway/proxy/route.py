"""Call -> Route: the upstreams that can take it, in order."""

from dataclasses import replace

from gateway.core.call import Call
from gateway.core.errors import NotFound
from gateway.core.selection import Catalog, Route


def route(call: Call, catalog: Catalog, dialect: str, pinned: str | None) -> Route:
    """Return where the call may go. `pinned` names the upstream that keeps what the call refers to.

    Raises NotFound (model_not_found, or when the pinned upstream is gone), UpstreamFailed (no_upstream).
    """
    if pinned is None:
        return catalog.find(dialect, call.model)
    keeper = catalog.upstream(pinned)
    if keeper is None:
        raise NotFound("The upstream that keeps this is not configured any more.", code="not_found")
    if call.is_free:
        return Route("", (keeper,), None, catalog.prices.facts(keeper.provider, ""))
    return replace(catalog.find(dialect, call.model), candidates=(keeper,))
