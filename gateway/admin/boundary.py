"""The border of administration: who may, what came in, what goes out, what is written down. No route goes around it.

A handler is a plain function of a typed request. Here its caller is authenticated and their role checked, query and
body decoded, errors rendered in OpenAI's shape, and each change is audited in the transaction that makes it.
"""

import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, Literal, TypeVar

import msgspec
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.admin.decoding import decode_body, decode_query
from gateway.core.errors import (
    BodyTooLarge,
    Forbidden,
    GatewayError,
    GatewayFault,
    NotFound,
    UnsupportedEncoding,
)
from gateway.core.ids import PREFIXES
from gateway.core.keys import find_credential
from gateway.dialects.error_headers import error_headers
from gateway.dialects.openai import OPENAI
from gateway.sources import Clock
from gateway.store import audit_log
from gateway.store.engine import Connection, Database
from gateway.store.principals import AdminPrincipal, Principal, Principals

T = TypeVar("T")
Q = TypeVar("Q", bound=msgspec.Struct)
B = TypeVar("B", bound=msgspec.Struct)

MAX_BODY_BYTES = 1024 * 1024
"""No object of administration comes near it."""
ID_CHARACTERS = 20
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Services:
    """What handlers work with. `models` returns the names of the models that this gateway serves."""

    database: Database
    principals: Principals
    clock: Clock
    random_base62: Callable[[int], str]
    models: Callable[[], Sequence[str]]


class Access(Enum):
    """Who may call a route. Members' keys may call OWN alone, which then shows them nothing but their own."""

    OWNER = "owner"
    READER = "reader"
    OWN = "own"


@dataclass(frozen=True, slots=True)
class Changed(Generic[T]):
    """What a change did: its answer, and for the audit log the object's id and its values before and after."""

    value: T
    id: str
    before: object = None
    after: object = None
    project_id: str | None = None


@dataclass(frozen=True, slots=True)
class AdminRequest(Generic[Q, B]):
    """A request of administration whose caller may make it. `now` is in Unix seconds; `path` has the ids of the URL."""

    services: Services
    caller: AdminPrincipal | Principal
    path: Mapping[str, str]
    query: Q
    body: B
    address: str | None
    request_id: str | None
    now: int

    def new_id(self, noun: str) -> str:
        """Make the id of a new object."""
        return PREFIXES[noun] + self.services.random_base62(ID_CHARACTERS)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run work that changes nothing."""
        return await self.services.database.read(work)

    async def change(self, event: str, work: Callable[[Connection], Changed[T]]) -> T:
        """Run work and audit it, in one transaction with a new revision. `event` is of OpenAI's audit types."""

        def work_and_audit(connection: Connection) -> T:
            changed = work(connection)
            detail = audit_log.Detail(changed.id, changed.before, changed.after)
            audit_log.append(connection, self._event(event, changed.project_id, detail))
            return changed.value

        return await self.services.database.change(work_and_audit)

    def _event(self, type: str, project_id: str | None, detail: audit_log.Detail) -> audit_log.Event:
        actor = self.caller.id if isinstance(self.caller, AdminPrincipal) else self.caller.api_key_id
        id = "audit_log-" + self.services.random_base62(ID_CHARACTERS)
        return audit_log.Event(id, self.now, type, project_id, actor, self.address, self.request_id, detail)


Handler = Callable[[AdminRequest[Q, B]], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class AdminRoute(Generic[Q, B]):
    """One URL and method. The handler returns a Struct, which becomes JSON, or a ready Response."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    handler: Handler[Q, B]
    access: Access
    query: type[Q]
    body: type[B]


def mount(routes: Iterable[AdminRoute[Any, Any]], services: Services) -> list[Route]:
    """Return Starlette routes for these and, after them, for all else below /v1/organization, which is not served."""
    by_path: dict[str, dict[str, AdminRoute[Any, Any]]] = {}
    for route in routes:
        by_path.setdefault(route.path, {})[route.method] = route
    mounted = [Route(path, AdminEndpoint(methods, services)) for path, methods in by_path.items()]
    nowhere = AdminEndpoint({}, services)
    return [*mounted, Route("/v1/organization", nowhere), Route("/v1/organization/{rest:path}", nowhere)]


class AdminEndpoint:
    """The ASGI application of one path of administration."""

    def __init__(self, methods: Mapping[str, AdminRoute[Any, Any]], services: Services) -> None:
        self._methods = methods
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._answer(scope, receive)
        except GatewayError as error:
            response = rendered(error, _request_id(scope))
        except Exception:  # Administration's last resort: a fault of ours becomes an answer.
            log.exception("administration failed on %s %s", scope["method"], scope["path"])
            response = rendered(GatewayFault(), _request_id(scope))
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        route = self._methods.get(scope["method"])
        if route is None:
            raise NotFound(f"{scope['method']} {scope['path']} is not served here.", code="route_not_served")
        request = await self._request(route, scope, receive)
        answer = await route.handler(request)
        if isinstance(answer, Response):
            return answer
        return Response(msgspec.json.encode(answer), media_type="application/json")

    async def _request(self, route: AdminRoute[Any, Any], scope: Scope, receive: Receive) -> AdminRequest[Any, Any]:
        now = self._services.clock.now()
        address = scope["client"][0] if scope["client"] else None
        caller = await self._authenticate(route.access, find_credential(scope["headers"]), address or "", now)
        path: dict[str, str] = scope.get("path_params", {})
        if not all(_ID.fullmatch(value) for value in path.values()):
            raise NotFound(f"There is nothing at {scope['path']}.", code="not_found")
        query = decode_query(scope["query_string"], route.query)
        body = decode_body(await read_body(scope, receive), route.body)
        return AdminRequest(self._services, caller, path, query, body, address, _request_id(scope), int(now))

    async def _authenticate(self, access: Access, text: str, address: str, now: float) -> AdminPrincipal | Principal:
        principals = self._services.principals
        if access is Access.OWN:
            return await principals.identify(text, address, now)
        admin = await principals.admin(text, address, now)
        if access is Access.OWNER and admin.role != "owner":
            raise Forbidden("This admin API key may only read.", code="insufficient_permissions")
        return admin


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """Return the whole body. Raises BodyTooLarge, UnsupportedEncoding."""
    headers = dict(scope["headers"])
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise UnsupportedEncoding("Send the body uncompressed.", code="unsupported_content_encoding")
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge(f"The body is over {MAX_BODY_BYTES} bytes.")
        # A client that has left ends its body too; nobody reads the answer.
        if not message.get("more_body", False):
            return bytes(body)


def rendered(error: GatewayError, request_id: str | None) -> Response:
    """Return an error as OpenAI's clients expect it."""
    headers = {name.decode(): value.decode() for name, value in error_headers(error)}
    body = OPENAI.error_body(error, request_id or "")
    return Response(body, error.status, headers, media_type="application/json")


def _request_id(scope: Scope) -> str | None:
    request_id: str | None = scope.get("state", {}).get("request_id")
    return request_id
