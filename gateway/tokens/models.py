"""What a model's name tells about how it counts: its encoding, its family's factor, its generation's rules."""

import functools
import re
from dataclasses import dataclass
from enum import Enum

from gateway.tokens.encodings import EncodingName, encoding_for
from gateway.tokens.images import (
    CLAUDE_IMAGES,
    CLAUDE_NEW_IMAGES,
    GEMINI_3_IMAGES,
    GEMINI_IMAGES,
    ImageRule,
    openai_image_rule,
)


class Family(Enum):
    """OPENAI has formulas; UNKNOWN is counted with them, but they may not be its own; the others are estimates."""

    OPENAI = "openai"
    UNKNOWN = "unknown"
    ESTIMATED = "estimated"


@dataclass(frozen=True, slots=True)
class ModelRules:
    """How to count for one model.

    `input_percent`, `output_percent`: tokens per 100 tokens of `encoding`. `message_tokens`, `tools_tokens`: what
    an estimated family adds per message, and once for tools. `prime`: tokens before the answer. The flags are
    snapshots with rules of their own: `first_chat` (gpt-3.5-turbo-0301), `before_2024`, `gpt_5`.
    """

    encoding: EncodingName
    family: Family
    images: ImageRule
    input_percent: int = 100
    output_percent: int = 100
    message_tokens: int = 0
    tools_tokens: int = 0
    prime: int = 3
    first_chat: bool = False
    before_2024: bool = False
    gpt_5: bool = False


# Measured per family on recorded traffic: Claude to 4.6 1.12-1.18, Opus 4.8 1.42-1.47, Gemini 1.04-1.07 of o200k.
_CLAUDE_PERCENT = 120
_CLAUDE_NEW_PERCENT = 150
_GEMINI_PERCENT = 110
# Not measured; their vocabularies are smaller than o200k. A margin for the hold, none for what is charged.
_OPEN_MODEL_INPUT_PERCENT = 120
# The measured overhead is 7 to 10 (Claude) and 0 to 1 (Gemini); chat templates of open models have 4 to 10.
_CLAUDE_MESSAGE_TOKENS = 10
_GEMINI_MESSAGE_TOKENS = 1
_OPEN_MODEL_MESSAGE_TOKENS = 10
# Anthropic's published size of the system prompt that comes with tools, for the largest of its current models.
_CLAUDE_TOOLS_TOKENS = 350
# Harmony puts a system message of its own before every conversation: date, effort, channels.
_HARMONY_PRIME = 80

_OPENAI_MODELS = (
    *("gpt-3.5", "gpt-35", "gpt-4", "gpt-5", "chatgpt-", "o1", "o3", "o4", "text-", "code-", "davinci", "babbage"),
    *("curie", "computer-use-preview", "codex-", "gpt2", "gpt-2"),
)
_OPEN_MODELS = re.compile(r"llama|mi[sx]tral|codestral|qwen|deepseek|grok|command|kimi|glm|phi-|nova|yi-|granite")
_REASONING_PRIMES = ("o1", "o3", "o4", "gpt-5")
_SNAPSHOTS_BEFORE_2024 = re.compile(r"-0301|-0314|-0613|-16k|-32k")
_GEMINI_BEFORE_3 = re.compile(r"gemini-(?:pro-|flash-)?[12]\.|gemma")
_CLAUDE_VERSION = re.compile(r"(opus|sonnet|haiku|claude)-(\d)(?:[.-](\d)(?!\d))?")


def base_name(model: str) -> str:
    """The name without routing prefix and fine-tuning: `openai/gpt-4o` and `ft:gpt-4o:acme::id` are both `gpt-4o`."""
    name = model.lower()
    if "ft:" in name:
        name = name.partition("ft:")[2].partition(":")[0]
    return name.rsplit("/", 1)[-1]


# Names come from requests, so the memory of them is bounded.
@functools.lru_cache(maxsize=1024)
def rules_for(model: str) -> ModelRules:
    """The counting rules of any model name, known or not."""
    name = base_name(model)
    if name.startswith(_OPENAI_MODELS):
        return _openai_rules(name, Family.OPENAI)
    if "claude" in name:
        return _claude_rules(name)
    if "gemini" in name or "gemma" in name:
        images = GEMINI_IMAGES if _GEMINI_BEFORE_3.search(name) else GEMINI_3_IMAGES
        return _estimated(_GEMINI_PERCENT, _GEMINI_PERCENT, _GEMINI_MESSAGE_TOKENS, images)
    if name.startswith("gpt-oss"):
        return ModelRules(EncodingName.O200K, Family.UNKNOWN, openai_image_rule(name), prime=_HARMONY_PRIME)
    if _OPEN_MODELS.search(name):
        return _estimated(_OPEN_MODEL_INPUT_PERCENT, 100, _OPEN_MODEL_MESSAGE_TOKENS, openai_image_rule(name))
    return _openai_rules(name, Family.UNKNOWN)


def _estimated(input_percent: int, output_percent: int, message_tokens: int, images: ImageRule) -> ModelRules:
    return ModelRules(
        EncodingName.O200K,
        Family.ESTIMATED,
        images,
        input_percent=input_percent,
        output_percent=output_percent,
        message_tokens=message_tokens,
    )


def _claude_rules(name: str) -> ModelRules:
    """Opus from 4.7 on and every 5 have the tokenizer that makes more tokens."""
    version = _CLAUDE_VERSION.search(name)
    major, minor = (int(version[2]), int(version[3] or 0)) if version else (0, 0)
    new = major >= 5 or (version is not None and version[1] == "opus" and (major, minor) >= (4, 7))
    percent = _CLAUDE_NEW_PERCENT if new else _CLAUDE_PERCENT
    return ModelRules(
        EncodingName.O200K,
        Family.ESTIMATED,
        CLAUDE_NEW_IMAGES if new else CLAUDE_IMAGES,
        input_percent=percent,
        output_percent=percent,
        message_tokens=_CLAUDE_MESSAGE_TOKENS,
        tools_tokens=_CLAUDE_TOOLS_TOKENS,
    )


def _openai_rules(name: str, family: Family) -> ModelRules:
    return ModelRules(
        encoding_for(name),
        family,
        openai_image_rule(name),
        prime=2 if name.startswith(_REASONING_PRIMES) else 3,
        first_chat=name in ("gpt-3.5-turbo-0301", "gpt-35-turbo-0301"),
        before_2024=_SNAPSHOTS_BEFORE_2024.search(name) is not None,
        gpt_5=name.startswith("gpt-5"),
    )
