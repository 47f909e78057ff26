"""`GET /v1/models`: what this key may call, over all upstreams' own lists, fetched lazily and filtered."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import unquote

import msgspec
from starlette.types import Receive, Scope, Send

from gateway.core.errors import GatewayError, NotFound, UpstreamFailed
from gateway.core.selection import DIALECT_PROVIDERS, Catalog, may_call, takes
from gateway.core.upstreams import Upstream
from gateway.dialects.error_headers import error_headers
from gateway.dialects.openai import OPENAI
from gateway.me.endpoint import Endpoint, Services
from gateway.store.principals import Principal
from gateway.upstream.models import ListedModel, ModelLists


class Model(msgspec.Struct, frozen=True):
    """A model as OpenAI lists it."""

    id: str
    created: int
    owned_by: str
    object: str = "model"


class ModelList(msgspec.Struct, frozen=True):
    """The list."""

    data: list[Model]
    object: str = "list"


@dataclass(frozen=True, slots=True)
class Shelf:
    """All models there are: `catalog` returns the present upstreams and aliases."""

    catalog: Callable[[], Catalog]
    lists: ModelLists

    async def callable_by(self, principal: Principal) -> list[Model]:
        """Return what the key may call, sorted by name. Raises UpstreamFailed when no upstream's list can be had."""
        catalog = self.catalog()
        speakers = DIALECT_PROVIDERS[OPENAI.name]
        listed = await asyncio.gather(*(self._listed(it) for it in catalog.upstreams if it.provider in speakers))
        known: dict[str, Model] = {}
        for models in listed:
            for model in models or ():
                known.setdefault(model.id, Model(model.id, model.created or 0, model.owned_by or "system"))
        for alias, name in catalog.aliases.items():
            behind = known.get(name)
            known[alias] = Model(alias, behind.created if behind else 0, "gateway")
        if not known and listed and all(models is None for models in listed):
            raise UpstreamFailed("No upstream's model list can be had now.", code="upstream_unreachable", sent=False)
        return sorted((m for m in known.values() if self._may(principal, catalog, m.id)), key=lambda model: model.id)

    async def _listed(self, upstream: Upstream) -> Iterable[ListedModel] | None:
        """Return the models of one upstream that its patterns cover; None if it cannot be asked."""
        try:
            return [model for model in await self.lists.of(upstream) if takes(upstream, model.id)]
        except UpstreamFailed:
            # A server without a list still has the models that its patterns name in full.
            named = [pattern for pattern in upstream.models if not set("*?[") & set(pattern)]
            return [ListedModel(name, None, None) for name in named] or None

    def _may(self, principal: Principal, catalog: Catalog, name: str) -> bool:
        return may_call(principal.models, name, catalog.aliases.get(name, name))


class ModelsEndpoint(Endpoint):
    """The list, or with an id in the path one model of it."""

    def __init__(self, services: Services, shelf: Shelf) -> None:
        self._services = services
        self._shelf = shelf

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = [(b"content-type", b"application/json")]
        status = 200
        try:
            asked = await self._let_in(scope)
            models = await self._shelf.callable_by(asked.principal)
            body = msgspec.json.encode(self._chosen(scope, models))
        except GatewayError as error:
            status, body = error.status, OPENAI.error_body(error, "")
            headers += error_headers(error)
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _chosen(self, scope: Scope, models: list[Model]) -> ModelList | Model:
        name = scope.get("path_params", {}).get("model")
        if name is None:
            return ModelList(models)
        for model in models:
            if model.id == unquote(name):
                return model
        raise NotFound(f"The model `{name[:256]}` does not exist here.", code="model_not_found", param="model")
