"""OpenAI's prompt tokens, by the formula that reproduces its bills.

Sources: the openai-cookbook's notebook on counting tokens, three MIT ports that recorded their pairs against the API
(hmarr/openai-chat-tokens, pamelafox/openai-messages-token-helper, n0isy/openai-tokens-count), and recorded traffic
for the rules of 2024 and later.
"""

import json
from collections.abc import Callable

from gateway.tokens.conversation import Choice, Conversation, Message, ResponseSchema, ToolCall
from gateway.tokens.declarations import Layout, declare
from gateway.tokens.encodings import EncodingName
from gateway.tokens.loose import compact_json
from gateway.tokens.models import ModelRules

Count = Callable[[str], int]

_INSTRUCTING_ROLES = ("system", "developer")
_ANSWERING_ROLES = ("tool", "function")
_MESSAGE_TOKENS = 3
_FIRST_CHAT_MESSAGE_TOKENS = 4
_ROLE_TOKENS = 1
_NO_ARGUMENTS_TOKENS = 3
_GPT_5_TOOLS_TOKENS = 82
_GPT_5_ASSISTANT_TOKENS = 2
_GPT_5_ROUND_TRIP_TOKENS = 6


def conversation_tokens(conversation: Conversation, rules: ModelRules, count: Count) -> int:
    """Prompt tokens of the text and tools, images excepted."""
    total = rules.prime + sum(_message_tokens(message, rules, count) for message in conversation.messages)
    if conversation.functions:
        total += _functions_tokens(conversation, rules, count)
    total += sum(count(tool) for tool in conversation.custom_tools)
    if conversation.schema is not None:
        total += _schema_tokens(conversation.schema, count)
        bare = not conversation.functions and _first_instruction(conversation) is None
        total += 4 if bare else 0
    return total


def _message_tokens(message: Message, rules: ModelRules, count: Count) -> int:
    total = _ROLE_TOKENS + sum(map(count, message.texts)) + _frame_tokens(message, rules, count)
    if message.function_call is not None:
        total += 3 + count(message.function_call.name) + count(message.function_call.arguments)
    if message.tool_calls:
        total += _calls_tokens(message.tool_calls, count)
        # Text beside the calls is a message of its own.
        total += _MESSAGE_TOKENS + _ROLE_TOKENS if any(message.texts) else 0
    if rules.gpt_5 and message.role == "assistant":
        total += _GPT_5_ASSISTANT_TOKENS if any(message.texts) else 0
        total += _GPT_5_ROUND_TRIP_TOKENS if message.tool_calls else 0
    return total


def _frame_tokens(message: Message, rules: ModelRules, count: Count) -> int:
    """What surrounds a message's text, its name included."""
    name_tokens = 0 if message.name is None else count(message.name)
    if rules.first_chat:
        return _FIRST_CHAT_MESSAGE_TOKENS + (name_tokens - 1 if message.name is not None else 0)
    if message.role in _ANSWERING_ROLES:
        return _MESSAGE_TOKENS - 1 + name_tokens
    return _MESSAGE_TOKENS + (name_tokens + 1 if message.name is not None else 0)


def _calls_tokens(calls: tuple[ToolCall, ...], count: Count) -> int:
    """Earlier tool calls; several in one message are wrapped as one parallel call."""
    total = sum(3 + 1 + 2 * count(call.name) + _arguments_tokens(call.arguments, count) for call in calls)
    parallel = len(calls)
    return total if parallel == 1 else total + 2 + 15 - (5 * parallel - 6)


def _arguments_tokens(arguments: str, count: Count) -> int:
    """The model is shown the arguments in a layout of OpenAI's own, not as it wrote them."""
    try:
        parsed: object = json.loads(arguments) if arguments else {}
    except ValueError:
        return count(arguments)
    if not isinstance(parsed, dict):
        return count(arguments)
    if not parsed:
        return _NO_ARGUMENTS_TOKENS
    # One more for each string of several lines: the layout of those is not known, six recorded calls agree.
    several_lines = sum(isinstance(value, str) and "\n" in value for value in parsed.values())
    return count(_shown(parsed)) + several_lines


def _shown(value: object) -> str:
    """Objects open a line, numbers are quoted."""
    match value:
        case dict():
            fields = ",".join(f'"{key}":{_shown(field)}' for key, field in value.items())
            return f"{{\n{fields}\n}}"
        case list():
            return f"[{','.join(map(_shown, value))}]"
        case int() | float() if not isinstance(value, bool):
            return f'"{value}"'
        case _:
            return compact_json(value)


def _functions_tokens(conversation: Conversation, rules: ModelRules, count: Count) -> int:
    declarations = declare(conversation.functions, _layout(conversation, rules))
    total = count(f"# Tools\n\n## functions\n\n{declarations}\n") + 2
    instruction = _first_instruction(conversation)
    if instruction is not None:
        # The declarations join the first system message: its frame is saved, a newline comes between.
        last = instruction.texts[-1] if instruction.texts else ""
        total += count(f"{last}\n") - count(last) - 4
    if rules.gpt_5:
        return total + _GPT_5_TOOLS_TOKENS
    return total + _choice_tokens(conversation.choice, conversation.legacy_functions, count)


def _layout(conversation: Conversation, rules: ModelRules) -> Layout:
    """The legacy field was billed in the legacy layout wherever it was recorded: on models of cl100k."""
    legacy_field = conversation.legacy_functions and rules.encoding is EncodingName.CL100K
    return Layout.LEGACY if rules.before_2024 or legacy_field else Layout.MODERN


def _choice_tokens(choice: Choice, legacy: bool, count: Count) -> int:
    if choice.function is not None:
        return (4 if legacy else 7) + count(choice.function)
    return 1 if choice.mode == "none" else 0


def _schema_tokens(schema: ResponseSchema, count: Count) -> int:
    return count(f"# Response Formats\n\n## {schema.name}\n\n{compact_json(schema.schema)}")


def _first_instruction(conversation: Conversation) -> Message | None:
    return next((m for m in conversation.messages if m.role in _INSTRUCTING_ROLES), None)
