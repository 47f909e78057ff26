"""What a request for a message says, as far as other providers have words for it. Shapes: anthropic-sdk-python's types.

A block has the fields of all kinds of blocks; its type says which of them count.
"""

import re
from typing import Literal

import msgspec

from gateway.core.call import Call
from gateway.core.errors import InvalidRequest
from gateway.core.prices import ModelFacts
from gateway.translate.unread import Fields, read_named

Object = dict[str, msgspec.Raw]
"""A JSON object whose values are passed on as they are."""
_EMPTY = msgspec.Raw(b"{}")
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What OpenAI and Google take; Anthropic takes twice as much."""


class Source(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Where a picture or a document is, or what is in it."""

    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""
    content: "str | list[Block]" = ""


class Block(msgspec.Struct, forbid_unknown_fields=True, gc=False):
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


class Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One turn."""

    role: str
    content: str | list[Block]


class Tool(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A tool of the client's own, or with another type one that only Anthropic knows."""

    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: Object | None = None
    strict: bool | None = None


class ToolChoice(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """How to choose a tool."""

    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """How to think."""

    type: str
    budget_tokens: int | None = None


class Format(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The form of the answer."""

    type: str
    schema: Object | None = None


class OutputConfig(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """How hard to work, and in which form to answer."""

    effort: str | None = None
    format: Format | None = None


class Metadata(msgspec.Struct, forbid_unknown_fields=True, gc=False):
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
    def budget_tokens(self) -> int | None:
        """How much to think."""
        return self.thinking.budget_tokens if self.thinking is not None and self.thinks else None

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
CHOICES = ("auto", "any", "tool", "none")
SECRETS = frozenset({"redacted_thinking", "server_tool_use", "mcp_tool_use", "container_upload"})
"""Content that only Claude can read, or that only Anthropic's own tools made."""
MARKS = frozenset({"fallback", "tool_reference"})
"""Content that stands for nothing which was said."""
_requests = msgspec.json.Decoder(Request)


def read(call: Call) -> tuple[Request, Fields]:
    """Return the request, and all of its fields as they were sent. Raises InvalidRequest that names what is wrong."""
    asked, fields = read_named(call.body, _requests, means_nothing)
    _check_choice(asked)
    if asked.schema is None and asked.output_config is not None and asked.output_config.format is not None:
        param = "output_config.format"
        raise InvalidRequest(f"`{param}` must be a `json_schema` for this model's provider.", param=param)
    if asked.max_tokens == 0:
        raise InvalidRequest(
            "`max_tokens` must be at least 1: this model's provider writes no prompts to its cache ahead of time.",
            param="max_tokens",
        )
    return asked, fields


def means_nothing(kind: str) -> bool:
    """Tell whether content of a kind says nothing to any other provider."""
    return kind in SECRETS or kind in MARKS or (kind.endswith("_tool_result") and kind != "tool_result")


def _check_choice(asked: Request) -> None:
    """Raise InvalidRequest for a choice among tools that cannot be made."""
    choice = asked.tool_choice
    if choice is None:
        return
    if choice.type not in CHOICES:
        raise InvalidRequest("`tool_choice.type` must be `auto`, `any`, `tool` or `none`.", param="tool_choice.type")
    if choice.type in ("any", "tool") and not asked.tools:
        raise InvalidRequest("`tool_choice` names what must be called, and there are no `tools`.", param="tool_choice")


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
