"""Gemini's pieces of a stream as Anthropic's events, one by one as they come.

Google's streams have no event that ends them: the answer is complete when its candidate has said why it ended, which
some models say with every piece. So the end is told when nothing more comes.
"""

from gateway.core.call import Call, Stamp
from gateway.core.sse import data_of, split_events
from gateway.core.usage import Usage
from gateway.translate.anthropic_messages.answer import End, Ids, broken
from gateway.translate.anthropic_messages.events import Events
from gateway.translate.anthropic_to_gemini.answer import blocked, end_of
from gateway.translate.anthropic_to_gemini.signatures import shown
from gateway.translate.gemini_content.answer import Candidate, FunctionCall, Part, read


class Stream:
    """One stream under way. `thinks` says that the client can read thoughts."""

    __slots__ = ("_blocked", "_called", "_events", "_failed", "_ids", "_reason", "_thinks")

    def __init__(self, call: Call, stamp: Stamp, *, thinks: bool) -> None:
        self._events = Events(call, stamp)
        self._ids = Ids(stamp)
        self._thinks = thinks
        self._called = False
        self._reason: str | None = None
        self._blocked: End | None = None
        self._failed = False

    def feed(self, events: bytes) -> bytes:
        """Return what whole events are in Anthropic's words."""
        told = [self._event(data) for event in split_events(events) if (data := data_of(event))]
        return told[0] if len(told) == 1 else b"".join(told)

    def finish(self, events: bytes, usage: Usage | None) -> bytes:
        """Return the end of the stream. Raises UpstreamFailed where Gemini did not end it."""
        told = self.feed(events)
        if self._failed:
            return told
        if self._blocked is None and self._reason is None:
            raise broken("ended before it was complete")
        end = self._blocked or end_of(self._reason, called=self._called)
        return told + self._events.end(end, usage)

    def _event(self, data: bytes) -> bytes:
        answer = read(data)
        if answer is None:
            return b""
        if answer.error is not None:
            self._failed = True
            return self._events.error(answer.error.code or 500, answer.error.message)
        if answer.candidates:
            return self._candidate(answer.candidates[0])
        if answer.prompt_feedback is not None and not self._events.begun:
            self._blocked = blocked(answer.prompt_feedback)
        return b""

    def _candidate(self, candidate: Candidate) -> bytes:
        self._reason = candidate.finish_reason or self._reason
        parts = candidate.content.parts or [] if candidate.content is not None else []
        return self._events.begin() + b"".join(map(self._part, parts))

    def _part(self, part: Part) -> bytes:
        """Return what a part adds, nothing for one of a kind that Anthropic's clients do not know."""
        if part.function_call is not None:
            return self._call(part, part.function_call)
        if not part.text:
            return b""
        if part.thought:
            return self._events.thought(part.text) if self._thinks else b""
        return self._events.text(part.text)

    def _call(self, part: Part, call: FunctionCall) -> bytes:
        """Return a call, which comes whole. Its signature is shown on the thoughts before it."""
        self._called = True
        signed = self._thinks and part.thought_signature
        told = self._events.signature(shown(part.thought_signature or "")) if signed else b""
        place, opened = self._events.tool(self._ids.of(call.id), call.name)
        return told + opened + self._events.arguments(place, bytes(call.args).decode())
