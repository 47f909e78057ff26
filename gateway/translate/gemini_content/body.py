"""A request in Google's words. Shapes: python-genai's types and the reference of `generateContent`."""

from typing import Literal

import msgspec


class Camel(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """How Google writes names; what is not set is not sent."""


class Blob(Camel, frozen=True):
    """Bytes in base64."""

    mime_type: str
    data: str


class FileData(Camel, frozen=True):
    """Bytes that Google fetches."""

    file_uri: str
    mime_type: str = ""


class FunctionCall(Camel, frozen=True):
    """A function that the model called."""

    name: str
    args: msgspec.Raw
    id: str = ""


class FunctionResponse(Camel, frozen=True):
    """What it returned: an object."""

    name: str
    response: msgspec.Raw
    id: str = ""


class Part(Camel, frozen=True):
    """One part; one field of it is set, and perhaps the signature of the thought behind it."""

    text: str | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None
    thought_signature: str | None = None


class Content(Camel, frozen=True):
    """One turn, or the instruction."""

    parts: list[Part]
    role: Literal["user", "model"] | None = None


class FunctionDeclaration(Camel, frozen=True):
    """A function. Its parameters are a JSON Schema."""

    name: str
    description: str | None = None
    parameters_json_schema: dict[str, msgspec.Raw] | None = None


class Tool(Camel, frozen=True):
    """The functions that may be called."""

    function_declarations: list[FunctionDeclaration]


class FunctionCallingConfig(Camel, frozen=True):
    """How to choose functions."""

    mode: Literal["AUTO", "ANY", "NONE"]
    allowed_function_names: list[str] = []


class ToolConfig(Camel, frozen=True):
    """How to choose tools."""

    function_calling_config: FunctionCallingConfig


class ThinkingConfig(Camel, frozen=True):
    """How much to think, by budget or by level."""

    include_thoughts: bool = False
    thinking_budget: int | None = None
    thinking_level: str | None = None


class GenerationConfig(Camel, frozen=True):
    """How to write."""

    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] = []
    candidate_count: int = 1
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_logprobs: bool = False
    logprobs: int | None = None
    response_mime_type: str | None = None
    response_json_schema: dict[str, msgspec.Raw] | None = None
    thinking_config: ThinkingConfig | None = None


class Body(Camel, frozen=True):
    """A request to `generateContent` or `streamGenerateContent`."""

    contents: list[Content]
    system_instruction: Content | None = None
    tools: list[Tool] = []
    tool_config: ToolConfig | None = None
    generation_config: GenerationConfig | None = None
