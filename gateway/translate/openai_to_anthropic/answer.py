"""Claude's whole answers and errors in OpenAI's words. Shapes: anthropic-sdk-python's types."""

from collections.abc import Mapping

import msgspec

from gateway.core.call import Call, ErrorAnswer, Stamp
from gateway.core.usage import Usage
from gateway.translate.openai_chat.answer import Choice, Finish, broken, completion, error_answer

_FINISHES: Mapping[str, Finish] = {
    "end_turn": Finish("stop"),
    "stop_sequence": Finish("stop"),
    "tool_use": Finish("tool_calls"),
    "max_tokens": Finish("length"),
    "model_context_window_exceeded": Finish("length", "model_context_window_exceeded"),
    "refusal": Finish("content_filter", "refusal"),
}
STATUSES: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""Anthropic's types of errors: in the middle of a stream there is no other status."""


class StopDetails(msgspec.Struct, gc=False):
    """More about why Claude stopped."""

    explanation: str | None = None


class Block(msgspec.Struct, gc=False):
    """One content block of any type; what is of other types is not for OpenAI's clients."""

    type: str
    text: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")
    thinking: str = ""
    signature: str = ""
    data: str = ""


class Message(msgspec.Struct, gc=False):
    """A whole answer."""

    content: list[Block]
    stop_reason: str | None = None
    stop_details: StopDetails | None = None


class Error(msgspec.Struct, gc=False):
    """What went wrong."""

    type: str = "api_error"
    message: str = ""


class ErrorBody(msgspec.Struct, gc=False):
    """An error answer."""

    error: Error


_messages = msgspec.json.Decoder(Message)
_errors = msgspec.json.Decoder(ErrorBody)


def whole_answer(body: bytes, call: Call, stamp: Stamp, usage: Usage | None) -> bytes:
    """Return a completion. Raises UpstreamFailed for what is no message of Claude's."""
    try:
        answer = _messages.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        raise broken("is not what Anthropic's API promises") from None
    message = _message(answer)
    return completion(call, stamp, [Choice(0, message, finish_of(answer.stop_reason))], usage)


def error_of(status: int, body: bytes) -> ErrorAnswer:
    """Return an error in OpenAI's shape."""
    try:
        message = _errors.decode(body).error.message
    except (msgspec.MsgspecError, RecursionError):
        message = ""
    return error_answer(status, message)


def finish_of(stop_reason: str | None) -> Finish:
    """Return OpenAI's word for why Claude stopped."""
    return _FINISHES.get(stop_reason or "end_turn") or Finish("stop", stop_reason)


def thinking_block(block: Block) -> dict[str, object]:
    """Return a block as the client must send it back."""
    if block.type == "thinking":
        return {"type": "thinking", "thinking": block.thinking, "signature": block.signature}
    return {"type": "redacted_thinking", "data": block.data}


def _message(answer: Message) -> dict[str, object]:
    texts = [block.text for block in answer.content if block.type == "text"]
    calls = [_tool_call(block) for block in answer.content if block.type == "tool_use"]
    thoughts = [block for block in answer.content if block.type in ("thinking", "redacted_thinking")]
    refusal = answer.stop_details.explanation if answer.stop_details is not None else None
    message: dict[str, object] = {
        "role": "assistant",
        "content": "".join(texts) if texts or not calls else None,
        "refusal": refusal,
    }
    if calls:
        message["tool_calls"] = calls
    if reasoning := "".join(block.thinking for block in thoughts):
        message["reasoning_content"] = reasoning
    if thoughts:
        message["thinking_blocks"] = [thinking_block(block) for block in thoughts]
    return message


def _tool_call(block: Block) -> dict[str, object]:
    arguments = bytes(block.input).decode()
    return {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": arguments}}
