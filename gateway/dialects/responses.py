"""`POST /v1/responses`: typed events, usage only in the last of them, and things that stay at the provider."""

from typing import Annotated

import msgspec
from msgspec.structs import replace

from gateway.core.call import NOTHING, Call, Head, Reading
from gateway.core.errors import InvalidRequest
from gateway.core.usage import UNTOLD, Usage
from gateway.dialects.chat_parts import Arguments, arguments_text
from gateway.dialects.json_body import change, check_model, decode
from gateway.dialects.lenient import read_lenient, text_of_answer
from gateway.dialects.openai import FIGURES, OPENAI, TokenCap, UsageBlock, is_text_only, usage_from
from gateway.dialects.references import mentions_in, references_in


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
    max_tool_calls: Annotated[int, msgspec.Meta(ge=1)] | None = None

    def uses_of(self, kind: str) -> int:
        """Return how often a tool of the provider's is held to be used, 0 without one of that kind."""
        if not any((tool.type or "").startswith(kind) for tool in self.tools or ()):
            return 0
        return min(self.max_tool_calls or HELD_SEARCHES, HELD_SEARCHES)


class ContentPart(msgspec.Struct, gc=False):
    """Part of an output item."""

    text: str | None = None
    refusal: str | None = None


class Action(msgspec.Struct, gc=False):
    """What a web search did: to search costs, to open and read what was found does not."""

    type: str | None = None


class OutputItem(msgspec.Struct, gc=False):
    """An output item: a message, a function call, reasoning, what a tool of the provider's did.

    What some write as text or as an object others write otherwise: pictures have a word for `action`, searches for
    tools an object for `arguments`.
    """

    id: str | None = None
    type: str | None = None
    action: Action | str | None = None
    content: list[ContentPart] | None = None
    summary: list[ContentPart] | None = None
    name: str | None = None
    arguments: Arguments = None

    @property
    def is_search(self) -> bool:
        """True for a search of the web, which has a price of its own."""
        if self.type != "web_search_call":
            return False
        return not isinstance(self.action, Action) or self.action.type in ("search", None)


class Response(msgspec.Struct, gc=False):
    """A response object."""

    id: str | None = None
    status: str | None = None
    usage: UsageBlock | None = None
    service_tier: str | None = None
    output: list[OutputItem] | None = None
    object: str | None = None


class Event(msgspec.Struct, gc=False):
    """A streamed event."""

    type: str = ""
    response: Response | None = None
    item: OutputItem | None = None
    delta: object = None


NAMING_FIELDS = ("input", "tools", "prompt")
CLIENT_TOOLS = frozenset({"function", "custom", None})
TOLD_TOOLS = CLIENT_TOOLS | {"mcp", "computer", "computer_use_preview", "local_shell", "apply_patch", "tool_search"}
"""Tools that cost their tokens and no more. Searches of the web are told one by one; what others cost is not."""
HELD_SEARCHES = 5
"""How many searches a call with such a tool is held for: the model decides, and more is an overrun."""
AT_WORK = frozenset({"queued", "in_progress"})
TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled", "error"})
DECISIVE = (
    b'"model"', b'"stream"', b'"max_output_tokens"', b'"previous_response_id"', b'"conversation"', b'"prompt"',
    b'"background"', b'"store"', b'"input"', b'"service_tier"',
)  # fmt: skip
SIGNS = (b'"response"', b'"error"', b"[DONE]", b'"web_search_call"')
_requests = msgspec.json.Decoder(Request)
_responses = msgspec.json.Decoder(Response)
_events = msgspec.json.Decoder(Event)


class Responses:
    """The responses operation of OpenAI's dialect."""

    operation = "responses"
    dialect = OPENAI
    method = "POST"
    signs = SIGNS

    def path(self, call: Call) -> str:
        """Return the path below the upstream's base URL."""
        del call
        return "/responses"

    def parse(self, body: bytes, _head: Head, /) -> Call:
        """Read a request. Raises InvalidRequest, also for background work that nobody could ask about later."""
        asked = decode(body, _requests, DECISIVE)
        if asked.background and asked.store is False:
            raise InvalidRequest(
                "A background response has to be stored: without that nobody hears of its end.", param="store"
            )
        conversation = asked.conversation.id if isinstance(asked.conversation, Named) else asked.conversation
        named = (asked.previous_response_id, conversation, asked.prompt.id if asked.prompt else None)
        references = *(reference for reference in named if reference), *references_in(body, NAMING_FIELDS)
        tools = [tool.type for tool in asked.tools or () if tool.type not in CLIENT_TOOLS]
        return Call(
            operation=self.operation,
            model=check_model(asked.model),
            body=body,
            streams=asked.stream is True,
            wants_usage=True,
            output_cap=asked.max_output_tokens,
            cap_field="max_output_tokens",
            service_tier=asked.service_tier,
            text_only=not references and not tools and is_text_only(body),
            has_audio=b"audio" in body,
            references=references,
            mentions=mentions_in(body, "input"),
            costs=any(not _is_told(tool) for tool in tools),
            web_searches=asked.uses_of("web_search"),
            makes="responses" if asked.store is not False else "",
            defers=asked.background is True,
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
        return read_response(body)

    def read_event(self, data: bytes) -> Reading:
        """Read one event."""
        return read_response_event(data)


def _is_told(tool: str | None) -> bool:
    return tool in TOLD_TOOLS or (tool or "").startswith("web_search")


def read_response(body: bytes) -> Reading:
    """Read a whole response, whether it was just made or is looked at again."""
    response, unread = read_lenient(body, _responses)
    if response is None:
        return NOTHING
    reading = _reading(response, ends=False)
    return replace(reading, text=text_of_answer(body, unread, FIGURES) or reading.text) if unread else reading


def read_response_event(data: bytes) -> Reading:
    """Read one event of a response, whether it is made or looked at again."""
    if data.startswith(b"[DONE]"):
        return Reading(ends=True)
    event, _ = read_lenient(data, _events)
    if event is None:
        return NOTHING
    ends = event.type in TERMINAL
    if event.response is not None:
        return _reading(event.response, ends=ends)
    if event.type == "response.output_item.done" and event.item is not None and event.item.is_search:
        return Reading(corrects=_searched_once_more)
    text = event.delta if isinstance(event.delta, str) and event.type.endswith(".delta") else ""
    return Reading(ends=ends, error=event.type == "error", text=text)


def _reading(response: Response, *, ends: bool) -> Reading:
    items = response.output or ()
    return Reading(
        usage=_usage(response),
        ends=ends,
        error=response.status == "failed",
        text="" if ends else "".join(map(_text, items)),
        object_id=response.id,
        items=tuple(item.id for item in items if item.id),
        is_over=None if response.status is None else response.status not in AT_WORK,
    )


def _searched_once_more(earlier: Usage | None) -> Usage:
    """Return the figures so far and a search more: the end, which tells of all of them, may not come."""
    known = earlier or UNTOLD
    return replace(known, web_searches=known.web_searches + 1)


def _usage(response: Response) -> Usage | None:
    usage = usage_from(response.usage, response.service_tier)
    searches = sum(item.is_search for item in response.output or ())
    return replace(usage, web_searches=searches) if usage is not None and searches else usage


def _text(item: OutputItem) -> str:
    parts = [part for content in (item.content, item.summary) for part in content or ()]
    words = [text for part in parts for text in (part.text, part.refusal)]
    return "".join(word for word in (*words, item.name, arguments_text(item.arguments)) if word)
