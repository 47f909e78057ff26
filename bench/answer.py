"""Reads one HTTP answer at a time and checks it against the script, without keeping a stream's text."""

import re

from bench.script import Expected

_HEAD_END = b"\r\n\r\n"
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
REFUSED = b"HTTP/1.1 503 "
RETRY_AFTER = b"\r\nretry-after: "
# Longer than either mark, so that a mark split over two chunks is seen whole.
_TAIL_BYTES = 16


class WrongAnswerError(Exception):
    """A target answered other than the script says, or closed the connection. The message quotes what came."""


class AnswerReader:
    """Checks answers of one kind. Events of figures alone and of the end are not counted.

    A target that `may_refuse` may also answer 503 and when to come back; `is_refusal` says so of the last answer.
    """

    def __init__(self, expected: Expected, *, may_refuse: bool = False) -> None:
        self._expected = expected
        self._may_refuse = may_refuse
        self.is_refusal = False
        self._begin()

    def _begin(self) -> None:
        self._buffer = bytearray()
        self._body_bytes: int | None = None
        self._is_chunked = False
        self._tail = b""
        self._events = 0

    def feed(self, data: bytes) -> bool:
        """Return True with the last byte of an answer that is right; be ready for the next one then.

        Raises WrongAnswerError for any other status, text, number of events or end.
        """
        self._buffer += data
        if self._body_bytes is None and not self._is_chunked and not self._read_head():
            return False
        is_whole = self._read_chunks() if self._is_chunked else len(self._buffer) == self._body_bytes
        if is_whole:
            if not self.is_refusal:
                self._check()
            self._begin()
        return is_whole

    def _read_head(self) -> bool:
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            return False
        head = bytes(self._buffer[: end + len(_HEAD_END)])
        self.is_refusal = self._may_refuse and head.startswith(REFUSED) and RETRY_AFTER in head.lower()
        if not self.is_refusal and not head.startswith(b"HTTP/1.1 200 "):
            raise WrongAnswerError(bytes(self._buffer[:1000]).decode(errors="replace"))
        del self._buffer[: len(head)]
        self._is_chunked = bool(_CHUNKED.search(head))
        if declared := _CONTENT_LENGTH.search(head):
            self._body_bytes = int(declared[1])
        return True

    def _read_chunks(self) -> bool:
        start = 0
        while (size_end := self._buffer.find(b"\r\n", start)) >= 0:
            size = int(self._buffer[start:size_end], 16)
            chunk_end = size_end + 2 + size
            if len(self._buffer) < chunk_end + 2:
                break
            if size == 0:
                return True
            self._note(bytes(self._buffer[size_end + 2 : chunk_end]))
            start = chunk_end + 2
        del self._buffer[:start]
        return False

    def _note(self, piece: bytes) -> None:
        seen = self._tail + piece
        mark = self._expected.event_mark
        self._events += seen.count(mark) - self._tail.count(mark)
        self._tail = seen[-_TAIL_BYTES:]

    def _check(self) -> None:
        expected = self._expected
        if expected.events is None:
            if expected.text not in self._buffer:
                raise WrongAnswerError(f"not the provider's answer: {bytes(self._buffer[:1000])!r}")
            return
        if self._events != expected.events or not self._tail.endswith(expected.end_mark):
            raise WrongAnswerError(f"{self._events} events of {expected.events}, then {self._tail!r}")
