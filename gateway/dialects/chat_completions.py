"""`POST /v1/chat/completions`."""

import msgspec
from msgspec.structs import replace

from gateway.core.call import NOTHING, Call, Head, Reading
from gateway.dialects.chat_parts import Arguments, Content, arguments_text, thought, written
from gateway.dialects.json_body import change, check_model, decode
from gateway.dialects.lenient import read_lenient, text_of_answer
from gateway.dialects.openai import FIGURES, OPENAI, Choices, TokenCap, UsageBlock, is_text_only, usage_from
from gateway.dialects.references import references_in


class StreamOptions(msgspec.Struct, gc=False):
    """`stream_options`, as far as it concerns us."""

    include_usage: bool | None = None


class Request(msgspec.Struct, gc=False):
    """The fields of a request that the gateway acts on."""

    model: str
    messages: list[msgspec.Raw]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: TokenCap | None = None
    max_completion_tokens: TokenCap | None = None
    n: Choices | None = None
    service_tier: str | None = None
    web_search_options: dict[str, object] | None = None
    audio: object = None


class Function(msgspec.Struct, gc=False):
    """A function call, whole or a delta of one."""

    name: str | None = None
    arguments: Arguments = None


class ToolCall(msgspec.Struct, gc=False):
    """One of `tool_calls`."""

    function: Function | None = None


class Audio(msgspec.Struct, gc=False):
    """What the model said; the provider keeps it for a while, so that a later message can be the id alone."""

    id: str | None = None


class Message(msgspec.Struct, gc=False):
    """A message or a delta: everything in it that the model wrote."""

    content: Content = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None
    audio: Audio | None = None


class Choice(msgspec.Struct, gc=False):
    """A choice, whole or in a stream."""

    message: Message | None = None
    delta: Message | None = None
    text: str | None = None


class GroqExtra(msgspec.Struct, gc=False):
    """`x_groq`: where Groq's streams carry the usage."""

    usage: UsageBlock | None = None


class Answer(msgspec.Struct, gc=False):
    """A completion or a chunk of one."""

    choices: list[Choice] | None = None
    usage: UsageBlock | None = None
    service_tier: str | None = None
    error: object = None
    x_groq: GroqExtra | None = None


DECISIVE = (
    b'"model"', b'"messages"', b'"stream"', b'"stream_options"', b'"max_tokens"', b'"max_completion_tokens"', b'"n"',
    b'"service_tier"',
)  # fmt: skip
_requests = msgspec.json.Decoder(Request)
_answers = msgspec.json.Decoder(Answer)


class ChatCompletions:
    """The chat operation of OpenAI's dialect."""

    operation = "chat"
    dialect = OPENAI
    method = "POST"
    # "usage":null stands on every chunk of a stream that was asked for usage; these are what else usage looks like.
    signs = (b'"usage":{', b'"usage": {', b'"usage" ', b"[DONE]", b'"error"', b'"audio":')

    def path(self, call: Call) -> str:
        """Return the path below the upstream's base URL."""
        del call
        return "/chat/completions"

    def parse(self, body: bytes, _head: Head, /) -> Call:
        """Read a request. Raises InvalidRequest."""
        asked = decode(body, _requests, DECISIVE)
        cap_field = "max_tokens" if asked.max_completion_tokens is None else "max_completion_tokens"
        plain = is_text_only(body)
        model = check_model(asked.model)
        return Call(
            operation=self.operation,
            model=model,
            body=body,
            streams=asked.stream is True,
            wants_usage=asked.stream_options is not None and asked.stream_options.include_usage is True,
            # Of two, a server may honour either.
            output_cap=max(asked.max_completion_tokens or 0, asked.max_tokens or 0) or None,
            cap_field=cap_field,
            choices=asked.n or 1,
            service_tier=asked.service_tier,
            text_only=plain and asked.web_search_options is None,
            has_audio=not plain and body.find(b"audio") >= 0,
            references=() if plain else references_in(body, ("messages",)),
            makes="" if asked.audio is None else "audio",
            costs=asked.web_search_options is not None or "-search-" in model,  # no answer tells of the search
        )

    def rewrite(self, call: Call, *, model: str, output_cap: int | None, cap_field: str, ask_usage: bool) -> bytes:
        """Return the client's own bytes unless something must change."""
        changes: dict[str, object] = {}
        if model != call.model:
            changes["model"] = model
        if output_cap is not None:
            changes[cap_field] = output_cap
        if ask_usage and call.streams and not call.wants_usage:
            changes["stream_options"] = _with_usage(call.body)
        return change(call.body, changes) if changes else call.body

    def read_answer(self, body: bytes) -> Reading:
        """Read usage and text of a whole completion."""
        answer, unread = read_lenient(body, _answers)
        if answer is None:
            return NOTHING
        reading = _reading(answer, reads_text=False)
        # Nobody counts the text of an answer that says what it used.
        if reading.usage is not None and not reading.usage.lacks_output:
            return reading
        whole = text_of_answer(body, unread, FIGURES)
        return replace(reading, text=whole) if whole else _reading(answer, reads_text=True)

    def read_event(self, data: bytes) -> Reading:
        """Read one chunk."""
        if data.startswith(b"[DONE]"):
            return Reading(ends=True)
        answer, _ = read_lenient(data, _answers)
        return NOTHING if answer is None else _reading(answer, reads_text=True)


def _reading(answer: Answer, *, reads_text: bool) -> Reading:
    block = answer.usage or (answer.x_groq.usage if answer.x_groq else None)
    said = tuple(filter(None, map(_audio_id, answer.choices or ())))
    return Reading(
        usage=usage_from(block, answer.service_tier),
        usage_only=block is not None and answer.choices == [] and not answer.error,
        error=bool(answer.error),
        text="".join(map(_text, answer.choices)) if reads_text and answer.choices else "",
        object_id=said[0] if said else None,
        items=said,
    )


def _audio_id(choice: Choice) -> str | None:
    message = choice.delta or choice.message
    return message.audio.id if message is not None and message.audio is not None else None


def _text(choice: Choice) -> str:
    """Return all that the model wrote into a choice: what is counted when the provider does not say."""
    message = choice.delta or choice.message
    if message is None:
        return choice.text or ""
    called = [call.function for call in message.tool_calls or () if call.function]
    if message.function_call:
        called.append(message.function_call)
    content = message.content
    parts = [thought(content), written(content), message.refusal, message.reasoning_content or message.reasoning]
    parts += [part for function in called for part in (function.name, arguments_text(function.arguments))]
    return "".join(part for part in parts if part)


def _with_usage(body: bytes) -> dict[str, object]:
    """Return the request's stream options with usage asked for."""
    given = msgspec.json.decode(body, type=dict[str, object]).get("stream_options")
    return {**(given if isinstance(given, dict) else {}), "include_usage": True}
