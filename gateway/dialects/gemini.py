"""Gemini's dialect: its errors, its two spellings of every field, and what its query says.

Shapes: https://ai.google.dev/api, python-genai's types, and Google's error model (https://google.aip.dev/193).
"""

import re
from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import parse_qsl, quote

import msgspec

from gateway.core.call import Call, Head
from gateway.core.errors import GatewayError, InvalidRequest, NotFound
from gateway.dialects.error_headers import whole_milliseconds

VERSIONS = ("v1", "v1beta")
MOST_TOKENS = 2**31
"""A thousand times the largest context window there is."""
_STATUSES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "UNAVAILABLE",
}
"""Google's words for our statuses; whatever else we refuse is an INVALID_ARGUMENT."""
_DETAIL = "type.googleapis.com/google.rpc."
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,255}")
# Wherever one of these stands, the size of the body does not bound its tokens; an escaped letter could hide one.
_FOREIGN_SIGNS = (b"fileData", b"file_data", b"cachedContent", b"cached_content", b"\\u00")
_UNSEEN_SIGNS = (b"inlineData", b"inline_data", *_FOREIGN_SIGNS)
_SOUND_SIGNS = (b"audio", b"AUDIO", b"video", *_FOREIGN_SIGNS)
_DECORATION = frozenset({"prettyPrint", "$prettyPrint"})
"""Parameters of every Google API that change nothing but the look of an answer."""
T = TypeVar("T")


class Detail(msgspec.Struct, gc=False):
    """One of an error's `details`: `google.rpc.ErrorInfo` names a reason, `RetryInfo` a time to wait."""

    type: str = msgspec.field(default="", name="@type")
    reason: str | None = None


class ErrorDetail(msgspec.Struct, gc=False):
    """`error` of an error answer."""

    message: str | None = None
    status: str | None = None
    details: list[Detail] | None = None


class ErrorAnswer(msgspec.Struct, gc=False):
    """An error answer; a stream that was to be an array begins one."""

    error: ErrorDetail | None = None


_errors = msgspec.json.Decoder(ErrorAnswer | list[ErrorAnswer])
_OUR_REASONS = re.compile(
    r"API_KEY|BILLING|SERVICE_DISABLED|CONSUMER|ACCESS_TOKEN|CREDENTIALS|PROJECT|LOCATION|ACCOUNT"
)
"""In the reasons of google.api.ErrorReason that are about a key, a project or its bill."""
_ABOUT_OUR_ACCOUNT = ("api key", "billing", "project", "location", "country", "region", "consumer", "blocked")
_OUR_BILL = ("prepayment", "credits", "spending cap", "spend cap", "spend limit")
"""An empty account; every other 429 is about a rate, and waiting helps."""


class Gemini:
    """How Google's clients expect errors."""

    name = "gemini"

    def error_body(self, error: GatewayError, _request_id: str) -> bytes:
        """Render `{"error": {code, message, status, details}}`; our own code is the reason in `details`."""
        details: list[dict[str, object]] = []
        if error.code is not None:
            details.append({"@type": f"{_DETAIL}ErrorInfo", "reason": error.code, "domain": "gateway"})
        if error.param is not None:
            violation = {"field": error.param, "description": error.message}
            details.append({"@type": f"{_DETAIL}BadRequest", "fieldViolations": [violation]})
        if error.retry_after_seconds is not None:
            seconds = f"{whole_milliseconds(error.retry_after_seconds) / 1000:.3f}s"
            details.append({"@type": f"{_DETAIL}RetryInfo", "retryDelay": seconds})
        status = _STATUSES.get(error.status, "INVALID_ARGUMENT")
        said = {"code": error.status, "message": error.message, "status": status}
        return msgspec.json.encode({"error": said | {"details": details} if details else said})

    def error_event(self, error: GatewayError, request_id: str) -> bytes:
        """Render the event on which the SDKs raise."""
        return b"data: " + self.error_body(error, request_id) + b"\r\n\r\n"

    def blames_our_account(self, status: int, body: bytes) -> bool:
        """Tell whether a provider's error is about the gateway's key or bill, so that no caller can mend it.

        Google answers a bad key with 400, a place it does not serve with 400, and an empty account with 429.
        """
        if status in (401, 402):
            return True
        if status not in (400, 403, 429):
            return False
        detail = _error_of(body)
        if detail is None:
            return status == 403
        if any(_OUR_REASONS.search(each.reason or "") for each in detail.details or ()):
            return True
        message = (detail.message or "").lower()
        if status == 429:
            return any(words in message for words in _OUR_BILL)
        if status == 400:
            return "api key" in message or detail.status == "FAILED_PRECONDITION"
        return not message or any(words in message for words in _ABOUT_OUR_ACCOUNT)


GEMINI = Gemini()


def _error_of(body: bytes) -> ErrorDetail | None:
    try:
        answer: ErrorAnswer | list[ErrorAnswer] = _errors.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return None
    if isinstance(answer, list):
        return answer[0].error if answer else None
    return answer.error


def read_model(head: Head) -> str:
    """Return the model that the path names. Raises NotFound for a name that no model can have."""
    model = head.parameters["model"]
    if _MODEL.fullmatch(model) is None:
        raise NotFound(
            f"There is no model `{model[:64]}`: names have letters, digits, dots, dashes and underscores.",
            code="model_not_found",
            param="model",
        )
    return model


def asks_events(head: Head, *, streams: bool) -> bool:
    """Read the query: tell whether a stream is to come as server-sent events. Raises InvalidRequest.

    Nothing of it is passed on: `fields`, which would cut the figures off an answer, is refused like any other.
    """
    events = False
    for name, value in parse_qsl(head.query.decode("latin-1"), keep_blank_values=True):
        if name in ("alt", "$alt") and ((value == "sse" and streams) or value.split(";")[0] == "json"):
            events = value == "sse"
        elif name not in _DECORATION:
            offered = "`alt=sse` or `alt=json`" if streams else "`alt=json`"
            raise InvalidRequest(
                f"The query's `{name[:64]}` is not served here; it may have {offered}.", param=name[:64]
            )
    return events


def is_text_only(body: bytes) -> bool:
    """Tell whether the body's size in bytes bounds the tokens of what it holds."""
    return _has_none(body, _UNSEEN_SIGNS)


def may_sound(body: bytes) -> bool:
    """Tell whether there may be sound in the prompt or in the answer, which has a price of its own."""
    return not _has_none(body, _SOUND_SIGNS)


def _has_none(body: bytes, signs: Sequence[bytes]) -> bool:
    for sign in signs:  # noqa: SIM110 - a generator costs more than all of its turns, and `in` more than `find`
        if body.find(sign) >= 0:
            return False
    return True


def place(version: str, call: Call, verb: str) -> str:
    """Return the path of an operation below the upstream's base URL."""
    return f"/{version}/models/{quote(call.model, safe='')}:{verb}"


def check_same_model(named: str | None, call_model: str) -> None:
    """Raise InvalidRequest for a body that names another model than the path."""
    if named is not None and named.removeprefix("models/") != call_model:
        raise InvalidRequest(
            f"The body names the model `{named[:64]}` and the path `{call_model}`; name it in the path alone.",
            param="model",
        )


def one_spelling(first: T | None, second: T | None, name: str) -> T | None:
    """Return a field that Google reads in two spellings. Raises InvalidRequest where it has both."""
    if first is None:
        return second
    if second is not None:
        raise InvalidRequest(f"`{name}` stands in the body twice, in two spellings; send it once.", param=name)
    return first


def decisive(*names: str) -> Sequence[bytes]:
    """Return fields in both spellings, quoted as they stand in a body."""
    snake = [re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name) for name in names]
    return tuple(f'"{name}"'.encode() for name in dict.fromkeys((*names, *snake)))
