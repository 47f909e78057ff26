"""The headers that an error of ours carries in every dialect: what the official SDKs read to wait or to stop."""

import math

from gateway.core.errors import GatewayError


def error_headers(error: GatewayError) -> list[tuple[bytes, bytes]]:
    """Return `retry-after` in whole seconds, `retry-after-ms`, `x-should-retry` and, on 401, `www-authenticate`."""
    headers: list[tuple[bytes, bytes]] = []
    if error.retry_after_seconds is not None:
        headers += retry_after_headers(error.retry_after_seconds)
    if error.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers


def retry_after_headers(seconds: float) -> list[tuple[bytes, bytes]]:
    """Return the time to wait, in whole seconds and in milliseconds."""
    milliseconds = whole_milliseconds(seconds)
    return [(b"retry-after", b"%d" % -(-milliseconds // 1000)), (b"retry-after-ms", b"%d" % milliseconds)]


def whole_milliseconds(seconds: float) -> int:
    """Round a time to wait up, at least to 1: who comes back a moment early is refused again."""
    return max(math.ceil(seconds * 1000), 1)
