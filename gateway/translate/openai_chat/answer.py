"""How an answer is said in OpenAI's words: a whole completion, the chunks of a stream, the figures, an error.

An answer of another provider has the id of our call, so that it can be found on the ledger, and the model by the name
that the client asked for. What OpenAI has no field for stands in fields that other servers of this dialect have too:
`reasoning_content`, `thinking_blocks`, `extra_content`, and `native_finish_reason` where the reason lost its meaning.
"""

from collections.abc import Mapping, Sequence

import msgspec

from gateway.core.call import Call, ErrorAnswer, Stamp
from gateway.core.errors import UpstreamFailed
from gateway.core.usage import Usage

DONE = b"data: [DONE]\n\n"
_TOO_LONG = ("prompt is too long", "exceeds the maximum number of tokens", "exceed context limit")


class Finish(msgspec.Struct, frozen=True):
    """Why an answer ended, in OpenAI's word, and in the provider's own where that says more."""

    reason: str
    native: str | None = None


class Choice(msgspec.Struct, frozen=True):
    """One whole answer."""

    index: int
    message: Mapping[str, object]
    finish: Finish
    logprobs: Mapping[str, object] | None = None


def completion(call: Call, stamp: Stamp, choices: Sequence[Choice], usage: Usage | None) -> bytes:
    """Return a whole completion."""
    body: dict[str, object] = {
        "id": _id(stamp),
        "object": "chat.completion",
        "created": stamp.asked_at,
        "model": call.model,
        "choices": [_choice(choice) for choice in choices],
    }
    if usage is not None:
        body["usage"] = usage_block(usage)
    return msgspec.json.encode(body)


class Chunks:
    """Writes the events of one stream."""

    __slots__ = ("_head", "_tail", "_wants_usage")

    def __init__(self, call: Call, stamp: Stamp) -> None:
        head = {
            "id": _id(stamp),
            "object": "chat.completion.chunk",
            "created": stamp.asked_at,
            "model": call.model,
        }
        self._wants_usage = call.wants_usage
        self._head = b"data: " + msgspec.json.encode(head)[:-1]
        self._tail = b'}],"usage":null}\n\n' if self._wants_usage else b"}]}\n\n"

    def delta(self, delta: Mapping[str, object], index: int = 0, logprobs: Mapping[str, object] | None = None) -> bytes:
        """Return an event in which a choice goes on."""
        return b'%b,"choices":[{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":null%b' % (
            self._head, index, msgspec.json.encode(delta), msgspec.json.encode(logprobs), self._tail,
        )  # fmt: skip

    def end(self, finish: Finish, index: int = 0) -> bytes:
        """Return the event in which a choice ends."""
        native = b'"native_finish_reason":%b,' % msgspec.json.encode(finish.native) if finish.native else b""
        return b'%b,"choices":[{"index":%d,"delta":{},"logprobs":null,%b"finish_reason":%b%b' % (
            self._head, index, native, msgspec.json.encode(finish.reason), self._tail,
        )  # fmt: skip

    def last(self, usage: Usage | None) -> bytes:
        """Return what ends the stream: the figures, if the client asked for them, and the mark."""
        if usage is None or not self._wants_usage:
            return DONE
        return b'%b,"choices":[],"usage":%b}\n\n%b' % (self._head, msgspec.json.encode(usage_block(usage)), DONE)


def usage_block(usage: Usage) -> dict[str, object]:
    """Return the figures of the ledger in OpenAI's words: cached and written tokens are parts of the prompt."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens + usage.cache_write_1h_tokens,
            "audio_tokens": usage.input_audio_tokens,
            "image_tokens": usage.input_image_tokens,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": usage.output_audio_tokens,
        },
    }


def error_answer(status: int, message: str | None, retry_after_seconds: float | None = None) -> ErrorAnswer:
    """Return a provider's error with its message; `type` and `code` are OpenAI's for its status."""
    return ErrorAnswer(_error(status, message or f"The provider answered with status {status}."), retry_after_seconds)


def error_event(status: int, message: str) -> bytes:
    """Return an error that a provider sent in the middle of its stream."""
    return b"data: %b\n\n" % _error(status, message)


def broken(what: str) -> UpstreamFailed:
    """Return the error for an answer that cannot be translated."""
    return UpstreamFailed(f"The provider's answer {what}.", code="upstream_broken", sent=True)


def _error(status: int, message: str) -> bytes:
    kind, code = _kind_of(status)
    param = None
    if status in (400, 413) and any(sign in message for sign in _TOO_LONG):
        code, param = "context_length_exceeded", "messages"
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})


def _kind_of(status: int) -> tuple[str, str | None]:
    """Return OpenAI's type and code for a status."""
    match status:
        case 404:
            return "invalid_request_error", "model_not_found"
        case 413:
            return "invalid_request_error", "request_too_large"
        case 429:
            return "requests", "rate_limit_exceeded"
        case 503 | 529:
            return "service_unavailable_error", "server_is_overloaded"
        case _:
            return ("server_error" if status >= 500 else "invalid_request_error"), None


def _choice(choice: Choice) -> dict[str, object]:
    said: dict[str, object] = {
        "index": choice.index,
        "message": choice.message,
        "logprobs": choice.logprobs,
        "finish_reason": choice.finish.reason,
    }
    if choice.finish.native is not None:
        said["native_finish_reason"] = choice.finish.native
    return said


def _id(stamp: Stamp) -> str:
    return "chatcmpl-" + stamp.request_id.removeprefix("req_")
