"""A stream that is one JSON array of objects: where its elements end. Nothing is decoded or changed here.

Google streams so unless it is asked for server-sent events: `[{...}`, then `,{...}` for each further element, then `]`.
An element is passed on when it is whole, with what stands before it; the closing bracket is what is left at the end.
"""

import re

MAX_ELEMENT_BYTES = 16 * 1024 * 1024
"""A longer element is passed on as it comes, unread."""
_BACKSLASH = ord("\\")
# Square brackets need no counting: an object ends where its braces do.
_MARK = re.compile(rb'["{}]')
_IN_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)


class ArrayBuffer:
    """Cuts a stream into whole elements, whatever pieces it comes in.

    `feed` returns every element that is now complete, in one piece; the unfinished rest stays until `rest`.
    """

    __slots__ = ("_begun", "_parts", "_scanner", "_size")

    def __init__(self) -> None:
        self._scanner = _Scanner()
        self._parts: list[bytes] = []
        self._size = 0
        self._begun = False

    def feed(self, chunk: bytes) -> bytes:
        """Take what came; return the bytes up to the end of the last whole element, b"" if none was completed."""
        ends = self._scanner.ends(chunk)
        end = ends[-1] if ends else 0
        if not end:
            self._parts.append(chunk)
            self._size += len(chunk)
            return self.rest() if self._size > MAX_ELEMENT_BYTES else b""
        whole = b"".join((*self._parts, chunk[:end]))
        self._parts = [chunk[end:]]
        self._size = len(chunk) - end
        self._begun = True
        return whole

    def rest(self) -> bytes:
        """Return what is left: the end of the array, or half an element. Empties the buffer."""
        whole = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        self._begun = self._begun or bool(whole)
        return whole

    def closing(self, element: bytes) -> bytes:
        """Return what ends the array, behind the whole elements that were passed on, with one more as its last."""
        return (b",\r\n" if self._begun else b"[") + element + b"\r\n]"


def split_elements(data: bytes) -> list[bytes]:
    """Split whole elements from each other; each keeps what stands before it, so that joining them gives the data."""
    elements = []
    start = 0
    for end in _Scanner().ends(data):
        elements.append(data[start:end])
        start = end
    if start < len(data):
        elements.append(data[start:])
    return elements


def object_of(element: bytes) -> bytes:
    """Return an element without the brackets, commas and spaces before it, b"" for what is no object."""
    start = element.find(b"{")
    return element[start:] if start >= 0 else b""


class _Scanner:
    """Knows where in the array the bytes seen so far have ended: how deep in braces, and whether in a string."""

    __slots__ = ("_depth", "_escaped", "_in_string")

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def ends(self, chunk: bytes) -> list[int]:
        """Take what comes next; return the offsets in it just behind each object that it completes."""
        found: list[int] = []
        at = self._behind_string(chunk, 0) if self._in_string else 0
        while (mark := _MARK.search(chunk, at)) is not None:
            at = mark.end()
            match mark[0]:
                case b'"':
                    self._in_string = True
                    at = self._behind_string(chunk, at)
                case b"{":
                    self._depth += 1
                case _ if self._depth:
                    self._depth -= 1
                    if not self._depth:
                        found.append(at)
        return found

    def _behind_string(self, chunk: bytes, at: int) -> int:
        """Return the offset behind the quote that ends the present string; the chunk's end if none does yet."""
        if self._escaped and chunk:
            self._escaped = False
            at += 1
        inside = _IN_STRING.match(chunk, at)
        end = inside.end() if inside is not None else at
        if end >= len(chunk):
            return len(chunk)
        # It stopped at a quote, or at a backslash whose letter has not come yet.
        self._escaped = chunk[end] == _BACKSLASH
        self._in_string = self._escaped
        return end + 1
