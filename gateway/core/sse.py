"""Server-sent events on bytes: where events end, and what an event's data is. Nothing is decoded or changed here.

Lines end with LF, CRLF or a lone CR; a blank line ends an event; lines that begin with a colon are comments. A CR at
the end of what has come may be half a CRLF, so it decides nothing until the next byte.
"""

import re

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""A longer event is passed on as it comes, unread."""
_BOUNDARY = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventBuffer:
    """Cuts a stream into whole events, whatever pieces it comes in.

    `feed` returns every whole event that is now complete, in one piece; the unfinished rest stays until `rest`.
    """

    __slots__ = ("_parts", "_size", "_tail")

    def __init__(self) -> None:
        self._tail = b""
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> bytes:
        """Take what came; return the bytes up to the last event boundary, b"" if no event was completed."""
        if not self._size and (chunk.endswith(b"\n\n") or chunk.endswith(b"\r\n\r\n")):
            return chunk
        self._parts.append(chunk)
        self._size += len(chunk)
        if self._size > MAX_EVENT_BYTES:
            return self.rest()
        if b"\n" not in chunk and b"\r" not in chunk and not self._tail.endswith((b"\r", b"\n")):
            self._tail = chunk[-1:] or self._tail
            return b""
        return self._cut(self._joined())

    def rest(self) -> bytes:
        """Return what is left: an event without its blank line, or half of one. Empties the buffer."""
        whole = self._joined()
        self._keep(b"")
        return whole

    def _joined(self) -> bytes:
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def _cut(self, whole: bytes) -> bytes:
        end = last_boundary(whole)
        self._keep(whole[end:])
        return whole[:end]

    def _keep(self, rest: bytes) -> None:
        self._parts = [rest] if rest else []
        self._size = len(rest)
        self._tail = rest[-1:]


def last_boundary(data: bytes) -> int:
    """Return the offset just behind the last event that is complete, 0 if none is."""
    undecided = data.endswith(b"\r")
    limit = len(data) - 1 if undecided else len(data)
    end = 0
    # The last boundary is near the end, behind the last two line ends; searching from there keeps long events cheap.
    for quick in (b"\n\n", b"\r\n\r\n", b"\r\r"):
        at = data.rfind(quick, 0, limit)
        if at >= 0:
            end = max(end, at + len(quick))
    for match in _BOUNDARY.finditer(data, max(end - 1, 0), limit):
        end = max(end, match.end())
    return end


def split_events(data: bytes) -> list[bytes]:
    """Split whole events from each other; each keeps its blank line, so that joining them gives the data back."""
    if _is_plain(data):
        return [data]
    if b"\r" not in data:
        *ended, rest = data.split(b"\n\n")
        return [event + b"\n\n" for event in ended] + ([rest] if rest else [])
    events = []
    start = 0
    for match in _BOUNDARY.finditer(data):
        events.append(data[start : match.end()])
        start = match.end()
    if start < len(data):
        events.append(data[start:])
    return events


def data_of(event: bytes) -> bytes:
    """Return an event's data: its `data:` lines joined with LF, b"" for comments and events without data."""
    if event.startswith(b"data: ") and _is_plain(event):
        return event[6:].rstrip(b"\r\n")
    if event.startswith(b"event: ") and event.endswith(b"\n\n") and b"\r" not in event:
        # As Anthropic and OpenAI's responses write them: a line with the event's type, a line with its data.
        _, line, rest = event.split(b"\n", 2)
        if rest == b"\n" and line.startswith(b"data: "):
            return line[6:]
    lines = []
    for line in _LINE_END.split(event.removeprefix(_BYTE_ORDER_MARK)):
        if line.startswith(b"data:"):
            lines.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line == b"data":
            lines.append(b"")
    return b"\n".join(lines)


def _is_plain(event: bytes) -> bool:
    """Tell quickly of what most streams are made of: one event, of one line."""
    lines = event.count(b"\n")
    if lines != 2:
        return False
    returns = event.count(b"\r")
    return event.endswith(b"\r\n\r\n") if returns == 2 else returns == 0 and event.endswith(b"\n\n")
