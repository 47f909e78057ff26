"""Which operation can be asked of providers of which other dialect."""

import re
from collections.abc import Callable, Mapping

from gateway.core.call import Translation
from gateway.core.selection import DIALECT_PROVIDERS
from gateway.core.upstreams import Provider
from gateway.dialects.count_tokens import input_tokens
from gateway.translate.anthropic_to_gemini import AnthropicToGemini
from gateway.translate.anthropic_to_openai import AnthropicToOpenAI
from gateway.translate.openai_to_anthropic import OpenAIToAnthropic
from gateway.translate.openai_to_gemini import OpenAIToGemini
from gateway.translate.openai_to_gemini.embeddings import OpenAIEmbeddingsToGemini

TRANSLATIONS: Mapping[tuple[str, str], Translation] = {
    ("chat", "anthropic"): OpenAIToAnthropic,
    ("chat", "gemini"): OpenAIToGemini,
    ("embeddings", "gemini"): OpenAIEmbeddingsToGemini,
    ("messages", "openai"): AnthropicToOpenAI,
    ("messages", "gemini"): AnthropicToGemini,
}
"""(the client's operation, the dialect that the provider speaks) -> how it is said there."""
COUNTS: Mapping[str, Callable[[int], bytes]] = {"messages.count_tokens": input_tokens}
"""Operations that count a prompt -> how the count is said. For a model of another dialect the gateway itself counts."""
CONVERSATIONS: Mapping[str, str] = {"openai": "chat", "anthropic": "messages", "gemini": "generate_content"}
"""Dialect -> the operation by which its clients talk with models."""

_OTHER_WORK = re.compile(
    r"embed|whisper|transcribe|tts|speech|dall-e|gpt-image|imagen|veo-|sora|moderation|realtime|live|davinci|babbage|"
    r"-instruct$|rerank|aqa$",
    re.IGNORECASE,
)
"""In the names of models that do not converse; no provider's list says it."""


def can_ask(dialect: str, provider: Provider) -> bool:
    """Tell whether clients of a dialect can talk with a provider's models: it speaks it, or it can be translated."""
    return any(
        provider in providers and (language == dialect or (CONVERSATIONS[dialect], language) in TRANSLATIONS)
        for language, providers in DIALECT_PROVIDERS.items()
    )


def is_offered(dialect: str, model: str) -> bool:
    """Tell whether a list for clients of a dialect names a model: Anthropic's can do nothing but converse."""
    return dialect != "anthropic" or _OTHER_WORK.search(model) is None
