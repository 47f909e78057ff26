"""Writes the events of one stream in Anthropic's words: one content block after the other, each opened and closed."""

from collections.abc import Mapping

import msgspec

from gateway.core.call import Call, Stamp
from gateway.core.usage import Usage
from gateway.translate.anthropic_messages.answer import End, error_of, head_of, usage_block

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":%b}}\n\n'
)
BYTES_PER_TOKEN = 4
_NOBODY = -1


class Events:
    """The events, in order. `begun` is false until the first of them is written.

    The figures of the input come at the end, when they are known; those of the start are a rough estimate.
    """

    __slots__ = ("_head", "_index", "_kind", "begun")

    def __init__(self, call: Call, stamp: Stamp) -> None:
        estimate = Usage(input_tokens=len(call.body) // BYTES_PER_TOKEN)
        self._head = {
            **head_of(call, stamp),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_block(estimate),
        }
        self._index = _NOBODY
        self._kind: str | None = None
        self.begun = False

    def begin(self) -> bytes:
        """Return the event that opens the stream, nothing if it was opened before."""
        if self.begun:
            return b""
        self.begun = True
        return _event(b"message_start", {"type": "message_start", "message": self._head})

    def text(self, text: str) -> bytes:
        """Return what adds text."""
        return self._inside("text", {"type": "text", "text": ""}) + self._delta(b"text_delta", b"text", text)

    def thought(self, text: str) -> bytes:
        """Return what adds to the thoughts."""
        opened = self._inside("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        return opened + (self._delta(b"thinking_delta", b"thinking", text) if text else b"")

    def signature(self, signature: str) -> bytes:
        """Return what signs the thoughts so far, and ends them."""
        return self.thought("") + self._delta(b"signature_delta", b"signature", signature) + self._close()

    def tool(self, id: str, name: str) -> tuple[int, bytes]:
        """Return the place of a new call of a tool, and what opens it."""
        block = {"type": "tool_use", "id": id, "name": name, "input": {}}
        opened = self.begin() + self._close() + self._open("tool_use", block)
        return self._index, opened

    def arguments(self, place: int, text: str) -> bytes:
        """Return what adds to the input of a call."""
        return self._delta(b"input_json_delta", b"partial_json", text, place)

    def end(self, end: End, usage: Usage | None) -> bytes:
        """Return the end of the stream."""
        figures = {"output_tokens": 0} if usage is None else usage_block(usage)
        last = {"type": "message_delta", "delta": end.fields, "usage": figures}
        return self.begin() + self._close() + _event(b"message_delta", last) + STOP

    def error(self, status: int, message: str) -> bytes:
        """Return an error that the provider sent in the middle of its stream."""
        return _event(b"error", {"type": "error", "error": error_of(status, message)})

    def _inside(self, kind: str, block: Mapping[str, object]) -> bytes:
        """Return what it takes to be inside of a block of this kind."""
        if self._kind == kind:
            return b""
        return self.begin() + self._close() + self._open(kind, block)

    def _open(self, kind: str, block: Mapping[str, object]) -> bytes:
        self._kind = kind
        self._index += 1
        return _event(
            b"content_block_start", {"type": "content_block_start", "index": self._index, "content_block": block}
        )

    def _close(self) -> bytes:
        if self._kind is None:
            return b""
        self._kind = None
        return _event(b"content_block_stop", {"type": "content_block_stop", "index": self._index})

    def _delta(self, kind: bytes, field: bytes, text: str, place: int | None = None) -> bytes:
        index = self._index if place is None else place
        return _DELTA % (index, kind, field, msgspec.json.encode(text))


def _event(name: bytes, body: Mapping[str, object]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name, msgspec.json.encode(body))
