"""Anthropic's Messages: from a request body to the same Conversation that the equal chat request would give."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.tokens.content import read_function
from gateway.tokens.conversation import Choice, Conversation, Function, Message, ResponseSchema, ToolCall
from gateway.tokens.images import Image, read_image
from gateway.tokens.loose import compact_json, mapping, mappings, text

# Tools that the client runs but the provider describes: Anthropic's documents tell of 245 (bash) to 735 (computer)
# tokens for a description that stands in no request.
_DESCRIBED_TOKENS = 800
_DESCRIBED_TOOLS = ("bash_", "text_editor_", "computer_", "memory_", "browser_", "tool_search_tool_")
# What an image's header can be behind; the rest of it is not looked at.
_HEADER_CHARACTERS = 512 * 1024
_CHOICES = {"auto": "auto", "any": "required", "tool": "required", "none": "none"}


@dataclass(slots=True)
class _Content:
    """What one message's blocks hold, as it is read."""

    texts: list[str] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    unseen: bool = False

    def read(self, value: object) -> None:
        """Read a string, or blocks."""
        if isinstance(value, str):
            self.texts.append(value)
        for block in mappings(value):
            self._read_block(block)

    def _read_block(self, block: Mapping[str, object]) -> None:
        match block.get("type"):
            case "text":
                self.texts.append(text(block.get("text")))
            case "thinking":
                # Its signature is the same once more, encrypted.
                self.texts.append(text(block.get("thinking")))
            case "image":
                self._read_image(mapping(block.get("source")))
            case "document":
                self._read_document(block)
            case "tool_use" | "server_tool_use" | "mcp_tool_use":
                self.calls.append(ToolCall(text(block.get("name")), compact_json(block.get("input"))))
            case "tool_result" | "mcp_tool_result":
                self.read(block.get("content"))
            case "container_upload":
                self.unseen = True
            case _:
                # What the provider's own tools found, encrypted text, kinds that came later: at most as it stands.
                self.texts.append(compact_json(block))

    def _read_image(self, source: Mapping[str, object]) -> None:
        data = text(source.get("data"))[:_HEADER_CHARACTERS]
        self.images.append(read_image(f"data:image;base64,{data}", ""))

    def _read_document(self, block: Mapping[str, object]) -> None:
        """Text is read; of a PDF, a URL or a file nobody here knows the pages."""
        source = mapping(block.get("source"))
        self.texts += [text(block.get("title")), text(block.get("context"))]
        match source.get("type"):
            case "text":
                self.texts.append(text(source.get("data")))
            case "content":
                self.read(source.get("content"))
            case _:
                self.unseen = True


def read_messages(body: Mapping[str, object]) -> Conversation:
    """A body of any JSON shape; what is not as the API has it counts as absent."""
    messages: list[Message] = []
    unseen = bool(body.get("mcp_servers"))
    turns = [("system", body.get("system"))] if body.get("system") else []
    turns += [(text(turn.get("role")), turn.get("content")) for turn in mappings(body.get("messages"))]
    for role, value in turns:
        content = _Content()
        content.read(value)
        messages.append(Message(role, tuple(content.texts), None, tuple(content.images), tuple(content.calls)))
        unseen |= content.unseen
    tools = mappings(body.get("tools"))
    functions, described, hosted = _read_tools(tools)
    return Conversation(
        messages=tuple(messages),
        functions=tuple(functions),
        custom_tools=tuple(map(compact_json, described)),
        choice=_read_choice(mapping(body.get("tool_choice"))),
        schema=_read_schema(mapping(body.get("output_config")).get("format")),
        hidden_bytes=_DESCRIBED_TOKENS * len(described),
        unseen=unseen or hosted,
    )


def _read_tools(
    tools: Sequence[Mapping[str, object]],
) -> tuple[list[Function], list[Mapping[str, object]], bool]:
    """The client's own functions, the tools that the provider describes, and whether it runs others itself."""
    own = [tool for tool in tools if tool.get("type") in (None, "custom")]
    described = [tool for tool in tools if text(tool.get("type")).startswith(_DESCRIBED_TOOLS)]
    functions = [read_function({**tool, "parameters": tool.get("input_schema")}) for tool in own]
    return functions, described, len(own) + len(described) < len(tools)


def _read_choice(choice: Mapping[str, object]) -> Choice:
    name = text(choice.get("name"))
    return Choice(_CHOICES.get(text(choice.get("type")), "auto"), name or None)


def _read_schema(wanted: object) -> ResponseSchema | None:
    schema = mapping(mapping(wanted).get("schema"))
    return ResponseSchema("", schema) if schema else None
