"""OpenAI's chat completions asked of Claude."""

from collections.abc import Mapping

import msgspec

from gateway.core.call import Call, ErrorAnswer, Head, Stamp
from gateway.core.prices import ModelFacts
from gateway.core.usage import Usage
from gateway.dialects.json_body import change
from gateway.dialects.messages import Messages
from gateway.translate.openai_to_anthropic.answer import error_of, whole_answer
from gateway.translate.openai_to_anthropic.models import LEAST_BUDGET
from gateway.translate.openai_to_anthropic.request import Thoughtful, asked_of_claude
from gateway.translate.openai_to_anthropic.stream import Stream


class Thinker(msgspec.Struct, gc=False):
    """Of a request's body, how Claude is to think."""

    thinking: Thoughtful | None = None


_thinkers = msgspec.json.Decoder(Thinker)


class Capped(Messages):
    """Claude's own format, with a cap that the gateway may lower: OpenAI's clients need not set one."""

    def rewrite(self, call: Call, *, model: str, output_cap: int | None, cap_field: str, ask_usage: bool) -> bytes:
        """Return the body, with the cap if there is one, and with less thinking where that would not fit below it."""
        del model, cap_field, ask_usage
        if output_cap is None:
            return call.body
        return change(call.body, {"max_tokens": output_cap, **_less_thinking(call.body, output_cap)})


def _less_thinking(body: bytes, output_cap: int) -> Mapping[str, object]:
    thinking = _thinkers.decode(body).thinking
    if thinking is None or (thinking.budget_tokens or 0) < output_cap:
        return {}
    budget = output_cap // 2
    if budget < LEAST_BUDGET:
        return {"thinking": {"type": "disabled"}}
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


class OpenAIToAnthropic:
    """One chat completion asked of Claude."""

    wire_format = Capped()

    def __init__(self, call: Call, model: str, facts: ModelFacts, stamp: Stamp) -> None:
        body, self.dropped = asked_of_claude(call, model, facts)
        self.call = self.wire_format.parse(msgspec.json.encode(body), Head())
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
