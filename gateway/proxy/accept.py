"""Read the body, then parse it -> Call. Caps are checked by Content-Length first and by what really comes after."""

from collections.abc import Mapping

from starlette.types import Receive, Scope

from gateway.core.call import Call, Head, WireFormat
from gateway.core.errors import BodyTooLarge, InvalidRequest, ServiceUnavailable, UnsupportedEncoding
from gateway.dialects.json_body import without_lone_surrogates

NO_PARAMETERS: Mapping[str, str] = {}


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
        head = Head(scope.get("path_params", NO_PARAMETERS), scope["query_string"], scope["headers"])
        return _parsed(wire_format, parts[0] if len(parts) == 1 else b"".join(parts), head)
    except BaseException:
        budget.give_back(sum(map(len, parts)))
        raise


def _parsed(wire_format: WireFormat, body: bytes, head: Head) -> Call:
    """Parse; a JSON body that is refused is tried without lone surrogates, which nobody else looks for."""
    try:
        return wire_format.parse(body, head)
    except InvalidRequest:
        if not body.lstrip().startswith(b"{"):
            raise
        mended = without_lone_surrogates(body)
        if mended == body:
            raise
        return wire_format.parse(mended, head)


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
