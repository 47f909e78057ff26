"""What is true of every URL: a request id on each answer, one access record, CORS.

All three share one layer and one `send` wrapper, a plain function, because every chunk of every stream passes it. The
Host header is read nowhere: paths come from the request line, the client's address from the connection (or from the
trusted proxies, which the server resolved before).

What the layer leaves in `scope["state"]` for those inside:
`request_id`         ours, `req_...`: the ledger's id
`client_request_id`  the client's own `x-request-id` where it is well formed, else None
`log`                a dict: what is put there goes into the access record
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.core.errors import GatewayFault
from gateway.logs import Field
from gateway.sources import Clock, new_request_id

RawHeaders = list[tuple[bytes, bytes]]

EXPOSED_HEADERS = (
    b"x-request-id, request-id, retry-after, retry-after-ms, x-should-retry, x-gateway-cost-usd, "
    b"x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    b"x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens"
)
ALLOWED_HEADERS = (
    b"authorization, content-type, accept, x-api-key, api-key, x-goog-api-key, x-goog-api-client, anthropic-version, "
    b"anthropic-beta, anthropic-dangerous-direct-browser-access, openai-beta, x-request-id"
)
ALLOWED_METHODS = b"GET, POST, DELETE, OPTIONS"
_PREFLIGHT_SECONDS = b"7200"  # the longest that Chromium keeps an answer
_SHARED_PREFIXES = (
    "/v1/", "/v1beta/", "/openai/", "/claude/", "/anthropic/", "/google/", "/gemini/", "/billing/", "/dashboard/",
)  # fmt: skip
_ADMINISTRATION = re.compile(r"/organization(/|$)")
_WELL_FORMED_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_HEADER_NAMES = re.compile(rb"[A-Za-z0-9-]{1,64}( ?, ?[A-Za-z0-9-]{1,64}){0,63}")
_QUIET_PATHS = frozenset(("/healthz", "/readyz"))  # asked every few seconds; only their failures are news
_MAX_LOGGED_PATH = 512


class EventSink(Protocol):
    """Where access records go: `logs.Log`."""

    def event(self, fields: Mapping[str, Field]) -> None:
        """Write one record."""


class Cors:
    """Which browser pages may read answers: those of `allowed_origins`, on the data plane and the own-usage URLs.

    `*` allows every origin. Administration and operations are never shared. No answer ever allows cookies: a key in a
    header is the only credential, so echoing what a preflight asks for gives nothing away.
    """

    def __init__(self, allowed_origins: tuple[str, ...]) -> None:
        self._any = "*" in allowed_origins
        self._origins = frozenset(origin.encode() for origin in allowed_origins)

    def allows(self, path: str, origin: bytes) -> bool:
        """Tell whether a page of `origin` may call `path`."""
        if not path.startswith(_SHARED_PREFIXES) or _ADMINISTRATION.search(path):
            return False
        return self._any or origin in self._origins

    def headers(self, path: str, origin: bytes) -> RawHeaders:
        """Return what every answer to a page of `origin` carries."""
        if not self.allows(path, origin):
            return [] if self._any else [(b"vary", b"origin")]
        exposed = (b"access-control-expose-headers", EXPOSED_HEADERS)
        if self._any:
            return [(b"access-control-allow-origin", b"*"), exposed]
        return [(b"access-control-allow-origin", origin), exposed, (b"vary", b"origin")]

    def preflight_headers(self, asked_headers: bytes) -> RawHeaders:
        """Return what an allowed preflight carries beside `headers`; `asked_headers` is what the page wants to send."""
        also = b", " + asked_headers if _HEADER_NAMES.fullmatch(asked_headers) else b""
        return [
            (b"access-control-allow-methods", ALLOWED_METHODS),
            (b"access-control-allow-headers", ALLOWED_HEADERS + also),
            (b"access-control-max-age", _PREFLIGHT_SECONDS),
        ]


class AccessLog:
    """Writes one record per request. Never the query string: Gemini clients send their key in it."""

    def __init__(self, sink: EventSink, clock: Clock) -> None:
        self.clock = clock
        self._sink = sink

    def write(self, scope: Scope, answer: "Answer", seconds: float) -> None:
        """Record that `scope` was answered, with the fields which the endpoint left in `scope["state"]["log"]`."""
        path = scope["path"]
        if path in _QUIET_PATHS and answer.status < 400:
            return
        state = scope["state"]
        client = scope["client"]
        self._sink.event(
            {
                "at": self.clock.now(),
                "event": "request",
                "request_id": state["request_id"],
                "client_request_id": state["client_request_id"],
                "method": scope["method"],
                "path": path if len(path) <= _MAX_LOGGED_PATH else path[:_MAX_LOGGED_PATH],
                "status": answer.status,
                "complete": answer.complete,
                "duration_ms": round(seconds * 1000, 3),
                "bytes": answer.body_bytes,
                "client": client[0] if client else None,
                **state["log"],
            }
        )


class Answer:
    """One answer on its way out: adds our headers to its start and remembers what the access record needs."""

    __slots__ = ("_headers", "_send", "body_bytes", "complete", "status")

    def __init__(self, send: Send, headers: RawHeaders) -> None:
        self.status = 0  # 0: nothing was answered, the client had left
        self.body_bytes = 0
        self.complete = False
        self._send = send
        self._headers = headers

    def send(self, message: Message) -> Awaitable[None]:
        """Pass one ASGI message on. Not a coroutine itself: one less to run per chunk."""
        if message["type"] == "http.response.body":
            self.body_bytes += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
        elif message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._headers]
        return self._send(message)


class Edge:
    """The outermost layer. Gives each request its id, answers preflights, records each answer."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        cors: Cors,
        access_log: AccessLog,
        new_id: Callable[[], str] = new_request_id,
    ) -> None:
        self._app = app
        self._cors = cors
        self._access_log = access_log
        self._new_id = new_id
        self._monotonic = access_log.clock.monotonic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = self._monotonic()
        client_id, origin = _asked(scope["headers"])
        request_id = self._new_id()
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        state["client_request_id"] = client_id
        state["log"] = {}
        # The second is where Anthropic's SDKs look for it.
        headers = [(b"x-request-id", request_id.encode()), (b"request-id", request_id.encode())]
        if origin is not None:
            headers += self._cors.headers(scope["path"], origin)
        answer = Answer(send, headers)
        try:
            if origin is None or not await self._answer_preflight(scope, origin, answer):
                await self._app(scope, receive, answer.send)
        except Exception:
            # A bug of ours that nothing inside turned into an answer. The server logs it and closes the connection.
            if answer.status == 0:
                await _send_fault(answer)
            raise
        finally:
            self._access_log.write(scope, answer, self._monotonic() - started)

    async def _answer_preflight(self, scope: Scope, origin: bytes, answer: Answer) -> bool:
        """Answer an allowed preflight, without a key because browsers send none. False: it is another request."""
        if scope["method"] != "OPTIONS" or not self._cors.allows(scope["path"], origin):
            return False
        asked = dict(scope["headers"])
        if b"access-control-request-method" not in asked:
            return False
        headers = self._cors.preflight_headers(asked.get(b"access-control-request-headers", b""))
        await answer.send({"type": "http.response.start", "status": 204, "headers": headers})
        await answer.send({"type": "http.response.body", "body": b"", "more_body": False})
        return True


def _asked(headers: RawHeaders) -> tuple[str | None, bytes | None]:
    """Return the client's own request id where it is well formed, and the page's origin."""
    client_id = origin = None
    for name, value in headers:
        if name == b"x-request-id":
            client_id = value.decode("ascii") if _WELL_FORMED_ID.fullmatch(value) else None
        elif name == b"origin":
            origin = value
    return client_id, origin


async def _send_fault(answer: Answer) -> None:
    fault = GatewayFault()
    error = {"message": fault.message, "type": fault.kind, "param": None, "code": fault.code}
    body = msgspec.json.encode({"error": error})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await answer.send({"type": "http.response.start", "status": fault.status, "headers": headers})
    await answer.send({"type": "http.response.body", "body": body, "more_body": False})
