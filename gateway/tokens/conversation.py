"""What a request puts before the model, whichever API it came by: the one input of the counting formulas."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.tokens.images import Image


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model made earlier. `arguments` is the text it wrote, usually JSON."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `texts` are its text parts in order; `function_call` is the legacy field; None means absent."""

    role: str
    texts: tuple[str, ...] = ()
    name: str | None = None
    images: tuple[Image, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    function_call: ToolCall | None = None


@dataclass(frozen=True, slots=True)
class Function:
    """A function the model may call. `parameters` is its JSON schema, empty when it takes none."""

    name: str
    description: str
    parameters: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Choice:
    """`mode` is auto, none or required; `function` names the one that must be called, None when free."""

    mode: str = "auto"
    function: str | None = None


@dataclass(frozen=True, slots=True)
class ResponseSchema:
    """The JSON schema that the answer must follow."""

    name: str
    schema: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Conversation:
    """Everything of a request that becomes prompt tokens.

    `legacy_functions`: the functions came by `functions`, not `tools`. `custom_tools`: tools whose input is not JSON,
    as the compact JSON the client sent. `hidden_bytes`: size of encrypted text, of which only a bound is known.
    `unseen`: the provider will put in more than the request shows.
    """

    messages: tuple[Message, ...] = ()
    functions: tuple[Function, ...] = ()
    legacy_functions: bool = False
    custom_tools: tuple[str, ...] = ()
    choice: Choice = Choice()
    schema: ResponseSchema | None = None
    hidden_bytes: int = 0
    unseen: bool = False
