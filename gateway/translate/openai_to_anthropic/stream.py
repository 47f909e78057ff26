"""Claude's events in OpenAI's words, one by one as they come.

OpenAI's index of a tool call counts calls, Claude's counts blocks of every kind. What Claude thinks is told as it
comes, in `reasoning_content`, and once more with its signature when the block ends: so a client can send it back.
"""

import msgspec

from gateway.core.call import Call, Stamp
from gateway.core.sse import data_of, split_events
from gateway.core.usage import Usage
from gateway.translate.openai_chat.answer import Chunks, broken, error_event
from gateway.translate.openai_to_anthropic.answer import (
    STATUSES,
    Block,
    Error,
    StopDetails,
    finish_of,
    thinking_block,
)


class Delta(msgspec.Struct, gc=False):
    """What an event adds: to a block, or to the message."""

    type: str = ""
    text: str = ""
    partial_json: str = ""
    thinking: str = ""
    signature: str = ""
    stop_reason: str | None = None
    stop_details: StopDetails | None = None


class Event(msgspec.Struct, gc=False):
    """Any event."""

    type: str = ""
    content_block: Block | None = None
    delta: Delta | None = None
    error: Error | None = None


_events = msgspec.json.Decoder(Event)
_NO_DELTA = Delta()
PING = b": ping\n\n"


class Stream:
    """One stream under way. Events of one block never mix with those of another."""

    __slots__ = ("_block", "_calls", "_chunks", "_ended", "_failed", "_said", "_thoughts")

    def __init__(self, call: Call, stamp: Stamp) -> None:
        self._chunks = Chunks(call, stamp)
        self._block: Block | None = None
        self._said: list[str] = []
        self._calls = 0
        self._thoughts = 0
        self._ended = False
        self._failed = False

    def feed(self, events: bytes) -> bytes:
        """Return what whole events are in OpenAI's words."""
        told = [self._event(data) for event in split_events(events) if (data := data_of(event))]
        return told[0] if len(told) == 1 else b"".join(told)

    def finish(self, events: bytes, usage: Usage | None) -> bytes:
        """Return the end of the stream. Raises UpstreamFailed where Claude did not end it."""
        told = self.feed(events)
        if self._failed:
            return told
        if not self._ended:
            raise broken("ended before it was complete")
        return told + self._chunks.last(usage)

    def _event(self, data: bytes) -> bytes:
        try:
            event = _events.decode(data)
        except (msgspec.MsgspecError, RecursionError):
            return b""
        match event.type:
            case "content_block_delta":
                return self._goes_on(event.delta or _NO_DELTA)
            case "content_block_start":
                return self._begins(event.content_block)
            case "content_block_stop":
                return self._stops()
            case "message_start":
                return self._chunks.delta({"role": "assistant", "content": "", "refusal": None})
            case "message_delta":
                return self._message_ends(event.delta or _NO_DELTA)
            case "message_stop":
                self._ended = True
            case "ping":
                return PING
            case "error":
                self._failed = True
                error = event.error or Error()
                return error_event(STATUSES.get(error.type, 500), error.message)
        return b""

    def _begins(self, block: Block | None) -> bytes:
        self._block = block
        self._said = []
        if block is None:
            return b""
        if block.type == "tool_use":
            index, self._calls = self._calls, self._calls + 1
            function = {"name": block.name, "arguments": ""}
            call = {"index": index, "id": block.id, "type": "function", "function": function}
            return self._chunks.delta({"tool_calls": [call]})
        if block.type == "text" and block.text:
            return self._chunks.delta({"content": block.text})
        return b""

    def _goes_on(self, delta: Delta) -> bytes:
        match delta.type:
            case "text_delta":
                return self._chunks.delta({"content": delta.text})
            case "input_json_delta" if (
                delta.partial_json and self._block is not None and self._block.type == "tool_use"
            ):
                self._said.append(delta.partial_json)
                return self._arguments(delta.partial_json)
            case "thinking_delta":
                self._said.append(delta.thinking)
                return self._chunks.delta({"reasoning_content": delta.thinking})
            case "signature_delta" if self._block is not None:
                self._block.signature += delta.signature
        return b""

    def _stops(self) -> bytes:
        block, self._block = self._block, None
        if block is None:
            return b""
        if block.type == "tool_use" and not self._said:
            return self._arguments(bytes(block.input).decode())
        if block.type not in ("thinking", "redacted_thinking"):
            return b""
        block.thinking += "".join(self._said)
        index, self._thoughts = self._thoughts, self._thoughts + 1
        return self._chunks.delta({"thinking_blocks": [{"index": index, **thinking_block(block)}]})

    def _arguments(self, text: str) -> bytes:
        """Return more of the arguments of the last call."""
        return self._chunks.delta({"tool_calls": [{"index": self._calls - 1, "function": {"arguments": text}}]})

    def _message_ends(self, delta: Delta) -> bytes:
        if delta.stop_reason is None:
            return b""
        told = b""
        if delta.stop_details is not None and delta.stop_details.explanation:
            told = self._chunks.delta({"refusal": delta.stop_details.explanation})
        return told + self._chunks.end(finish_of(delta.stop_reason))
