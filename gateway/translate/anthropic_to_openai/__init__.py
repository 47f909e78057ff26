"""Anthropic's messages asked of models in OpenAI's format."""

import msgspec

from gateway.core.call import Call, ErrorAnswer, Head, Stamp
from gateway.core.prices import ModelFacts
from gateway.core.usage import Usage
from gateway.dialects.chat_completions import ChatCompletions
from gateway.translate.anthropic_to_openai.answer import error_of, whole_answer
from gateway.translate.anthropic_to_openai.request import asked_of_openai
from gateway.translate.anthropic_to_openai.stream import Stream


class AnthropicToOpenAI:
    """One message asked of a model in OpenAI's format."""

    wire_format = ChatCompletions()

    def __init__(self, call: Call, model: str, facts: ModelFacts, stamp: Stamp) -> None:
        body, self.dropped = asked_of_openai(call, model, facts)
        self.call = self.wire_format.parse(msgspec.json.encode(body), Head())
        self._asked = call
        self._stamp = stamp
        self._thinks = call.thinks is True
        self._stream = Stream(call, stamp, thinks=self._thinks)
        self.feed = self._stream.feed
        self.finish = self._stream.finish

    def answer(self, body: bytes, usage: Usage | None) -> bytes:
        """Return a message."""
        return whole_answer(body, self._asked, self._stamp, usage, thinks=self._thinks)

    def error(self, status: int, body: bytes) -> ErrorAnswer:
        """Return an error in Anthropic's shape."""
        return error_of(status, body, self._stamp)
