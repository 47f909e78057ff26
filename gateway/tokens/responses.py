"""The Responses API: from a request body to the same Conversation that the equal chat request would give."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.tokens.content import Content, joined, read_choice, read_content, read_schema, read_tools
from gateway.tokens.conversation import Conversation, Message, ToolCall
from gateway.tokens.loose import mapping, mappings, text

# What these name lives at the provider and becomes part of the prompt there.
_STORED_INPUT = ("previous_response_id", "conversation", "prompt")
_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
_CALL_OUTPUTS = frozenset({"function_call_output", "custom_tool_call_output"})


@dataclass(slots=True)
class _Reading:
    """The messages so far. Tool calls wait, because neighbouring ones are one assistant message."""

    messages: list[Message] = field(default_factory=list)
    waiting_calls: list[ToolCall] = field(default_factory=list)
    hidden_bytes: int = 0
    unseen: bool = False

    def add(self, message: Message) -> None:
        self.flush()
        self.messages.append(message)

    def flush(self) -> None:
        if self.waiting_calls:
            self.messages.append(Message(role="assistant", tool_calls=tuple(self.waiting_calls)))
            self.waiting_calls.clear()


def read_responses(body: Mapping[str, object]) -> Conversation:
    """A body of any JSON shape; what is not as the API has it counts as absent."""
    reading = _Reading()
    if isinstance(instructions := body.get("instructions"), str):
        reading.add(Message(role="system", texts=(instructions,)))
    _read_input(body.get("input"), reading)
    reading.flush()
    tools = read_tools(body.get("tools"))
    stored = any(body.get(key) is not None for key in _STORED_INPUT)
    return Conversation(
        messages=tuple(reading.messages),
        functions=tools.functions,
        custom_tools=tools.custom,
        choice=read_choice(body.get("tool_choice")),
        schema=read_schema(mapping(body.get("text")).get("format")),
        hidden_bytes=reading.hidden_bytes,
        unseen=reading.unseen or tools.unseen or stored,
    )


def _read_input(value: object, reading: _Reading) -> None:
    """`input`: one user text, or items."""
    if isinstance(value, str):
        reading.add(Message(role="user", texts=(value,)))
    for item in mappings(value):
        _read_item(item, reading)


def _read_item(item: Mapping[str, object], reading: _Reading) -> None:
    kind = text(item.get("type")) or "message"
    if kind == "message":
        content = read_content(item.get("content"))
        reading.add(Message(role=text(item.get("role")), texts=content.texts, images=content.images))
        reading.unseen |= content.unseen
    elif kind in _CALLS:
        reading.waiting_calls.append(ToolCall(text(item.get("name")), text(item.get(_CALLS[kind]))))
    elif kind in _CALL_OUTPUTS:
        content = read_content(item.get("output"))
        reading.add(Message(role="tool", texts=content.texts, images=content.images))
        reading.unseen |= content.unseen
    elif kind == "reasoning":
        _read_reasoning(item, reading)
    else:
        # Calls of hosted tools, references to stored items, kinds that came later.
        reading.unseen = True


def _read_reasoning(item: Mapping[str, object], reading: _Reading) -> None:
    """Earlier reasoning: encrypted, its size is a bound; named by its id only, it is stored at the provider."""
    content: Content = joined([read_content(item.get("summary")), read_content(item.get("content"))])
    if any(content.texts):
        reading.add(Message(role="assistant", texts=content.texts))
    encrypted = text(item.get("encrypted_content"))
    reading.hidden_bytes += len(encrypted) * 3 // 4
    reading.unseen |= not encrypted and item.get("id") is not None
