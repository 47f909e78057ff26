"""Chat completions: from a request body to a Conversation."""

from collections.abc import Mapping

from gateway.tokens.content import Tools, read_choice, read_content, read_function, read_schema, read_tools
from gateway.tokens.conversation import Conversation, Message, ToolCall
from gateway.tokens.loose import mapping, mappings, text


def read_chat(body: Mapping[str, object]) -> Conversation:
    """A body of any JSON shape; what is not as the API has it counts as absent."""
    read = [_read_message(message) for message in mappings(body.get("messages"))]
    tools = read_tools(body.get("tools"))
    legacy = not tools.functions and bool(body.get("functions"))
    if legacy:
        functions = tuple(read_function(function) for function in mappings(body.get("functions")))
        tools = Tools(functions, tools.custom, tools.unseen)
    return Conversation(
        messages=tuple(message for message, _ in read),
        functions=tools.functions,
        legacy_functions=legacy,
        custom_tools=tools.custom,
        choice=read_choice(body.get("function_call" if legacy else "tool_choice")),
        schema=read_schema(body.get("response_format")),
        unseen=tools.unseen or any(unseen for _, unseen in read) or body.get("web_search_options") is not None,
    )


def _read_message(message: Mapping[str, object]) -> tuple[Message, bool]:
    """The message, and whether part of it cannot be seen (earlier audio answers are given by id)."""
    content = read_content(message.get("content"))
    name = message.get("name")
    legacy_call = mapping(message.get("function_call"))
    refusal = text(message.get("refusal"))
    read = Message(
        role=text(message.get("role")),
        texts=(*content.texts, refusal) if refusal else content.texts,
        name=name if isinstance(name, str) else None,
        images=content.images,
        tool_calls=tuple(_read_call(call) for call in mappings(message.get("tool_calls"))),
        function_call=_read_called(legacy_call) if legacy_call else None,
    )
    return read, content.unseen or message.get("audio") is not None


def _read_call(call: Mapping[str, object]) -> ToolCall:
    """A `tool_calls` element: a function's, or a custom tool's with `input` for arguments."""
    return _read_called(mapping(call.get("function", call.get("custom"))))


def _read_called(called: Mapping[str, object]) -> ToolCall:
    return ToolCall(text(called.get("name")), text(called.get("arguments")) or text(called.get("input")))
