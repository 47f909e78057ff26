"""The border of administration: who may, what came in, what goes out, what is written down. No route goes around it.

A handler is a plain function of a typed request. Here its caller is authenticated and their role checked, query and
body decoded, errors rendered in OpenAI's shape, and each change is audited in the transaction that makes it.
"""

import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Generic, Literal, TypeVar, get_type_hints

import msgspec
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.admin import spreadsheets
from gateway.admin.decoding import decode_body, decode_query
from gateway.admin.failed_logins import FailedLogins
from gateway.admin.spreadsheets import Sheet
from gateway.core.call import Dialect
from gateway.core.csv_lines import MEDIA_TYPE
from gateway.core.errors import (
    BodyTooLarge,
    Forbidden,
    GatewayError,
    GatewayFault,
    InvalidKey,
    NotFound,
    ServiceUnavailable,
    TooManyRequests,
    UnsupportedEncoding,
)
from gateway.core.ids import PREFIXES, timed_id
from gateway.core.keys import find_credential
from gateway.dialects.error_headers import error_headers
from gateway.dialects.openai import OPENAI
from gateway.sources import Clock
from gateway.store import admin_api_keys, audit_log
from gateway.store.audit_log import Actor, EventType
from gateway.store.engine import Connection, Database
from gateway.store.principals import NOT_FOR_ADMINISTRATION, AdminPrincipal, Principal, Principals

T = TypeVar("T")
Q = TypeVar("Q", bound=msgspec.Struct)
B = TypeVar("B", bound=msgspec.Struct)

MAX_BODY_BYTES = 1024 * 1024
"""No object of administration comes near it."""
ID_CHARACTERS = 12
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Services:
    """What handlers work with. `models` returns the names that providers know their models by, all there are."""

    database: Database
    principals: Principals
    clock: Clock
    random_base62: Callable[[int], str]
    models: Callable[[], Awaitable[frozenset[str]]]
    failed_logins: FailedLogins


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
        """Make the id of a new object, which sorts behind those of its kind that were made before it."""
        services = self.services
        return timed_id(PREFIXES[noun], services.clock.now(), services.random_base62(ID_CHARACTERS))

    def asked_of(self, database: Database, query: Q) -> "AdminRequest[Q, B]":
        """Return the same request with another query, of another opening of the database."""
        return replace(self, services=replace(self.services, database=database), query=query)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run work that changes nothing."""
        return await self.services.database.read(work)

    async def change(self, event: EventType, work: Callable[[Connection], Changed[T]]) -> T:
        """Run work and audit it, in one transaction with a new revision. `event` is of OpenAI's audit types."""

        def work_and_audit(connection: Connection) -> T:
            changed = work(connection)
            detail = audit_log.Detail(changed.id, changed.before, changed.after)
            audit_log.append(connection, self._event(event, changed.project_id, detail))
            return changed.value

        return await self.services.database.change(work_and_audit)

    def _event(self, type: EventType, project_id: str | None, detail: audit_log.Detail) -> audit_log.Event:
        id = audit_log.new_id(self.services.clock.now(), self.services.random_base62(audit_log.EVENT_ID_CHARACTERS))
        actor = actor_of(self.caller, self.address)
        return audit_log.Event(id, self.now, type, project_id, actor, self.request_id, detail)


def actor_of(caller: AdminPrincipal | Principal, address: str | None) -> Actor:
    """Return who is written down as having done something."""
    if isinstance(caller, AdminPrincipal):
        return Actor(caller.id, caller.name, address)
    return Actor(caller.api_key_id, caller.key_name, address)


Handler = Callable[[AdminRequest[Q, B]], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class AdminRoute(Generic[Q, B]):
    """One URL and method. The handler returns a Struct, which becomes JSON, or a ready Response.

    `answer` is that Struct's type where the handler's own annotation does not tell it.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    handler: Handler[Q, B]
    access: Access
    query: type[Q]
    body: type[B]
    answer: object = None

    @property
    def answers(self) -> object:
        """The type of what it answers."""
        return self.answer or get_type_hints(self.handler)["return"]


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
        self._sheets = {
            method: spreadsheets.sheet_of(route.answers)
            for method, route in methods.items()
            if spreadsheets.is_tabular(route.answers)
        }
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
        sheet = self._sheets.get(route.method)
        if sheet is not None:
            return await self._table(route, sheet, scope, receive)
        answer = await route.handler(await self._request(route, scope, receive, scope["query_string"]))
        return answer if isinstance(answer, Response) else _as_json(msgspec.json.encode(answer))

    async def _table(self, route: AdminRoute[Any, Any], sheet: Sheet, scope: Scope, receive: Receive) -> Response:
        """Answer with a list or a report, as JSON or as CSV. What is wrong with it comes before its first line."""
        wish, query = spreadsheets.read_wish(scope["query_string"], dict(scope["headers"]).get(b"accept", b""))
        request = await self._request(route, scope, receive, query)
        database = request.services.database

        async def ask(query: msgspec.Struct) -> tuple[bytes, msgspec.Struct | None]:
            async def work(database: Database) -> tuple[bytes, msgspec.Struct | None]:
                page: Any = await route.handler(request.asked_of(database, query))
                if not wish.csv:
                    return spreadsheets.as_json(page), None
                return sheet.page(page).encode(), spreadsheets.next_query(query, page) if wish.follows else None

            # A report may make tens of thousands of lines, while calls go on.
            return await (database.aside(work) if sheet.has_buckets else work(database))

        body, following = await ask(request.query)
        if not wish.csv:
            return _as_json(body)
        headers = {"content-disposition": f'attachment; filename="{route.path.rpartition("/")[2]}.csv"'}
        return StreamingResponse(spreadsheets.stream(sheet, body, following, ask), 200, headers, MEDIA_TYPE)

    async def _request(
        self, route: AdminRoute[Any, Any], scope: Scope, receive: Receive, query_string: bytes
    ) -> AdminRequest[Any, Any]:
        now = self._services.clock.now()
        address = scope["client"][0] if scope["client"] else None
        caller = await authenticate(self._services, route.access, scope, now)
        path: dict[str, str] = scope.get("path_params", {})
        if not all(_ID.fullmatch(value) for value in path.values()):
            raise NotFound(f"There is nothing at {scope['path']}.", code="not_found")
        query = decode_query(query_string, route.query)
        body = decode_body(await read_body(scope, receive), route.body)
        return AdminRequest(self._services, caller, path, query, body, address, _request_id(scope), int(now))


async def authenticate(services: Services, access: Access, scope: Scope, now: float) -> AdminPrincipal | Principal:
    """Return who calls. Raises InvalidKey, Forbidden and TooManyRequests, which go on record; ServiceUnavailable."""
    address = scope["client"][0] if scope["client"] else None
    caller: AdminPrincipal | Principal | None = None
    try:
        text = find_credential(scope["headers"])
        caller = await services.principals.identify(text, address or "", now)
        check_access(access, caller)
    except (InvalidKey, Forbidden, TooManyRequests) as error:
        actor = Actor("", None, address) if caller is None else actor_of(caller, address)
        await services.failed_logins.note(error, actor, _request_id(scope), now)
        raise
    if isinstance(caller, AdminPrincipal) and admin_api_keys.is_use_news(caller.last_used_at, now):
        await _note_use(services.database, caller.id, int(now))
    return caller


async def _note_use(database: Database, id: str, now: int) -> None:
    """Write down that an admin key is in use; that this cannot be written now keeps nobody from reading."""
    with suppress(ServiceUnavailable):
        await database.write(lambda connection: admin_api_keys.note_use(connection, id, now))


def check_access(access: Access, caller: AdminPrincipal | Principal) -> None:
    """Raises Forbidden for who may not call such a route."""
    if access is Access.OWN:
        return
    if isinstance(caller, Principal):
        raise Forbidden(NOT_FOR_ADMINISTRATION, code="insufficient_permissions")
    if access is Access.OWNER and caller.role != "owner":
        raise Forbidden("This admin API key may only read.", code="insufficient_permissions")


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


def _as_json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def rendered(error: GatewayError, request_id: str | None, dialect: Dialect = OPENAI) -> Response:
    """Return an error as the dialect's clients expect it."""
    headers = {name.decode(): value.decode() for name, value in error_headers(error)}
    body = dialect.error_body(error, request_id or "")
    return Response(body, error.status, headers, media_type="application/json")


def _request_id(scope: Scope) -> str | None:
    request_id: str | None = scope.get("state", {}).get("request_id")
    return request_id
