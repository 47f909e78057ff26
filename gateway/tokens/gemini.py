"""Gemini's requests: from `generateContent`, and what is to be embedded, to a Conversation. Both spellings are read."""

from collections.abc import Mapping

from gateway.tokens.conversation import Conversation, Function, Message, ResponseSchema, ToolCall
from gateway.tokens.images import Image, read_image
from gateway.tokens.loose import compact_json, mapping, mappings, text

# What tells the size of a picture stands in its first bytes, see dimensions.py; copying all of it would take long.
_HEADER_CHARACTERS = 384 * 1024
# In recorded traffic 2.7 KB of signature stand for 419 tokens of thought.
_SIGNATURE_CHARACTERS_PER_TOKEN = 6


def read_generate_content(body: Mapping[str, object]) -> Conversation:
    """A body of any JSON shape; what is not as the API has it counts as absent."""
    read = [_Content(content) for content in (*_system(body), *mappings(body.get("contents")))]
    tools = mappings(body.get("tools"))
    functions = [each for tool in tools for each in mappings(_either(tool, "functionDeclarations"))]
    hosted = any(name not in ("functionDeclarations", "function_declarations") for tool in tools for name in tool)
    cached = _either(body, "cachedContent") is not None
    return Conversation(
        messages=tuple(content.message() for content in read),
        functions=tuple(map(_function, functions)),
        schema=_schema(mapping(_either(body, "generationConfig"))),
        hidden_bytes=sum(content.hidden for content in read),
        unseen=hosted or cached or any(content.unseen for content in read),
    )


def read_embed_content(body: Mapping[str, object]) -> Conversation:
    """One request, or a batch of them: each content is a message."""
    many = mappings(body.get("requests")) or [body]
    read = [_Content(mapping(each.get("content"))) for each in many]
    titles = tuple(text(each.get("title")) for each in many)
    return Conversation(
        messages=(*(content.message() for content in read), Message(role="user", texts=titles)),
        unseen=any(content.unseen for content in read),
    )


class _Content:
    """What one content holds; `hidden` are the tokens of its signatures."""

    def __init__(self, content: Mapping[str, object]) -> None:
        self._role = text(content.get("role")) or "user"
        self._texts: list[str] = []
        self._images: list[Image] = []
        self._calls: list[ToolCall] = []
        self.hidden = 0
        self.unseen = False
        # A system instruction may be a single part, or parts without a list.
        parts = content.get("parts")
        for part in mappings(parts if isinstance(parts, list) else [parts or content]):
            self._read(part)

    def message(self) -> Message:
        """The content as a message."""
        return Message(self._role, tuple(self._texts), images=tuple(self._images), tool_calls=tuple(self._calls))

    def _read(self, part: Mapping[str, object]) -> None:
        self._texts.append(text(part.get("text")))
        self.hidden += len(text(_either(part, "thoughtSignature"))) // _SIGNATURE_CHARACTERS_PER_TOKEN
        if called := mapping(_either(part, "functionCall")):
            self._calls.append(ToolCall(text(called.get("name")), compact_json(called.get("args"))))
        if answered := mapping(_either(part, "functionResponse")):
            self._calls.append(ToolCall(text(answered.get("name")), compact_json(answered.get("response"))))
            for inner in mappings(answered.get("parts")):
                self._read(inner)
        for name in ("executableCode", "codeExecutionResult"):
            code = mapping(_either(part, name))
            self._texts.append(text(code.get("code")) or text(code.get("output")))
        if blob := mapping(_either(part, "inlineData")):
            self._read_blob(blob)
        # Tools that ran at the provider, and files there or behind a URL.
        self.unseen |= any(_either(part, name) is not None for name in ("fileData", "toolCall", "toolResponse"))

    def _read_blob(self, blob: Mapping[str, object]) -> None:
        kind, data = text(_either(blob, "mimeType")).lower(), blob.get("data")
        if kind.startswith("image/") and isinstance(data, str):
            self._images.append(read_image(f"data:{kind};base64,{data[:_HEADER_CHARACTERS]}", ""))
        else:
            self.unseen = True


def _either(fields: Mapping[str, object], camel: str) -> object:
    """A field in either of its spellings."""
    if camel in fields:
        return fields[camel]
    return fields.get("".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in camel))


def _system(body: Mapping[str, object]) -> list[Mapping[str, object]]:
    instruction = _either(body, "systemInstruction")
    if isinstance(instruction, str):
        return [{"role": "system", "parts": [{"text": instruction}]}]
    return [{**instruction, "role": "system"}] if isinstance(instruction, Mapping) else []


def _function(declared: Mapping[str, object]) -> Function:
    schema = _either(declared, "parametersJsonSchema") or declared.get("parameters")
    return Function(text(declared.get("name")), text(declared.get("description")), mapping(schema))


def _schema(config: Mapping[str, object]) -> ResponseSchema | None:
    schema = _either(config, "responseJsonSchema") or _either(config, "responseSchema")
    return ResponseSchema("", mapping(schema)) if isinstance(schema, Mapping) else None
