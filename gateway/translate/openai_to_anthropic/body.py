"""A request in Anthropic's words. Shapes: anthropic-sdk-python's types."""

from typing import Literal

import msgspec


class CacheControl(msgspec.Struct, frozen=True, tag="ephemeral"):
    """A prefix to cache ends here. It is kept for 5 minutes: that is what its hold was made for."""


CACHED = CacheControl()


class TextBlock(msgspec.Struct, frozen=True, tag="text", omit_defaults=True):
    """Text."""

    text: str
    cache_control: CacheControl | None = None


class Base64Source(msgspec.Struct, frozen=True, tag="base64"):
    """Bytes in base64."""

    media_type: str
    data: str


class UrlSource(msgspec.Struct, frozen=True, tag="url"):
    """Bytes that Anthropic fetches."""

    url: str


class TextSource(msgspec.Struct, frozen=True, tag="text"):
    """Plain text as a document."""

    data: str
    media_type: str = "text/plain"


class ImageBlock(msgspec.Struct, frozen=True, tag="image", omit_defaults=True):
    """An image."""

    source: Base64Source | UrlSource
    cache_control: CacheControl | None = None


class DocumentBlock(msgspec.Struct, frozen=True, tag="document", omit_defaults=True):
    """A document."""

    source: Base64Source | TextSource
    title: str | None = None
    cache_control: CacheControl | None = None


class ThinkingParam(msgspec.Struct, frozen=True, tag="thinking"):
    """What Claude thought, as it was signed."""

    thinking: str
    signature: str


class RedactedThinkingParam(msgspec.Struct, frozen=True, tag="redacted_thinking"):
    """What Claude thought, unreadable."""

    data: str


class ToolUseBlock(msgspec.Struct, frozen=True, tag="tool_use"):
    """A tool that Claude called."""

    id: str
    name: str
    input: msgspec.Raw


class ToolResultBlock(msgspec.Struct, frozen=True, tag="tool_result", omit_defaults=True):
    """What it returned."""

    tool_use_id: str
    content: str = ""
    cache_control: CacheControl | None = None


Block = TextBlock | ImageBlock | DocumentBlock | ThinkingParam | RedactedThinkingParam | ToolUseBlock | ToolResultBlock


class MessageParam(msgspec.Struct, frozen=True):
    """One turn."""

    role: Literal["user", "assistant"]
    content: list[Block]


class ToolParam(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool. `input_schema` is a JSON Schema of an object."""

    name: str
    input_schema: dict[str, msgspec.Raw]
    description: str | None = None
    strict: bool = False
    cache_control: CacheControl | None = None


class ToolChoiceParam(msgspec.Struct, frozen=True, omit_defaults=True):
    """How to choose tools. `type` is always written."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool = False


class Format(msgspec.Struct, frozen=True, tag="json_schema"):
    """The answer's JSON Schema."""

    schema: dict[str, msgspec.Raw]


class OutputConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """How hard to try, and what the answer looks like."""

    effort: str | None = None
    format: Format | None = None


class Budget(msgspec.Struct, frozen=True, tag="enabled"):
    """Think with so many tokens."""

    budget_tokens: int


class Adaptive(msgspec.Struct, frozen=True, tag="adaptive"):
    """Think as much as it takes. Without `display` the newest models show nothing of it."""

    display: str = "summarized"


class Disabled(msgspec.Struct, frozen=True, tag="disabled"):
    """Do not think."""


class Metadata(msgspec.Struct, frozen=True):
    """Who the caller says it asks for."""

    user_id: str


class Body(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request to `/v1/messages`."""

    model: str
    max_tokens: int
    messages: list[MessageParam]
    system: list[TextBlock] = []
    stream: bool = False
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: list[str] = []
    tools: list[ToolParam] = []
    tool_choice: ToolChoiceParam | None = None
    thinking: Budget | Adaptive | Disabled | dict[str, msgspec.Raw] | None = None
    output_config: OutputConfig | None = None
    metadata: Metadata | None = None
    service_tier: str | None = None
