"""Chat completions to translate: as OpenAI's format reads them, and pieces that many tests ask with."""

import json
from typing import Any

from gateway.core.call import Call, Head, Stamp
from gateway.core.prices import ModelFacts
from gateway.dialects.chat_completions import ChatCompletions

STAMP = Stamp("req_0123", 1_750_000_000)
PIXEL = "data:image/png;base64,iVBORw0KGgo="
HELLO = {"role": "user", "content": "Hello"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a place",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}
THINKER = ModelFacts(200_000, 64_000, is_reasoning=True, cap_field="max_tokens")
PLAIN = ModelFacts(200_000, 8_192, is_reasoning=False, cap_field="max_tokens")


def chat(*messages: dict[str, Any], **fields: Any) -> Call:
    """A request of these messages, or of the shortest there is."""
    body = {"model": "the-model", "messages": list(messages) or [HELLO], **fields}
    return ChatCompletions().parse(json.dumps(body).encode(), Head())


def called(*ids: str, name: str = "get_weather", arguments: str = '{"place":"Rome"}', **fields: Any) -> dict[str, Any]:
    """An assistant's message that calls a function, once for each id."""
    calls = [{"id": id, "type": "function", "function": {"name": name, "arguments": arguments}} for id in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls, **fields}


def result(id: str, content: Any = "Sunny") -> dict[str, Any]:
    """What the function returned."""
    return {"role": "tool", "tool_call_id": id, "content": content}
