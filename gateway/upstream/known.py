"""Which models there are, for those who limit and permit them: what upstreams list and what the catalog can name."""

import asyncio

from gateway.core.errors import UpstreamFailed
from gateway.core.selection import Catalog, takes
from gateway.core.upstreams import Upstream
from gateway.upstream.models import ModelLists

_PATIENCE_SECONDS = 2.0
"""An upstream that is slower is asked on, and its list is there the next time."""


async def known_models(catalog: Catalog, lists: ModelLists) -> frozenset[str]:
    """Return the models by the names that providers know them by. An upstream that cannot be asked adds none."""
    listed = await asyncio.gather(*(_listed(upstream, lists) for upstream in catalog.upstreams))
    return catalog.names().union(*listed)


async def _listed(upstream: Upstream, lists: ModelLists) -> frozenset[str]:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            models = await lists.of(upstream)
    except (UpstreamFailed, TimeoutError):
        return frozenset()
    return frozenset(model.id for model in models if takes(upstream, model.id))
