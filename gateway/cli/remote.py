"""Administration over HTTP: the same handlers, asked of a running gateway with an admin key.

The key comes from GATEWAY_ADMIN_KEY, never from the command line, where other users of the machine could read it. No
redirect is followed: the key is for the gateway that was named.
"""

import asyncio
import http.client
import re
import ssl
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from gateway.admin.boundary import AdminRoute
from gateway.admin.table import ROUTES
from gateway.cli.asking import Handler, Office, present
from gateway.cli.failures import CommandError, Exit
from gateway.core.errors import GatewayError, InvalidRequest, NotFound

T = TypeVar("T")

KEY_VARIABLE = "GATEWAY_ADMIN_KEY"
TIMEOUT_SECONDS = 60
_FIELD = re.compile(r"{(\w+)}")
_ROUTES = {(route.handler, frozenset(_FIELD.findall(route.path))): route for route in ROUTES}
"""Routes by what they are asked: one handler answers for the organization and, with its id in the path, a project."""


class ErrorDetail(msgspec.Struct):
    """OpenAI's error."""

    message: str
    code: str | None = None
    param: str | None = None


class ErrorBody(msgspec.Struct):
    """Its envelope."""

    error: ErrorDetail


class Refused(GatewayError):
    """What the gateway answered instead: its status and its words."""

    def __init__(self, status: int, detail: ErrorDetail) -> None:
        super().__init__(detail.message, code=detail.code, param=detail.param)
        self.status = status


class RemoteOffice(Office):
    """A running gateway. `host` may have a port; requests are sent one after the other."""

    def __init__(self, host: str, prefix: str, key: str, *, tls: bool) -> None:
        self._host = host
        self._prefix = prefix
        self._headers = {"authorization": f"Bearer {key}", "accept": "application/json"}
        self._tls = ssl.create_default_context() if tls else None

    @classmethod
    def at(cls, url: str, environment: Mapping[str, str]) -> "RemoteOffice":
        """Return the gateway at a URL, with or without `/v1`. Raises CommandError."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise CommandError(f"--url: `{url}` is not like https://gateway.example.com", Exit.WRONG_USAGE)
        key = environment.get(KEY_VARIABLE, "").strip()
        if not key:
            raise CommandError(f"--url needs an admin key: set {KEY_VARIABLE}.", Exit.WRONG_USAGE)
        return cls(parts.netloc, parts.path.rstrip("/").removesuffix("/v1"), key, tls=parts.scheme == "https")

    async def ask(
        self,
        handler: Handler[T],
        path: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> T:
        """Send the request that this handler answers."""
        route = _ROUTES[handler, frozenset(path or ())]
        answer: T = await asyncio.to_thread(self._exchange, route, path or {}, present(query), present(body))
        return answer

    def _exchange(
        self,
        route: AdminRoute[Any, Any],
        path: Mapping[str, str],
        query: Mapping[str, object],
        body: Mapping[str, object],
    ) -> Any:
        target = self._prefix + route.path.format(**{name: quote(value, safe="") for name, value in path.items()})
        if query:
            target += "?" + urlencode(query, doseq=True)
        content = msgspec.json.encode(body) if route.method == "POST" else None
        status, data = self._send(route.method, target, content)
        try:
            if status == http.client.OK:
                return msgspec.json.decode(data, type=route.answers)
            detail = msgspec.json.decode(data, type=ErrorBody).error
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise CommandError(f"{self._host} answered {status}, but not as a gateway of this version does.") from None
        raise _error(status, detail)

    def _send(self, method: str, target: str, content: bytes | None) -> tuple[int, bytes]:
        connection: http.client.HTTPConnection
        if self._tls is None:
            connection = http.client.HTTPConnection(self._host, timeout=TIMEOUT_SECONDS)
        else:
            connection = http.client.HTTPSConnection(self._host, timeout=TIMEOUT_SECONDS, context=self._tls)
        try:
            connection.request(method, target, content, self._headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise CommandError(f"No gateway answers at {self._host}: {error or type(error).__name__}.") from error
        finally:
            connection.close()


def _error(status: int, detail: ErrorDetail) -> GatewayError:
    match status:
        case http.client.NOT_FOUND:
            return NotFound(detail.message, code=detail.code, param=detail.param)
        case http.client.BAD_REQUEST:
            return InvalidRequest(detail.message, code=detail.code, param=detail.param)
        case _:
            return Refused(status, detail)
