"""Chat completions, whole or in chunks, as Anthropic's clients expect them. Shapes: openai-python's types."""

from collections.abc import Mapping

import msgspec

from gateway.core.call import Call, ErrorAnswer, Stamp
from gateway.core.usage import Usage
from gateway.dialects.chat_parts import Arguments, Content, arguments_text, thought, written
from gateway.translate.anthropic_messages.answer import (
    Block,
    End,
    Ids,
    StopReason,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    as_object,
    broken,
    error_answer,
    message,
)

_ENDS: Mapping[str, StopReason] = {"length": "max_tokens", "content_filter": "refusal", "tool_calls": "tool_use"}


class Function(msgspec.Struct, gc=False):
    """A function that the model calls, or a piece of that."""

    name: str | None = None
    arguments: Arguments = None


class ToolCall(msgspec.Struct, gc=False):
    """One of `tool_calls`, or a piece of one."""

    function: Function | None = None
    id: str | None = None
    index: int | None = None


class Said(msgspec.Struct, gc=False):
    """A message or a delta. Two fields have what other servers of this format tell of a model's thoughts."""

    content: Content = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCall] | None = None

    @property
    def thoughts(self) -> str:
        """What the model thought."""
        return self.reasoning_content or self.reasoning or thought(self.content)


class Choice(msgspec.Struct, gc=False):
    """An answer, or a piece of it."""

    message: Said | None = None
    delta: Said | None = None
    finish_reason: str | None = None


class Error(msgspec.Struct, gc=False):
    """What went wrong; servers put numbers into `code` too."""

    message: str | None = None
    code: str | int | None = None


class Answer(msgspec.Struct, gc=False):
    """A completion, a chunk, or an error."""

    choices: list[Choice] | None = None
    error: Error | str | None = None
    message: str | None = None


_answers = msgspec.json.Decoder(Answer)


def read(body: bytes) -> Answer | None:
    """Return an answer or a piece of one, None for what is none."""
    try:
        return _answers.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return None


def whole_answer(body: bytes, call: Call, stamp: Stamp, usage: Usage | None, *, thinks: bool) -> bytes:
    """Return a message. Raises UpstreamFailed for what is no completion."""
    answer = read(body)
    if answer is None or not answer.choices or (said := answer.choices[0].message) is None:
        raise broken("is not what OpenAI's API promises")
    content: list[Block] = [ThinkingBlock(said.thoughts)] if thinks and said.thoughts else []
    content += [TextBlock(text) for text in (written(said.content), said.refusal) if text]
    ids = Ids(stamp)
    for called in said.tool_calls or ():
        function = called.function or Function()
        arguments = as_object(arguments_text(function.arguments))
        content.append(ToolUseBlock(ids.of(called.id), function.name or "", arguments))
    end = end_of(answer.choices[0].finish_reason, called=bool(said.tool_calls), refusal=said.refusal)
    return message(call, stamp, content, end, usage)


def error_of(status: int, body: bytes, stamp: Stamp) -> ErrorAnswer:
    """Return an error in Anthropic's shape."""
    return error_answer(status, message_of(read(body)), stamp)


def message_of(answer: Answer | None) -> str | None:
    """Return what an error says, wherever a server of this format puts it."""
    if answer is None:
        return None
    if isinstance(answer.error, Error):
        return answer.error.message
    return answer.error or answer.message


def status_of(error: Error | str) -> int:
    """Return the status of an error that comes in a stream."""
    code = error.code if isinstance(error, Error) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 500


def end_of(finish_reason: str | None, *, called: bool, refusal: str | None) -> End:
    """Return Anthropic's word for why an answer ended. Which stop sequence it was OpenAI does not tell."""
    if refusal:
        return End("refusal", refusal)
    reason = _ENDS.get(finish_reason or "", "end_turn")
    return End("tool_use" if called and reason == "end_turn" else reason)
