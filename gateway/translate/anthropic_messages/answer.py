"""How an answer is said in Anthropic's words: a whole message, its figures, an error.

An answer of another provider has the id of our call, so that it can be found on the ledger, and the model by the name
that the client asked for.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from gateway.core.call import Call, ErrorAnswer, Stamp
from gateway.core.errors import UpstreamFailed
from gateway.core.usage import Usage
from gateway.dialects.anthropic import kind_of

StopReason = Literal["end_turn", "max_tokens", "tool_use", "refusal"]
_TOO_LONG = ("context_length_exceeded", "maximum context length", "maximum number of tokens", "context window")


class TextBlock(msgspec.Struct, tag="text", frozen=True):
    """Something said."""

    text: str


class ThinkingBlock(msgspec.Struct, tag="thinking", frozen=True):
    """Something thought; the signature is for its provider to know it again."""

    thinking: str
    signature: str = ""


class ToolUseBlock(msgspec.Struct, tag="tool_use", frozen=True):
    """A call of a tool."""

    id: str
    name: str
    input: msgspec.Raw


Block = TextBlock | ThinkingBlock | ToolUseBlock


class End(msgspec.Struct, frozen=True):
    """Why an answer ended; `explanation` is what the provider says about a refusal."""

    reason: StopReason
    explanation: str | None = None

    @property
    def fields(self) -> dict[str, object]:
        """What a message and the end of a stream say of it."""
        details = {"type": "refusal", "category": None, "explanation": self.explanation}
        told: dict[str, object] = {"stop_reason": self.reason, "stop_sequence": None}
        return told | {"stop_details": details} if self.reason == "refusal" else told


def head_of(call: Call, stamp: Stamp) -> dict[str, object]:
    """Return what a message says of itself before it says anything."""
    id = "msg_" + stamp.request_id.removeprefix("req_")
    return {"id": id, "type": "message", "role": "assistant", "model": call.model}


def message(call: Call, stamp: Stamp, content: Sequence[Block], end: End, usage: Usage | None) -> bytes:
    """Return a whole message."""
    return msgspec.json.encode({**head_of(call, stamp), "content": content, **end.fields, "usage": usage_block(usage)})


def usage_block(usage: Usage | None) -> dict[str, object]:
    """Return the figures of the ledger in Anthropic's words: input is what no cache had to do with."""
    known = usage or Usage()
    writes = known.cache_write_tokens + known.cache_write_1h_tokens
    block: dict[str, object] = {
        "input_tokens": known.input_tokens - known.cached_tokens - writes,
        "cache_creation_input_tokens": writes,
        "cache_read_input_tokens": known.cached_tokens,
        "output_tokens": known.output_tokens,
    }
    if known.reasoning_tokens:
        block["output_tokens_details"] = {"thinking_tokens": known.reasoning_tokens}
    return block


class Ids:
    """Gives ids to calls that have none, the same whenever the same answer is read."""

    __slots__ = ("_given", "_stem")

    def __init__(self, stamp: Stamp) -> None:
        self._stem = stamp.request_id.removeprefix("req_")
        self._given = 0

    def of(self, id: str | None) -> str:
        """Return a call's own id, or one of ours."""
        if id:
            return id
        self._given += 1
        return f"toolu_{self._stem}_{self._given}"


def as_object(text: str | bytes) -> msgspec.Raw:
    """Return the arguments of a call as the object that Anthropic's clients expect, whatever the model wrote."""
    raw = text.encode() if isinstance(text, str) else text
    try:
        msgspec.json.decode(raw or b"{}", type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError):
        return msgspec.Raw(msgspec.json.encode({"arguments": raw.decode(errors="replace")}))
    return msgspec.Raw(raw or b"{}")


def error_answer(
    status: int, message: str | None, stamp: Stamp, retry_after_seconds: float | None = None
) -> ErrorAnswer:
    """Return a provider's error with its message; its type is Anthropic's for the status."""
    told = error_of(status, message or f"The provider answered with status {status}.")
    body = {"type": "error", "error": told, "request_id": stamp.request_id}
    return ErrorAnswer(msgspec.json.encode(body), retry_after_seconds)


def error_of(status: int, message: str) -> dict[str, str]:
    """Return an error's type and message. Claude Code sums a conversation up when it is told that a prompt is long."""
    if status in (400, 413) and any(sign in message for sign in _TOO_LONG):
        message = f"prompt is too long: {message}"
    return {"type": kind_of(status), "message": message}


def broken(what: str) -> UpstreamFailed:
    """Return the error for an answer that cannot be translated."""
    return UpstreamFailed(f"The provider's answer {what}.", code="upstream_broken", sent=True)
