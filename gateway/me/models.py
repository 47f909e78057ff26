"""`GET /v1/models`: what this key may call, over all upstreams' own lists, fetched lazily and filtered."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

import msgspec
from starlette.types import Receive, Scope, Send

from gateway.core.call import Dialect
from gateway.core.errors import GatewayError, NotFound, UpstreamFailed
from gateway.core.prices import ModelFacts
from gateway.core.selection import Catalog, may_call, takes
from gateway.core.upstreams import Upstream
from gateway.dialects.anthropic_models import AnthropicModels
from gateway.dialects.error_headers import error_headers
from gateway.dialects.gemini_models import GeminiModels
from gateway.dialects.listing import ListedModel, Listing
from gateway.dialects.openai_models import OpenAIModels
from gateway.dialects.which import dialect_of
from gateway.me.endpoint import Asked, Endpoint, Services
from gateway.store.principals import Principal
from gateway.translate.pairs import can_ask, is_offered
from gateway.upstream.models import ListedModel as Offered
from gateway.upstream.models import ModelLists

LISTINGS: Mapping[str, Listing] = {
    "openai": OpenAIModels(),
    "anthropic": AnthropicModels(),
    "gemini": GeminiModels(),
}
"""Dialect -> the shape in which it lists models."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """All models there are: `catalog` returns the present upstreams and aliases."""

    catalog: Callable[[], Catalog]
    lists: ModelLists

    async def callable_by(self, principal: Principal, dialect: Dialect) -> list[ListedModel]:
        """Return what the key may call in a dialect, sorted by name.

        Raises UpstreamFailed when no upstream's list can be had.
        """
        catalog = self.catalog()
        asked = [upstream for upstream in catalog.upstreams if can_ask(dialect.name, upstream.provider)]
        offers = await asyncio.gather(*map(self._offered, asked))
        known: dict[str, ListedModel] = {}
        for upstream, models in zip(asked, offers, strict=True):
            for model in models or ():
                if not is_offered(dialect.name, model.id):
                    continue
                known.setdefault(model.id, _listed(model, catalog.prices.facts(upstream.provider, model.id)))
        for alias, name in catalog.aliases.items():
            behind = known.get(name)
            if any(takes(upstream, name) for upstream in asked):
                known[alias] = _alias(alias, behind)
        if not known and offers and all(models is None for models in offers):
            raise UpstreamFailed("No upstream's model list can be had now.", code="upstream_unreachable", sent=False)
        return sorted((m for m in known.values() if self._may(principal, catalog, m.id)), key=lambda model: model.id)

    async def _offered(self, upstream: Upstream) -> Iterable[Offered] | None:
        """Return the models of one upstream that its patterns cover; None if it cannot be asked."""
        try:
            return [model for model in await self.lists.of(upstream) if takes(upstream, model.id)]
        except UpstreamFailed:
            # A server without a list still has the models that its patterns name in full.
            named = [pattern for pattern in upstream.models if not set("*?[") & set(pattern)]
            return [Offered(name) for name in named] or None

    def _may(self, principal: Principal, catalog: Catalog, name: str) -> bool:
        return may_call(principal.models, principal.project_models, name, catalog.aliases.get(name, name))


def _listed(model: Offered, facts: ModelFacts) -> ListedModel:
    return ListedModel(
        id=model.id,
        created=model.created or 0,
        owned_by=model.owned_by or "system",
        display_name=model.display_name or model.id,
        input_token_limit=model.input_token_limit or facts.context_window,
        output_token_limit=model.output_token_limit or facts.max_output_tokens,
    )


def _alias(name: str, behind: ListedModel | None) -> ListedModel:
    if behind is None:
        return ListedModel(name, 0, "gateway", name, 0, 0)
    return msgspec.structs.replace(behind, id=name, owned_by="gateway", display_name=name)


class ModelsEndpoint(Endpoint):
    """The list, or with an id in the path one model of it, in the shape of the dialect that the request speaks."""

    def __init__(self, services: Services, shelf: Shelf) -> None:
        self._services = services
        self._shelf = shelf

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request."""
        dialect = dialect_of(scope["path"], scope["headers"])
        headers = [(b"content-type", b"application/json")]
        status = 200
        try:
            asked = await self._let_in(scope)
            models = await self._shelf.callable_by(asked.principal, dialect)
            body = msgspec.json.encode(_chosen(scope, asked, models, LISTINGS[dialect.name]))
        except GatewayError as error:
            status, body = error.status, dialect.error_body(error, scope["state"]["request_id"])
            headers += error_headers(error)
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _chosen(scope: Scope, asked: Asked, models: list[ListedModel], listing: Listing) -> msgspec.Struct:
    name = scope.get("path_params", {}).get("model")
    if name is None:
        return listing.page(models, asked.query)
    for model in models:
        if model.id == unquote(name):
            return listing.one(model)
    raise NotFound(f"The model `{name[:256]}` does not exist here.", code="model_not_found", param="model")
