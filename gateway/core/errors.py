"""Every way a request can fail, as one tree; each error knows its status, its words and whose fault it is.

    GatewayError
    ├── InvalidRequest        400  the caller's body, query or header; `param` names the field
    ├── InvalidKey            401  no key, or one that is malformed, unknown, expired, revoked, disabled
    ├── Forbidden             403  model_not_allowed, model_not_priced, insufficient_permissions
    ├── NotFound              404  route_not_served, model_not_found, and objects that are not the caller's
    ├── Conflict              409  the object's state or name does not allow the change
    ├── Gone                  410  a path of an earlier gateway; the message has the new one
    ├── BodyTooLarge          413
    ├── UnsupportedEncoding   415  a compressed request body
    ├── TooManyRequests       429  a limit, a budget, too many failed authentications
    ├── LoopDetected          508  a request that this gateway sent itself
    ├── UpstreamFailed        502, 503, 504  the provider: unreachable, too late, broken off, refused our key
    ├── ServiceUnavailable    503  ours: database away, draining, spool full, overloaded
    └── GatewayFault          500  a bug of ours

Dialects render them (`dialects/`); they are caught in the proxy's endpoint and in admin's error boundary, nowhere else.
"""

from enum import Enum


class Blame(Enum):
    """Whose fault an error is; the access record of a refused call says it."""

    CLIENT = "client"
    UPSTREAM = "upstream"
    GATEWAY = "gateway"


class GatewayError(Exception):
    """The root. `code` is the machine-readable word of design and docs; `message` is for a person.

    `retry_after_seconds` is the true time until a retry can succeed, None where there is none to tell.
    `should_retry` False adds `x-should-retry: false`, which stops the official SDKs from trying again.
    """

    status = 500
    kind = "server_error"
    blame = Blame.GATEWAY

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_seconds: float | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
        self.retry_after_seconds = retry_after_seconds
        self.should_retry = should_retry


class InvalidRequest(GatewayError):
    """What the caller sent cannot be served as it is."""

    status = 400
    kind = "invalid_request_error"
    blame = Blame.CLIENT


class InvalidKey(InvalidRequest):
    """The credential does not open anything. The message never echoes it."""

    status = 401

    def __init__(self, message: str) -> None:
        super().__init__(message, code="invalid_api_key")


class Forbidden(InvalidRequest):
    """The key is good; it may not do this."""

    status = 403


class NotFound(InvalidRequest):
    """No such route, model or object for this caller."""

    status = 404


class Conflict(InvalidRequest):
    """The change contradicts what is there."""

    status = 409


class Gone(InvalidRequest):
    """What was served here is served elsewhere now."""

    status = 410

    def __init__(self, message: str) -> None:
        super().__init__(message, code="gone")


class BodyTooLarge(InvalidRequest):
    """The body is over its cap."""

    status = 413

    def __init__(self, message: str) -> None:
        super().__init__(message, code="request_too_large")


class UnsupportedEncoding(InvalidRequest):
    """The body came compressed."""

    status = 415


class TooManyRequests(GatewayError):
    """A limit refuses. `kind` is `requests` or `tokens` for rate limits, `insufficient_quota` for budgets."""

    status = 429
    blame = Blame.CLIENT

    def __init__(
        self,
        message: str,
        *,
        kind: str = "requests",
        code: str = "rate_limit_exceeded",
        retry_after_seconds: float | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(message, code=code, retry_after_seconds=retry_after_seconds, should_retry=should_retry)
        self.kind = kind


class LoopDetected(InvalidRequest):
    """Our own hop header came back to us."""

    status = 508

    def __init__(self, message: str) -> None:
        super().__init__(message, code="loop_detected", should_retry=False)


class UpstreamFailed(GatewayError):
    """The provider's fault, or the way to it: upstream_refused, upstream_unreachable, upstream_timeout, no_upstream.

    `sent` tells whether the provider may have begun to work (and to charge) for the call.
    """

    kind = "upstream_error"
    blame = Blame.UPSTREAM

    def __init__(
        self, message: str, *, status: int = 502, code: str, sent: bool, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message, code=code, retry_after_seconds=retry_after_seconds)
        self.status = status
        self.sent = sent


class ServiceUnavailable(GatewayError):
    """We cannot serve now; the caller's key and request may be perfectly good."""

    status = 503
    kind = "service_unavailable_error"

    def __init__(self, message: str, *, retry_after_seconds: float = 2.0) -> None:
        super().__init__(message, code="service_unavailable", retry_after_seconds=retry_after_seconds)


class GatewayFault(GatewayError):
    """A bug of ours, reported without details; the log has them under the request id."""

    def __init__(self) -> None:
        super().__init__("The gateway failed on this request; its log has the details.", code="internal_error")
