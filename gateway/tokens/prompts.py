"""Counting a whole request: which reader, which formula, and what can be said of the result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from gateway.tokens.chat import read_chat
from gateway.tokens.conversation import Conversation
from gateway.tokens.estimate import estimated_tokens, scaled
from gateway.tokens.formula import Count, conversation_tokens
from gateway.tokens.gemini import read_embed_content, read_generate_content
from gateway.tokens.images import image_tokens, is_exact
from gateway.tokens.loose import items, text
from gateway.tokens.messages import read_messages
from gateway.tokens.models import Family, ModelRules
from gateway.tokens.responses import read_responses

_READERS: Mapping[str, Callable[[Mapping[str, object]], Conversation]] = {
    "messages": read_messages,
    "messages.count_tokens": read_messages,
    "responses": read_responses,
    "generate_content": read_generate_content,
    "embed_content": read_embed_content,
}
_PLAIN_FIELDS: Mapping[str, tuple[str, ...]] = {
    "completions": ("prompt", "suffix"),
    "embeddings": ("input",),
    "images.generations": ("prompt",),
    "audio.speech": ("input", "instructions"),
}
_FRAMED = frozenset(("images.generations", "audio.speech"))
"""What OpenAI puts around the text of these, nobody has told."""


@dataclass(frozen=True, slots=True)
class PromptCount:
    """The prompt tokens of one request.

    `tokens`: the best count of the input that can be seen, by the family's factor. `exact`: OpenAI's own formula, no
    estimate in it. `unseen`: part of the input cannot be seen from here (files, audio, stored conversations, what
    hosted tools find); reserve the model's context window then. `estimate` is what `tokens` was before it was
    calibrated, None where OpenAI's own formulas counted or something was unseen.
    """

    tokens: int
    exact: bool
    unseen: bool
    estimate: int | None = None

    @property
    def held(self) -> int:
        """What a hold goes by: what was learned makes it larger, never smaller."""
        return max(self.tokens, self.estimate or 0)


def count_prompt(
    operation: str, rules: ModelRules, body: Mapping[str, object], size_bytes: int, count: Count
) -> PromptCount:
    """Count a decoded JSON body of any shape; mistyped parts count as absent. Never raises.

    `operation` is the ledger's word for it; one that is not known is read as "chat".
    `size_bytes` is the body's size on the wire, the upper bound that stands in where a body is nested so deep that
    it cannot be walked (a token has at least one byte).
    """
    try:
        if operation in _PLAIN_FIELDS:
            is_bare = rules.family is Family.OPENAI and operation not in _FRAMED
            return _count_plain(_PLAIN_FIELDS[operation], rules, body, count, exact=is_bare)
        read = _READERS.get(operation, read_chat)
        counted = _count_conversation(read(body), rules, count)
        # Asked in another dialect's words, a model is shown a translation of them.
        return replace(counted, exact=False) if read is read_messages else counted
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


def _count_plain(
    fields: tuple[str, ...], rules: ModelRules, body: Mapping[str, object], count: Count, *, exact: bool
) -> PromptCount:
    tokens = sum(_plain_tokens(body.get(field), count) for field in fields)
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
