"""Anthropic's dialect: how its errors look, and which of them are about our own account there.

Sources: https://platform.claude.com/docs/en/api/errors and anthropic-sdk-python's types.
"""

import msgspec

from gateway.core.errors import GatewayError

_KINDS = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    508: "invalid_request_error",
    529: "overloaded_error",
}
"""Anthropic's words for statuses; any other one is the caller's fault below 500."""


def kind_of(status: int) -> str:
    """Return the type of an error."""
    return _KINDS.get(status) or ("invalid_request_error" if status < 500 else "api_error")


class _Details(msgspec.Struct, gc=False):
    """`details` of an error: a stable code of its cause."""

    error_code: str | None = None


class _ErrorDetail(msgspec.Struct, gc=False):
    """`error` of an error answer."""

    message: str | None = None
    details: _Details | None = None


class _ErrorAnswer(msgspec.Struct, gc=False):
    """An error answer."""

    error: _ErrorDetail | None = None


_errors = msgspec.json.Decoder(_ErrorAnswer)
_OUR_BILL = ("credit balance is too low", "api usage limits", "spend limit")
_OUR_BILL_CODES = frozenset(
    {
        "contract_spend_limit_reached", "enforced_spend_limit_reached", "linked_organization_billing_unavailable",
        "linked_organization_spend_limit_reached", "organization_on_hold",
    }
)  # fmt: skip


class Anthropic:
    """How Anthropic's clients expect errors."""

    name = "anthropic"

    def error_body(self, error: GatewayError, request_id: str) -> bytes:
        """Render Anthropic's envelope; our own code is where its SDKs look for one, in `details.error_code`."""
        detail: dict[str, object] = {
            "type": kind_of(error.status),
            "message": error.message,
        }
        if error.code is not None:
            detail["details"] = {"error_code": error.code}
        return msgspec.json.encode({"type": "error", "error": detail, "request_id": request_id})

    def error_event(self, error: GatewayError, request_id: str) -> bytes:
        """Render the event on which the SDKs raise."""
        return b"event: error\ndata: " + self.error_body(error, request_id) + b"\n\n"

    def blames_our_account(self, status: int, body: bytes) -> bool:
        """Tell whether a provider's error is about the gateway's key or bill, so that no caller can mend it.

        True for every 401, 402 and 403, and for a 400 or 429 about an empty balance or a spend limit.
        """
        if status in (401, 402, 403):
            return True
        if status not in (400, 429):
            return False
        try:
            detail = _errors.decode(body).error or _ErrorDetail()
        except (msgspec.MsgspecError, RecursionError):
            return False
        if detail.details is not None and detail.details.error_code in _OUR_BILL_CODES:
            return True
        return any(words in (detail.message or "").lower() for words in _OUR_BILL)


ANTHROPIC = Anthropic()
