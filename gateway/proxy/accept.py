"""Read the body, then parse it -> Call. Caps are checked by Content-Length first and by what really comes after."""

import re

from msgspec.structs import replace
from starlette.types import Receive, Scope

from gateway.core.call import Call, WireFormat
from gateway.core.errors import BodyTooLarge, InvalidRequest, NotFound, ServiceUnavailable, UnsupportedEncoding

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_QUERY = re.compile(r"[A-Za-z0-9_.%=&,\[\]-]{0,1024}")


class ClientLeft(Exception):
    """The client closed its connection before its request was complete."""


class BodyBudget:
    """Bounds the bytes of all request bodies in memory at once."""

    def __init__(self, max_bytes: int) -> None:
        self._free = max_bytes

    def take(self, size: int) -> None:
        """Raises ServiceUnavailable when that much is not free."""
        if size > self._free:
            raise ServiceUnavailable("The gateway is holding too many large requests; try again shortly.")
        self._free -= size

    def give_back(self, size: int) -> None:
        """Return what was taken."""
        self._free += size


async def accept(
    scope: Scope, receive: Receive, wire_format: WireFormat, max_body_bytes: int, budget: BodyBudget
) -> Call:
    """Return the call. Its body stays taken from the budget until the caller gives it back.

    Raises InvalidRequest and its kin, ServiceUnavailable, ClientLeft; then nothing stays taken.
    """
    _check_headers(scope, max_body_bytes)
    parts: list[bytes] = []
    try:
        await _read_body(receive, max_body_bytes, budget, parts)
        return wire_format.parse(parts[0] if len(parts) == 1 else b"".join(parts))
    except BaseException:
        budget.give_back(sum(map(len, parts)))
        raise


def _check_headers(scope: Scope, max_body_bytes: int) -> None:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > max_body_bytes:
            raise _too_large(max_body_bytes)
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise UnsupportedEncoding(
                "Compressed request bodies are not read; send the body as it is, without Content-Encoding.",
                code="unsupported_content_encoding",
            )


async def _read_body(receive: Receive, max_body_bytes: int, budget: BodyBudget, parts: list[bytes]) -> None:
    """Append what comes to `parts`; all that is in there was taken from the budget."""
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientLeft
        part: bytes = message.get("body", b"")
        if part:
            budget.take(len(part))
            parts.append(part)
            size += len(part)
        if size > max_body_bytes:
            raise _too_large(max_body_bytes)
        if not message.get("more_body", False):
            return


def _too_large(max_body_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request body is larger than the {max_body_bytes // 1_048_576} MiB that are accepted.")


def accept_reference(scope: Scope, wire_format: WireFormat) -> Call:
    """Return the call of a URL that names a thing at the provider. Raises NotFound for an id that cannot exist."""
    object_id: str = scope["path_params"]["id"]
    if _ID.fullmatch(object_id) is None:
        raise NotFound(f"There is no `{object_id[:64]}` here.")
    query = scope["query_string"].decode("latin-1")
    if _QUERY.fullmatch(query) is None:
        raise InvalidRequest("The query has characters that do not belong there.")
    return replace(wire_format.parse(b""), references=(object_id,), query=query)
