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
from gateway.core.errors import Gone, NotFound
from gateway.core.keys import without_key
from gateway.core.old_paths import OLD_PATHS
from gateway.dialects import batches, conversations, files, image_forms, stored_responses, transcriptions, vector_stores
from gateway.dialects.chat_completions import ChatCompletions
from gateway.dialects.completions import Completions
from gateway.dialects.count_tokens import CountTokens
from gateway.dialects.embed_content import EMBEDDING_VERBS, EmbedContent
from gateway.dialects.embeddings import Embeddings
from gateway.dialects.gemini import VERSIONS
from gateway.dialects.gemini_count_tokens import CountTokens as GeminiCountTokens
from gateway.dialects.generate_content import GenerateContent
from gateway.dialects.image_generations import ImageGenerations
from gateway.dialects.messages import Messages
from gateway.dialects.moderations import Moderations
from gateway.dialects.openai import OPENAI
from gateway.dialects.responses import Responses
from gateway.dialects.speech import Speech
from gateway.dialects.which import dialect_of
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
    "/v1/images/generations": ImageGenerations(),
    "/v1/images/edits": image_forms.EDITS,
    "/v1/images/variations": image_forms.VARIATIONS,
    "/v1/audio/speech": Speech(),
    "/v1/audio/transcriptions": transcriptions.TRANSCRIPTIONS,
    "/v1/audio/translations": transcriptions.TRANSLATIONS,
    "/v1/moderations": Moderations(),
}
"""Path -> wire format of everything that costs money: each is served by the one endpoint of the river."""
PINNED: Mapping[str, str] = {
    "/claude": "anthropic",
    "/anthropic": "anthropic",
    "/google": "gemini",
    "/gemini": "gemini",
}
"""Prefix below which OpenAI's chat completions ask providers of one other dialect, whatever the model is called."""
ANTHROPIC_PREFIXES = ("", "/claude", "/anthropic")
ANTHROPIC_CALLS: Mapping[str, WireFormat] = {
    "/v1/messages": Messages(),
    "/v1/messages/count_tokens": CountTokens(),
}
"""The same in Anthropic's dialect."""
GEMINI_PREFIXES = ("", "/google", "/gemini")
GEMINI_CALLS: Mapping[tuple[str, str], WireFormat] = {
    **{(version, "generateContent"): GenerateContent(version, streams=False) for version in VERSIONS},
    **{(version, "streamGenerateContent"): GenerateContent(version, streams=True) for version in VERSIONS},
    **{(version, "countTokens"): GeminiCountTokens(version) for version in VERSIONS},
    **{(version, verb): EmbedContent(version, verb) for version in VERSIONS for verb in EMBEDDING_VERBS},
}
"""Version and verb of `/{version}/models/{model}:{verb}`, at the root and below Google's prefixes -> the same."""
_GEMINI_CALL = re.compile(rb"(?:/google|/gemini)?/(v1|v1beta)/models/([^/]*):([A-Za-z]+)")
_GOOGLES = re.compile(rb"/(?:google|gemini|v1beta|v1/models)(?![^/])")
"""Where Google's clients may send their key in the query."""
FORMS = frozenset({"/v1/images/edits", "/v1/images/variations", "/v1/audio/transcriptions", "/v1/audio/translations"})
"""Those of them whose requests are forms."""
_MODEL_PATH = re.compile(rb"(/openai|/claude|/anthropic|/google|/gemini)?/v1(beta)?/models/")
"""Below it a slash may come encoded: it is part of the names of models."""
STORED: Sequence[tuple[str, WireFormat]] = (
    *stored_responses.ROUTES,
    *files.ROUTES,
    *vector_stores.ROUTES,
    *conversations.ROUTES,
    *batches.ROUTES,
)
"""Path -> wire format of what looks at or changes things that live at the provider: through the same endpoint."""
SHARED = ("/v1/files", "/v1/batches")
"""Where Anthropic's and Google's clients look for things of their own at the root: OpenAI's are not what they mean."""


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the parts of the gateway behind the URLs work with; made once by app.py."""

    house: House
    me: MeServices
    shelf: Shelf
    administration: boundary.Services
    operations: Operations


def build(rooms: Rooms) -> "Switch":
    """Return the application behind the middleware."""
    calls = {
        prefix + path: Endpoint(wire_format, rooms.house, takes_form=path in FORMS)
        for prefixes, formats in ((OPENAI_PREFIXES, CALLS), (ANTHROPIC_PREFIXES, ANTHROPIC_CALLS))
        for prefix in prefixes
        for path, wire_format in formats.items()
    }
    chat = "/v1/chat/completions"
    calls |= {prefix + chat: Endpoint(CALLS[chat], rooms.house, spoken) for prefix, spoken in PINNED.items()}
    gemini = {named: Endpoint(wire_format, rooms.house) for named, wire_format in GEMINI_CALLS.items()}
    return Switch(calls, gemini, Router(_routes(rooms), default=not_served, redirect_slashes=False))


def _routes(rooms: Rooms) -> list[Route]:
    stored: dict[str, dict[str, ASGIApp]] = {}
    for path, wire_format in STORED:
        stored.setdefault(path, {})[wire_format.method] = Endpoint(wire_format, rooms.house)
    models: dict[str, ASGIApp] = {"GET": ModelsEndpoint(rooms.me, rooms.shelf)}
    lists = {"/v1/models": models, "/v1/models/{model:path}": models}
    own: dict[str, dict[str, ASGIApp]] = {
        path: {method: app for method in methods} for methods, path, app in me_routes.triples(rooms.me)
    }
    operations: dict[str, dict[str, ASGIApp]] = {
        "/healthz": {"GET": rooms.operations.health},
        "/readyz": {"GET": rooms.operations.ready},
        "/metrics": {"GET": rooms.operations.show_metrics},
    }
    by_path = {prefix + path: methods for prefix in OPENAI_PREFIXES for path, methods in stored.items()}
    prefixes = dict.fromkeys((*OPENAI_PREFIXES, *ANTHROPIC_PREFIXES, *GEMINI_PREFIXES))
    by_path |= {prefix + path: methods for prefix in prefixes for path, methods in lists.items()}
    googles = {path.replace("v1", VERSIONS[-1]): methods for path, methods in lists.items()}
    by_path |= {prefix + path: methods for prefix in GEMINI_PREFIXES for path, methods in googles.items()}
    table = {**by_path, **own, **operations}
    old = [Route(path, Moved(now)) for path, now in OLD_PATHS.items()]
    administration = boundary.mount(ADMIN_ROUTES, rooms.administration)
    served = (Route(path, ByMethod(methods, path.startswith(SHARED))) for path, methods in table.items())
    return [*served, *administration, *old]


class ByMethod:
    """One path's applications by HTTP method; any other method is not served, nor is a `shared` path to clients of
    other dialects.
    """

    def __init__(self, methods: Mapping[str, ASGIApp], shared: bool) -> None:
        self._methods = methods
        self._shared = shared

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        app = self._methods.get(scope["method"], not_served)
        if self._shared and dialect_of(scope["path"], scope["headers"]) is not OPENAI:
            app = not_served
        return app(scope, receive, send)


class Moved:
    """What answers on a path of an earlier gateway, whatever the method: that it is gone, and what serves it now."""

    def __init__(self, now: str) -> None:
        self._error = Gone(f"This path is gone. Use {now} instead; docs/compatibility.md says what became of each.")

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request. Nobody needs a key to be told."""
        return boundary.rendered(self._error, None)(scope, receive, send)


class Switch:
    """Looks calls up by their path alone, before the router: most requests are calls.

    It is the path as it was sent: an encoded slash would be one to us and none to a proxy in front that guards paths.
    """

    def __init__(
        self, calls: Mapping[str, Endpoint], gemini: Mapping[tuple[str, str], Endpoint], others: ASGIApp
    ) -> None:
        self._calls = {path.encode(): app for path, app in calls.items()}
        self._gemini = {(version.encode(), verb.encode()): app for (version, verb), app in gemini.items()}
        self._others = others

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request. No coroutine of its own: one less to pass at each turn of a call."""
        sent: bytes = scope["raw_path"]
        call = self._calls.get(sent)
        if call is not None and scope["method"] == "POST":
            return call(scope, receive, send)
        if _GOOGLES.match(sent):
            return self._google(sent, scope, receive, send)
        return self._other(sent, scope, receive, send)

    def call_at(self, method: str, path: bytes) -> Endpoint | None:
        """Return what serves calls at a path as it is sent, None for everything else."""
        if method != "POST":
            return None
        if (call := self._calls.get(path)) is None and (asked := _GEMINI_CALL.fullmatch(path)) is not None:
            return self._gemini.get((asked[1], asked[3]))
        return call

    def _google(self, sent: bytes, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve a path of Google's. From here on a key that came in the query is in a header: no URL has it."""
        if scope["query_string"]:
            scope["query_string"], keys = without_key(scope["query_string"])
            scope["headers"] = [*scope["headers"], *keys]
        asked = _GEMINI_CALL.fullmatch(sent)
        call = self._gemini.get((asked[1], asked[3])) if asked is not None and scope["method"] == "POST" else None
        if asked is None or call is None:
            return self._other(sent, scope, receive, send)
        scope["path_params"] = {"model": asked[2].decode("latin-1")}
        return call(scope, receive, send)

    def _other(self, sent: bytes, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if b"%2" in sent and b"%2f" in sent.lower() and not _MODEL_PATH.match(sent):
            return not_served(scope, receive, send)
        return self._others(scope, receive, send)


async def not_served(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer for every URL that is not in the table, and for methods that a URL does not take."""
    error = NotFound(f"{scope['method']} {scope['path'][:256]} is not served by this gateway.", code="route_not_served")
    dialect = dialect_of(scope["path"], scope["headers"])
    await boundary.rendered(error, scope["state"]["request_id"], dialect)(scope, receive, send)
