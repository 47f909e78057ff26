"""A chat completion's request in OpenAI's words. Shapes: openai-python's types."""

import msgspec

from gateway.translate.anthropic_messages.request import Object


class Out(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is not set is not sent."""


class TextPart(Out, frozen=True, tag="text"):
    """Text."""

    text: str


class ImageUrl(Out, frozen=True):
    """An image, or where it is."""

    url: str


class ImagePart(Out, frozen=True, tag="image_url"):
    """An image."""

    image_url: ImageUrl


class File(Out, frozen=True):
    """A file's content as a data URL."""

    file_data: str
    filename: str = "document.pdf"


class FilePart(Out, frozen=True, tag="file"):
    """A file."""

    file: File


Part = TextPart | ImagePart | FilePart


class FunctionCall(Out, frozen=True):
    """A function that was called; the arguments are JSON in a string."""

    name: str
    arguments: str


class ToolCall(Out, frozen=True, tag="function"):
    """One of `tool_calls`."""

    id: str
    function: FunctionCall


class SystemMessage(Out, frozen=True, tag_field="role", tag="system"):
    """Instructions."""

    content: str


class UserMessage(Out, frozen=True, tag_field="role", tag="user"):
    """What the user said."""

    content: str | list[Part]


class AssistantMessage(Out, frozen=True, tag_field="role", tag="assistant"):
    """What the assistant said and called."""

    content: str | None = None
    tool_calls: list[ToolCall] = []


class ToolMessage(Out, frozen=True, tag_field="role", tag="tool"):
    """What a function returned."""

    tool_call_id: str
    content: str


Message = SystemMessage | UserMessage | AssistantMessage | ToolMessage


class Function(Out, frozen=True):
    """A function that may be called."""

    name: str
    description: str | None = None
    parameters: Object | None = None
    strict: bool | None = None


class Tool(Out, frozen=True, tag="function"):
    """One of `tools`."""

    function: Function


class Named(Out, frozen=True):
    """A function by its name."""

    name: str


class NamedTool(Out, frozen=True, tag="function"):
    """The one function that must be called."""

    function: Named


class JsonSchema(Out, frozen=True):
    """The schema of the answer."""

    name: str
    schema: Object
    strict: bool


class ResponseFormat(Out, frozen=True, tag="json_schema"):
    """The form of the answer."""

    json_schema: JsonSchema


class Body(Out, frozen=True):
    """A request. The cap stands in the one of its two fields that the model takes."""

    model: str
    messages: list[Message]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stream: bool = False
    temperature: float | None = None
    top_p: float | None = None
    stop: list[str] = []
    tools: list[Tool] = []
    tool_choice: str | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    user: str | None = None
    service_tier: str | None = None
