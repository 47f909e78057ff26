"""The chunks of a chat completion as Anthropic's events, one by one as they come.

OpenAI counts calls of tools, Anthropic counts blocks of every kind; a call goes on wherever its block was opened. Some
servers of this format number no calls, or all of them 0: theirs are told apart by their ids, or by their names. Why the
answer ended and what it used comes last, together.
"""

from gateway.core.call import Call, Stamp
from gateway.core.sse import data_of, split_events
from gateway.core.usage import Usage
from gateway.dialects.chat_parts import arguments_text, written
from gateway.translate.anthropic_messages.answer import Ids, broken
from gateway.translate.anthropic_messages.events import PING, Events
from gateway.translate.anthropic_to_openai.answer import (
    Choice,
    Function,
    Said,
    ToolCall,
    end_of,
    message_of,
    read,
    status_of,
)

_NOTHING = Said()


class Stream:
    """One stream under way. `thinks` says that the client can read thoughts."""

    __slots__ = ("_done", "_events", "_failed", "_ids", "_places", "_reason", "_refusal", "_thinks")

    def __init__(self, call: Call, stamp: Stamp, *, thinks: bool) -> None:
        self._events = Events(call, stamp)
        self._ids = Ids(stamp)
        self._thinks = thinks
        self._places: dict[int, tuple[int, str | None]] = {}
        self._refusal: list[str] = []
        self._reason: str | None = None
        self._done = False
        self._failed = False

    def feed(self, events: bytes) -> bytes:
        """Return what whole events are in Anthropic's words."""
        told = [self._event(data_of(event)) for event in split_events(events)]
        return told[0] if len(told) == 1 else b"".join(told)

    def finish(self, events: bytes, usage: Usage | None) -> bytes:
        """Return the end of the stream. Raises UpstreamFailed where the provider did not end it."""
        told = self.feed(events)
        if self._failed:
            return told
        if self._reason is None and not self._done:
            raise broken("ended before it was complete")
        end = end_of(self._reason, called=bool(self._places), refusal="".join(self._refusal) or None)
        return told + self._events.end(end, usage)

    def _event(self, data: bytes) -> bytes:
        if not data:
            # A comment: the provider is still there.
            return PING if self._events.begun else b""
        if data.startswith(b"[DONE]"):
            self._done = True
            return b""
        answer = read(data)
        if answer is None:
            return b""
        if answer.error:
            self._failed = True
            return self._events.error(status_of(answer.error), message_of(answer) or "The provider failed.")
        return self._choice(answer.choices[0]) if answer.choices else b""

    def _choice(self, choice: Choice) -> bytes:
        said = choice.delta or choice.message or _NOTHING
        self._reason = choice.finish_reason or self._reason
        told = self._events.begin()
        text, thoughts = written(said.content), said.thoughts
        if self._thinks and thoughts:
            told += self._events.thought(thoughts)
        if text:
            told += self._events.text(text)
        if said.refusal:
            self._refusal.append(said.refusal)
            told += self._events.text(said.refusal)
        for called in said.tool_calls or ():
            told += self._call(called)
        return told

    def _call(self, called: ToolCall) -> bytes:
        """Return what opens a call, or adds to one that was opened before."""
        function = called.function or Function()
        opened = b""
        number = called.index or 0
        place, id = self._places.get(number, (None, None))
        if place is None or _is_another(called, id):
            place, opened = self._events.tool(self._ids.of(called.id), function.name or "")
            self._places[number] = (place, called.id)
        arguments = arguments_text(function.arguments)
        return opened + (self._events.arguments(place, arguments) if arguments else b"")


def _is_another(called: ToolCall, id: str | None) -> bool:
    """Tell whether a piece begins a call of its own, though the call with this id was opened under its number."""
    if called.id or id:
        return bool(called.id and id and called.id != id)
    return bool(called.function and called.function.name)
