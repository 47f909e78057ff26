"""Prompt tokens of models without a public formula: what o200k makes of the text, by the family's measured factor."""

from gateway.tokens.conversation import Conversation, Message
from gateway.tokens.formula import Count
from gateway.tokens.loose import compact_json
from gateway.tokens.models import ModelRules


def scaled(tokens: int, percent: int) -> int:
    """`percent` per cent of a count, rounded up."""
    return -(-tokens * percent // 100)


def estimated_tokens(conversation: Conversation, rules: ModelRules, count: Count) -> int:
    """Prompt tokens of the text and tools, images excepted; meant to be a little too high."""
    text_tokens = sum(_message_tokens(message, count) for message in conversation.messages)
    text_tokens += _tools_tokens(conversation, count)
    total = scaled(text_tokens, rules.input_percent) + rules.message_tokens * len(conversation.messages)
    return total + (rules.tools_tokens if conversation.functions or conversation.custom_tools else 0)


def _message_tokens(message: Message, count: Count) -> int:
    calls = [*message.tool_calls, *([message.function_call] if message.function_call else [])]
    called = sum(count(call.name) + count(call.arguments) for call in calls)
    return sum(map(count, message.texts)) + count(message.name or "") + called


def _tools_tokens(conversation: Conversation, count: Count) -> int:
    """Other providers show their models the JSON schemas more or less as they are."""
    functions = [
        {"name": function.name, "description": function.description, "input_schema": function.parameters}
        for function in conversation.functions
    ]
    total = sum(count(compact_json(function)) for function in functions) + sum(map(count, conversation.custom_tools))
    return total + (count(compact_json(conversation.schema.schema)) if conversation.schema else 0)
