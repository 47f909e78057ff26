"""Gemini's whole answers and errors as Anthropic's clients expect them."""

from collections.abc import Sequence

from gateway.core.call import Call, ErrorAnswer, Stamp
from gateway.core.usage import Usage
from gateway.translate.anthropic_messages.answer import (
    Block,
    End,
    Ids,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    as_object,
    broken,
    error_answer,
    message,
)
from gateway.translate.anthropic_to_gemini.signatures import shown
from gateway.translate.gemini_content.answer import (
    FILTERS,
    Part,
    PromptFeedback,
    error_in,
    read,
    retry_delay,
)


def whole_answer(body: bytes, call: Call, stamp: Stamp, usage: Usage | None, *, thinks: bool) -> bytes:
    """Return a message. Raises UpstreamFailed for what is no answer of Gemini's."""
    answer = read(body)
    if answer is None or (answer.candidates is None and answer.prompt_feedback is None):
        raise broken("is not what Google's API promises")
    if not answer.candidates:
        return message(call, stamp, [], blocked(answer.prompt_feedback), usage)
    candidate = answer.candidates[0]
    parts = candidate.content.parts or [] if candidate.content is not None else []
    called = any(part.function_call is not None for part in parts)
    content = _content(parts, Ids(stamp), thinks=thinks)
    return message(call, stamp, content, end_of(candidate.finish_reason, called=called), usage)


def error_of(status: int, body: bytes, stamp: Stamp) -> ErrorAnswer:
    """Return an error in Anthropic's shape, and when to come back where Google says so."""
    error = error_in(body)
    if error is None:
        return error_answer(status, None, stamp)
    return error_answer(status, error.message, stamp, retry_delay(error))


def end_of(reason: str | None, *, called: bool) -> End:
    """Return Anthropic's word for why an answer ended; one that calls a function ends with STOP too."""
    if reason == "MAX_TOKENS":
        return End("max_tokens")
    if reason in FILTERS:
        return End("refusal", reason)
    return End("tool_use" if called else "end_turn")


def blocked(feedback: PromptFeedback | None) -> End:
    """Return the end of an answer that never began."""
    told = (feedback.block_reason_message or feedback.block_reason) if feedback is not None else None
    return End("refusal", told)


def _content(parts: Sequence[Part], ids: Ids, *, thinks: bool) -> list[Block]:
    """Return the blocks. The signature of a call is shown on the thoughts before it."""
    content: list[Block] = []
    for part in parts:
        if part.function_call is not None:
            call = part.function_call
            if thinks and part.thought_signature:
                _sign(content, shown(part.thought_signature))
            content.append(ToolUseBlock(ids.of(call.id), call.name, as_object(bytes(call.args))))
        elif part.thought and part.text and thinks:
            _add_thought(content, part.text)
        elif part.text and not part.thought:
            _add_text(content, part.text)
    return content


def _add_text(content: list[Block], text: str) -> None:
    match content:
        case [*_, TextBlock(text=said)]:
            content[-1] = TextBlock(said + text)
        case _:
            content.append(TextBlock(text))


def _add_thought(content: list[Block], text: str) -> None:
    match content:
        case [*_, ThinkingBlock(thinking=thought, signature="")]:
            content[-1] = ThinkingBlock(thought + text)
        case _:
            content.append(ThinkingBlock(text))


def _sign(content: list[Block], signature: str) -> None:
    match content:
        case [*_, ThinkingBlock(thinking=thought, signature="")]:
            content[-1] = ThinkingBlock(thought, signature)
        case _:
            content.append(ThinkingBlock("", signature))
