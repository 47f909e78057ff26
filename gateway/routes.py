"""Every URL in one table. What is not here is not served: there is no open pass-through."""

import re
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.admin import boundary
from gateway.admin.operations import Operations
from gateway.admin.table import ROUTES as ADMIN_ROUTES
from gateway.core.call import WireFormat
from gateway.core.errors import NotFound
from gateway.dialects import stored_responses
from gateway.dialects.chat_completions import ChatCompletions
from gateway.dialects.completions import Completions
from gateway.dialects.embeddings import Embeddings
from gateway.dialects.responses import Responses
from gateway.me import routes as me_routes
from gateway.me.endpoint import Services as MeServices
from gateway.me.models import ModelsEndpoint, Shelf
from gateway.proxy.endpoint import Endpoint, House

OPENAI_PREFIXES = ("", "/openai")
CALLS: Mapping[str, WireFormat] = {
    "/v1/chat/completions": ChatCompletions(),
    "/v1/completions": Completions(),
    "/v1/embeddings": Embeddings(),
    "/v1/responses": Responses(),
}
"""Path -> wire format of everything that costs money: each is served by the one endpoint of the river."""
_MODEL_PATH = re.compile(rb"(/openai)?/v1/models/")
"""Below it a slash may come encoded: it is part of the names of models."""
STORED: Sequence[tuple[str, WireFormat]] = (
    ("/v1/responses/{id}", stored_responses.RETRIEVE),
    ("/v1/responses/{id}", stored_responses.DELETE),
    ("/v1/responses/{id}/cancel", stored_responses.CANCEL),
    ("/v1/responses/{id}/input_items", stored_responses.INPUT_ITEMS),
)


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the parts of the gateway behind the URLs work with; made once by app.py."""

    house: House
    me: MeServices
    shelf: Shelf
    administration: boundary.Services
    operations: Operations


def build(rooms: Rooms) -> ASGIApp:
    """Return the application behind the middleware."""
    calls = {
        prefix + path: Endpoint(wire_format, rooms.house)
        for prefix in OPENAI_PREFIXES
        for path, wire_format in CALLS.items()
    }
    return Switch(calls, Router(_routes(rooms), default=not_served, redirect_slashes=False))


def _routes(rooms: Rooms) -> list[Route]:
    stored: dict[str, dict[str, ASGIApp]] = {}
    for path, wire_format in STORED:
        stored.setdefault(path, {})[wire_format.method] = Endpoint(wire_format, rooms.house)
    models: dict[str, ASGIApp] = {"GET": ModelsEndpoint(rooms.me, rooms.shelf)}
    prefixed = {**stored, "/v1/models": models, "/v1/models/{model:path}": models}
    own: dict[str, dict[str, ASGIApp]] = {
        path: {method: app for method in methods} for methods, path, app in me_routes.triples(rooms.me)
    }
    operations: dict[str, dict[str, ASGIApp]] = {
        "/healthz": {"GET": rooms.operations.health},
        "/readyz": {"GET": rooms.operations.ready},
        "/metrics": {"GET": rooms.operations.show_metrics},
    }
    by_path = {prefix + path: methods for prefix in OPENAI_PREFIXES for path, methods in prefixed.items()}
    table = {**by_path, **own, **operations}
    administration = boundary.mount(ADMIN_ROUTES, rooms.administration)
    return [*(Route(path, ByMethod(methods)) for path, methods in table.items()), *administration]


class ByMethod:
    """One path's applications by HTTP method; any other method is not served."""

    def __init__(self, methods: Mapping[str, ASGIApp]) -> None:
        self._methods = methods

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        return self._methods.get(scope["method"], not_served)(scope, receive, send)


class Switch:
    """Looks calls up by their path alone, before the router: most requests are calls.

    It is the path as it was sent: an encoded slash would be one to us and none to a proxy in front that guards paths.
    """

    def __init__(self, calls: Mapping[str, ASGIApp], others: ASGIApp) -> None:
        self._calls = {path.encode(): app for path, app in calls.items()}
        self._others = others

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request. No coroutine of its own: one less to pass at each turn of a call."""
        sent: bytes = scope["raw_path"]
        call = self._calls.get(sent)
        if call is not None and scope["method"] == "POST":
            return call(scope, receive, send)
        if b"%2" in sent and b"%2f" in sent.lower() and not _MODEL_PATH.match(sent):
            return not_served(scope, receive, send)
        return self._others(scope, receive, send)


async def not_served(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer for every URL that is not in the table, and for methods that a URL does not take."""
    error = NotFound(f"{scope['method']} {scope['path'][:256]} is not served by this gateway.", code="route_not_served")
    await boundary.rendered(error, None)(scope, receive, send)
