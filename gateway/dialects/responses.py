"""`POST /v1/responses`: typed events, usage only in the last of them, and things that stay at the provider."""

import msgspec

from gateway.core.call import NOTHING, Call, Reading
from gateway.core.errors import InvalidRequest
from gateway.dialects.json_body import change, check_model, decode
from gateway.dialects.openai import OPENAI, TokenCap, UsageBlock, is_text_only, usage_from
from gateway.dialects.references import references_in


class Named(msgspec.Struct, gc=False):
    """An object that names a thing at the provider: `prompt`, or `conversation` in its long form."""

    id: str


class Tool(msgspec.Struct, gc=False):
    """A tool; only its type decides whether the provider runs it."""

    type: str | None = None


class Request(msgspec.Struct, gc=False):
    """The fields of a request that the gateway acts on."""

    model: str
    input: str | list[msgspec.Raw] | None = None
    stream: bool | None = None
    max_output_tokens: TokenCap | None = None
    service_tier: str | None = None
    previous_response_id: str | None = None
    conversation: str | Named | None = None
    prompt: Named | None = None
    background: bool | None = None
    store: bool | None = None
    tools: list[Tool] | None = None


class ContentPart(msgspec.Struct, gc=False):
    """Part of an output item."""

    text: str | None = None
    refusal: str | None = None


class OutputItem(msgspec.Struct, gc=False):
    """An output item: a message, a function call, reasoning."""

    content: list[ContentPart] | None = None
    summary: list[ContentPart] | None = None
    name: str | None = None
    arguments: str | None = None


class Response(msgspec.Struct, gc=False):
    """A response object."""

    id: str | None = None
    usage: UsageBlock | None = None
    service_tier: str | None = None
    output: list[OutputItem] | None = None
    object: str | None = None


class Event(msgspec.Struct, gc=False):
    """A streamed event."""

    type: str = ""
    response: Response | None = None
    delta: str | msgspec.Raw | None = None


NAMING_FIELDS = ("input", "tools", "prompt")
CLIENT_TOOLS = frozenset({"function", "custom", None})
TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled", "error"})
DECISIVE = (
    b'"model"', b'"stream"', b'"max_output_tokens"', b'"previous_response_id"', b'"conversation"', b'"prompt"',
    b'"background"', b'"input"', b'"service_tier"',
)  # fmt: skip
_requests = msgspec.json.Decoder(Request)
_responses = msgspec.json.Decoder(Response)
_events = msgspec.json.Decoder(Event)


class Responses:
    """The responses operation of OpenAI's dialect."""

    operation = "responses"
    dialect = OPENAI
    method = "POST"
    signs = (b'"response"', b'"error"', b"[DONE]")

    def path(self, call: Call) -> str:
        """Return the path below the upstream's base URL."""
        del call
        return "/responses"

    def parse(self, body: bytes) -> Call:
        """Read a request. Raises InvalidRequest, also for background work: nobody could be charged for it in time."""
        asked = decode(body, _requests, DECISIVE)
        if asked.background:
            raise InvalidRequest(
                "Background responses are not served; leave `background` out or stream.", param="background"
            )
        conversation = asked.conversation.id if isinstance(asked.conversation, Named) else asked.conversation
        named = (asked.previous_response_id, conversation, asked.prompt.id if asked.prompt else None)
        references = *(reference for reference in named if reference), *references_in(body, NAMING_FIELDS)
        hosted = any(tool.type not in CLIENT_TOOLS for tool in asked.tools or ())
        return Call(
            operation=self.operation,
            model=check_model(asked.model),
            body=body,
            streams=asked.stream is True,
            wants_usage=True,
            output_cap=asked.max_output_tokens,
            cap_field="max_output_tokens",
            service_tier=asked.service_tier,
            text_only=not references and not hosted and is_text_only(body),
            has_audio=b"audio" in body,
            references=references,
            stores=asked.store is not False,
        )

    def rewrite(self, call: Call, *, model: str, output_cap: int | None, cap_field: str, ask_usage: bool) -> bytes:
        """Return the client's own bytes unless the model is an alias or a cap must be set."""
        del cap_field, ask_usage
        changes: dict[str, object] = {}
        if model != call.model:
            changes["model"] = model
        if output_cap is not None:
            changes["max_output_tokens"] = output_cap
        return change(call.body, changes) if changes else call.body

    def read_answer(self, body: bytes) -> Reading:
        """Read a whole response."""
        try:
            response = _responses.decode(body)
        except (msgspec.MsgspecError, RecursionError):
            return NOTHING
        return _reading(response, ends=False)

    def read_event(self, data: bytes) -> Reading:
        """Read one event."""
        if data.startswith(b"[DONE]"):
            return Reading(ends=True)
        try:
            event = _events.decode(data)
        except (msgspec.MsgspecError, RecursionError):
            return NOTHING
        ends = event.type in TERMINAL
        if event.response is not None:
            return _reading(event.response, ends=ends, error=event.type == "response.failed")
        text = event.delta if isinstance(event.delta, str) and event.type.endswith(".delta") else ""
        return Reading(ends=ends, error=event.type == "error", text=text)


def _reading(response: Response, *, ends: bool, error: bool = False) -> Reading:
    items = () if ends else response.output or ()
    return Reading(
        usage=usage_from(response.usage, response.service_tier),
        ends=ends,
        error=error,
        text="".join(map(_text, items)),
        object_id=response.id,
    )


def _text(item: OutputItem) -> str:
    parts = [part for content in (item.content, item.summary) for part in content or ()]
    words = [text for part in parts for text in (part.text, part.refusal)]
    return "".join(word for word in (*words, item.name, item.arguments) if word)
