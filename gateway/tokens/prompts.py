"""Counting a whole request: which reader, which formula, and what can be said of the result."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.tokens.chat import read_chat
from gateway.tokens.conversation import Conversation
from gateway.tokens.estimate import estimated_tokens, scaled
from gateway.tokens.formula import Count, conversation_tokens
from gateway.tokens.images import image_tokens, is_exact
from gateway.tokens.loose import items, text
from gateway.tokens.models import Family, ModelRules
from gateway.tokens.responses import read_responses

_PLAIN_FIELDS: Mapping[str, tuple[str, ...]] = {"completions": ("prompt", "suffix"), "embeddings": ("input",)}


@dataclass(frozen=True, slots=True)
class PromptCount:
    """The prompt tokens of one request.

    `tokens`: the best count of the input that can be seen, by the family's factor. `exact`: OpenAI's own formula, no
    estimate in it. `unseen`: part of the input cannot be seen from here (files, audio, stored conversations, what
    hosted tools find); reserve the model's context window then.
    """

    tokens: int
    exact: bool
    unseen: bool


def count_prompt(
    operation: str, rules: ModelRules, body: Mapping[str, object], size_bytes: int, count: Count
) -> PromptCount:
    """Count a decoded JSON body of any shape; mistyped parts count as absent. Never raises.

    `operation` is "completions", "embeddings" or "responses"; every other word is read as "chat".
    `size_bytes` is the body's size on the wire, the upper bound that stands in where a body is nested so deep that
    it cannot be walked (a token has at least one byte).
    """
    try:
        if operation in _PLAIN_FIELDS:
            return _count_plain(_PLAIN_FIELDS[operation], rules, body, count)
        read = read_responses if operation == "responses" else read_chat
        return _count_conversation(read(body), rules, count)
    except (RecursionError, ValueError):
        return PromptCount(scaled(size_bytes, rules.input_percent), exact=False, unseen=False)


def _count_conversation(conversation: Conversation, rules: ModelRules, count: Count) -> PromptCount:
    formula = estimated_tokens if rules.family is Family.ESTIMATED else conversation_tokens
    images = [image for message in conversation.messages for image in message.images]
    tokens = formula(conversation, rules, count) + sum(image_tokens(image, rules.images) for image in images)
    tokens += conversation.hidden_bytes
    exact = (
        rules.family is Family.OPENAI
        and not (conversation.unseen or conversation.hidden_bytes or conversation.custom_tools or conversation.schema)
        and all(is_exact(image, rules.images) for image in images)
    )
    return PromptCount(tokens, exact, conversation.unseen)


def _count_plain(fields: tuple[str, ...], rules: ModelRules, body: Mapping[str, object], count: Count) -> PromptCount:
    tokens = sum(_plain_tokens(body.get(field), count) for field in fields)
    exact = rules.family is Family.OPENAI
    return PromptCount(tokens if exact else scaled(tokens, rules.input_percent), exact, unseen=False)


def _plain_tokens(value: object, count: Count) -> int:
    """A text, an array of texts, one array of token ids, or an array of such arrays."""
    total = count(text(value))
    for item in items(value):
        if isinstance(item, int):
            total += 1
        elif isinstance(item, str):
            total += count(item)
        else:
            total += len(items(item))
    return total
