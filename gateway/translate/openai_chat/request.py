"""What a chat completion asks for, as far as other providers have a word for it. Shapes: openai-python's types."""

from typing import Annotated, Literal, TypeVar

import msgspec

from gateway.core.call import Call
from gateway.core.errors import InvalidRequest
from gateway.dialects.json_body import validation_error
from gateway.translate.openai_chat.messages import Message, Object
from gateway.translate.unread import Fields, read_named

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
T = TypeVar("T")


class Function(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A function that the model may call. `parameters` is a JSON Schema."""

    name: str
    description: str | None = None
    parameters: Object | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One of `tools`."""

    function: Function | None = None
    type: str = "function"
    cache_control: Object | None = None


class Named(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A function by its name."""

    name: str


class NamedTool(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A tool by its function's name."""

    function: Named
    type: str = "function"


class AllowedTools(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Some of the tools, as `tool_choice`."""

    mode: Literal["auto", "required"]
    tools: list[NamedTool]


class ToolChoice(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`tool_choice` where it is more than a word."""

    type: Literal["function", "allowed_tools"]
    function: Named | None = None
    allowed_tools: AllowedTools | None = None


class Schema(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`response_format.json_schema`. Its name tells nothing, and other providers keep to every schema strictly."""

    name: str | None = None
    schema: Object | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`response_format`."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: Schema | None = None


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`stream_options`."""

    include_usage: bool | None = None


class Request(msgspec.Struct, gc=False):
    """The fields that at least one provider has a word for. Caps, `n` and streaming stand in the Call."""

    messages: list[Message]
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    frequency_penalty: Annotated[float, msgspec.Meta(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, msgspec.Meta(ge=-2, le=2)] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Effort | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    user: str | None = None
    thinking: Object | None = None
    extra_body: Object | None = None


_requests = msgspec.json.Decoder(Request)


def read(call: Call) -> tuple[Request, Fields]:
    """Return the request and all its fields, known or not. Raises InvalidRequest that names the field."""
    return read_named(call.body, _requests)


def checked(decoder: "msgspec.json.Decoder[T]", part: bytes | msgspec.Raw, below: str = "") -> T:
    """Decode a part of the body that stands `below` a field. Raises InvalidRequest that names what is wrong in it."""
    try:
        return decoder.decode(part)
    except msgspec.ValidationError as error:
        raise validation_error(str(error), below) from None


def functions_of(asked: Request) -> list[tuple[Function, Tool]]:
    """Return the functions that may be called: all, or those that `tool_choice` allows. Raises InvalidRequest."""
    choice = asked.tool_choice
    if not asked.tools and choice not in (None, "none", "auto"):
        raise InvalidRequest("`tool_choice` names what must be called, and there are no `tools`.", param="tool_choice")
    allowed = None
    if isinstance(choice, ToolChoice) and choice.allowed_tools is not None:
        allowed = {tool.function.name for tool in choice.allowed_tools.tools}
    functions = []
    for place, tool in enumerate(asked.tools or ()):
        if tool.type == "function" and tool.function is None:
            param = f"tools[{place}].function"
            raise InvalidRequest(f"`{param}` is missing.", param=param)
        if tool.type != "function" or tool.function is None:
            raise InvalidRequest(
                f"`tools[{place}]`: this model's provider takes functions only, not `{tool.type[:32]}`.",
                param=f"tools[{place}].type",
            )
        if allowed is None or tool.function.name in allowed:
            functions.append((tool.function, tool))
    if not functions and isinstance(choice, ToolChoice) and mode_of(asked)[0] == "required":
        raise InvalidRequest("`tool_choice` allows none of the `tools`, and one must be called.", param="tool_choice")
    return functions


def mode_of(asked: Request) -> tuple[Literal["none", "auto", "required"] | None, str | None]:
    """Return how tools are to be chosen and, if it must be a certain one, its name. Raises InvalidRequest."""
    choice = asked.tool_choice
    if not isinstance(choice, ToolChoice):
        return choice, None
    if choice.type == "allowed_tools" and choice.allowed_tools is not None:
        return choice.allowed_tools.mode, None
    if choice.type == "function" and choice.function is not None:
        return "required", choice.function.name
    raise InvalidRequest(f"`tool_choice` must have the field `{choice.type}`.", param=f"tool_choice.{choice.type}")


def stops_of(asked: Request) -> list[str]:
    """Return the stop sequences."""
    if asked.stop is None:
        return []
    return [asked.stop] if isinstance(asked.stop, str) else asked.stop


def schema_of(asked: Request) -> Object | None:
    """Return the JSON Schema that the answer must have. Raises InvalidRequest where one is announced and missing."""
    wanted = asked.response_format
    if wanted is None or wanted.type != "json_schema":
        return None
    if wanted.json_schema is None or wanted.json_schema.schema is None:
        field = "response_format.json_schema.schema"
        raise InvalidRequest(f"`{field}` is missing.", param=field)
    return wanted.json_schema.schema
