"""The headers that an error of ours carries in every dialect: what the official SDKs read to wait or to stop."""

from gateway.core.errors import GatewayError


def error_headers(error: GatewayError) -> list[tuple[bytes, bytes]]:
    """Return `retry-after` in whole seconds, `retry-after-ms`, `x-should-retry` and, on 401, `www-authenticate`."""
    headers: list[tuple[bytes, bytes]] = []
    if error.retry_after_seconds is not None:
        milliseconds = max(int(error.retry_after_seconds * 1000), 1)
        headers.append((b"retry-after", b"%d" % -(-milliseconds // 1000)))
        headers.append((b"retry-after-ms", b"%d" % milliseconds))
    if error.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers
