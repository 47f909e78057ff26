"""How a key's holder is let in and answered: the key is read fresh, errors have OpenAI's shape, money is exact."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope, Send

from gateway.core.csv_lines import MEDIA_TYPE, accepts_csv, csv_lines
from gateway.core.errors import Forbidden, GatewayError
from gateway.core.keys import find_credential
from gateway.core.money import render_usd
from gateway.dialects.error_headers import error_headers
from gateway.dialects.openai import OPENAI
from gateway.sources import Clock
from gateway.store.engine import Database
from gateway.store.principals import AdminPrincipal, Principal, Principals

RawHeaders = list[tuple[bytes, bytes]]

NOT_FOR_ADMINS = "This is an admin API key, which makes no calls of its own; its usage is under /v1/organization."


@dataclass(frozen=True, slots=True)
class Services:
    """What the endpoints of this folder work with."""

    database: Database
    principals: Principals
    clock: Clock


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of a key's holder. Of a parameter that is sent twice the last counts."""

    principal: Principal
    query: Mapping[str, str]
    now: datetime
    wants_csv: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered, as JSON, or as CSV if the caller wants that and there are `rows`, the first of them names."""

    body: msgspec.Struct
    status: int = 200
    rows: Sequence[Sequence[object]] | None = None


Answer = Callable[[Services, Asked], Awaitable[Reply]]


class Endpoint:
    """One URL as an ASGI application: lets the holder in and renders what `answer` returns or raises."""

    def __init__(self, services: Services, answer: Answer) -> None:
        self._services = services
        self._answer = answer

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers: RawHeaders = [(b"cache-control", b"no-store")]
        media_type = b"application/json"
        try:
            asked = await self._let_in(scope)
            reply = await self._answer(self._services, asked)
        except GatewayError as error:
            status, body = error.status, OPENAI.error_body(error, "")
            headers += error_headers(error)
        else:
            status, body = reply.status, msgspec.json.encode(reply.body)
            if reply.rows is not None and asked.wants_csv:
                media_type, body = MEDIA_TYPE.encode(), csv_lines(reply.rows).encode()
        headers += [(b"content-type", media_type), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _let_in(self, scope: Scope) -> Asked:
        text = find_credential(scope["headers"])
        address = scope["client"][0] if scope["client"] else ""
        now = self._services.clock.utc_now()
        principal = await self._services.principals.identify(text, address, now.timestamp())
        if isinstance(principal, AdminPrincipal):
            raise Forbidden(NOT_FOR_ADMINS, code="insufficient_permissions")
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        accept = dict(scope["headers"]).get(b"accept", b"")
        return Asked(principal, query, now, query.get("format") == "csv" if "format" in query else accepts_csv(accept))


def usd(nano_usd: int) -> msgspec.Raw:
    """Return the exact amount of USD as a JSON number: its decimals, not the nearest float's."""
    return msgspec.Raw(render_usd(nano_usd).encode())
