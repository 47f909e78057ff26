"""OpenAI's chat completions asked of Gemini."""

import msgspec

from gateway.core.call import Call, ErrorAnswer, Head, Stamp
from gateway.core.prices import ModelFacts
from gateway.core.usage import Usage
from gateway.dialects.generate_content import GenerateContent
from gateway.translate.openai_to_gemini.answer import error_of, whole_answer
from gateway.translate.openai_to_gemini.request import asked_of_gemini
from gateway.translate.openai_to_gemini.stream import Stream

VERSION = "v1beta"
"""Instructions, functions and schemas are not in v1."""
WHOLE, STREAMED = (GenerateContent(VERSION, streams=streams) for streams in (False, True))


class OpenAIToGemini:
    """One chat completion asked of Gemini."""

    def __init__(self, call: Call, model: str, facts: ModelFacts, stamp: Stamp) -> None:
        asked, self.dropped = asked_of_gemini(call, model, facts)
        self.wire_format = STREAMED if call.streams else WHOLE
        head = Head({"model": model}, b"alt=sse" if call.streams else b"")
        self.call = self.wire_format.parse(msgspec.json.encode(asked), head)
        self._asked = call
        self._stamp = stamp
        self._stream = Stream(call, stamp)
        self.feed = self._stream.feed
        self.finish = self._stream.finish

    def answer(self, body: bytes, usage: Usage | None) -> bytes:
        """Return a completion."""
        return whole_answer(body, self._asked, self._stamp, usage)

    def error(self, status: int, body: bytes) -> ErrorAnswer:
        """Return an error in OpenAI's shape."""
        return error_of(status, body)
