"""What a request for a message says, as far as other providers have words for it. Shapes: anthropic-sdk-python's types.

A block has the fields of all kinds of blocks; its type says which of them count.
"""

import re
from typing import Literal

import msgspec

from gateway.core.call import Call
from gateway.core.errors import InvalidRequest
from gateway.core.prices import ModelFacts
from gateway.dialects.json_body import validation_error

Object = dict[str, msgspec.Raw]
"""A JSON object whose values are passed on as they are."""
_EMPTY = msgspec.Raw(b"{}")
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What OpenAI and Google take; Anthropic takes twice as much."""


class Source(msgspec.Struct, gc=False):
    """Where a picture or a document is, or what is in it."""

    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""
    content: "str | list[Block]" = ""


class Block(msgspec.Struct, gc=False):
    """A content block of any kind. `source` is an object, or the origin of a search result."""

    type: str
    text: str = ""
    source: Source | str | None = None
    title: str | None = None
    context: str | None = None
    id: str = ""
    name: str = ""
    input: msgspec.Raw = _EMPTY
    tool_use_id: str = ""
    content: "str | list[Block] | None" = None
    is_error: bool | None = None
    thinking: str = ""
    signature: str = ""
    cache_control: Object | None = None


class Message(msgspec.Struct, gc=False):
    """One turn."""

    role: str
    content: str | list[Block]


class Tool(msgspec.Struct, gc=False):
    """A tool of the client's own, or with another type one that only Anthropic knows."""

    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: Object | None = None
    strict: bool | None = None
    cache_control: Object | None = None


class ToolChoice(msgspec.Struct, gc=False):
    """How to choose a tool."""

    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(msgspec.Struct, gc=False):
    """How to think."""

    type: str
    budget_tokens: int | None = None
    display: str | None = None


class Format(msgspec.Struct, gc=False):
    """The form of the answer."""

    type: str
    schema: Object | None = None


class OutputConfig(msgspec.Struct, gc=False):
    """How hard to work, and in which form to answer."""

    effort: str | None = None
    format: Format | None = None


class Metadata(msgspec.Struct, gc=False):
    """Who asks, in the client's own word."""

    user_id: str | None = None


class Request(msgspec.Struct, gc=False):
    """The fields that can be carried."""

    messages: list[Message]
    max_tokens: int
    system: str | list[Block] = ""
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    metadata: Metadata | None = None
    service_tier: str | None = None

    @property
    def thinks(self) -> bool:
        """True where the client asks for thoughts, and so can read them in the answer."""
        return self.thinking is not None and self.thinking.type != "disabled"

    @property
    def schema(self) -> Object | None:
        """The JSON Schema that the answer must have."""
        wanted = self.output_config.format if self.output_config is not None else None
        return wanted.schema if wanted is not None else None

    @property
    def effort(self) -> str | None:
        """How hard to work."""
        return self.output_config.effort if self.output_config is not None else None


LOW_BUDGET, MEDIUM_BUDGET = 4_096, 16_384
"""Below the first, thinking is of low effort, below the second of medium."""
_requests = msgspec.json.Decoder(Request)
_fields = msgspec.json.Decoder(Object)


def read(call: Call) -> tuple[Request, Object]:
    """Return the request, and all of its fields as they were sent. Raises InvalidRequest that names what is wrong."""
    try:
        asked = _requests.decode(call.body)
    except msgspec.ValidationError as error:
        raise validation_error(str(error)) from None
    if asked.max_tokens == 0:
        raise InvalidRequest(
            "`max_tokens` must be at least 1: this model's provider writes no prompts to its cache ahead of time.",
            param="max_tokens",
        )
    return asked, _fields.decode(call.body)


def own_tools(asked: Request, provider: str) -> list[Tool]:
    """Return the tools. Raises InvalidRequest for those that only Anthropic knows, and for names nobody else takes."""
    for place, tool in enumerate(asked.tools or ()):
        if tool.type not in (None, "custom"):
            raise InvalidRequest(
                f"`tools[{place}].type`: `{(tool.type or '')[:64]}` is a tool of Anthropic's, which {provider} does "
                "not have; send a tool of your own with an `input_schema`.",
                param=f"tools[{place}].type",
            )
        if _TOOL_NAME.fullmatch(tool.name) is None:
            raise InvalidRequest(
                f"`tools[{place}].name` must be 1 to 64 letters, digits, `_` or `-` for this model's provider.",
                param=f"tools[{place}].name",
            )
    return asked.tools or []


def effort_of(budget_tokens: int) -> Literal["low", "medium", "high"]:
    """Return the effort that a budget of thinking stands for, where a provider knows no budgets."""
    if budget_tokens < LOW_BUDGET:
        return "low"
    return "medium" if budget_tokens < MEDIUM_BUDGET else "high"


def cap_of(asked: Request, facts: ModelFacts, lost: list[str]) -> int:
    """Return the cap, lowered to what the model can write: a client that was made for Claude asks for Claude's."""
    if asked.max_tokens > facts.max_output_tokens:
        lost.append("max_tokens")
    return min(asked.max_tokens, facts.max_output_tokens)
