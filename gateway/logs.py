"""JSON logs: one line per record on standard output, scrubbed of secrets, written by a thread of their own.

A record costs its caller the encoding and a list append. The writer thread takes what has gathered every 100 ms, scrubs
it in one go and writes it in pieces that a pipe takes whole, so lines of several workers never mix. A reader that has
stopped blocks that thread alone: the backlog is bounded, and what does not fit is dropped and counted.
"""

import logging
import os
import re
import threading
from collections import deque
from collections.abc import Iterable, Mapping

import msgspec

# What a record may hold: small facts, never bodies.
Field = str | int | float | bool | None | list[str]

MAX_BACKLOG_BYTES = 8 * 1024 * 1024
MAX_LINE_BYTES = 64 * 1024
_KEPT_OF_OVERSIZED_BYTES = 1024
_GATHER_SECONDS = 0.1
_ATOMIC_WRITE_BYTES = 4096  # PIPE_BUF on Linux: a pipe takes so much in one piece or not at all
_MIN_SECRET_CHARACTERS = 6  # a shorter "secret" would blot out ordinary words

_encode = msgspec.json.Encoder(enc_hook=str).encode

_MASK = b"[redacted]"
# Each pattern is tried only where its cheap literal occurs: a scrub of a clean batch is a few memory searches.
_SECRET_PATTERNS: tuple[tuple[bytes, re.Pattern[bytes], bytes], ...] = (
    (b"sk-", re.compile(rb"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{16,}"), _MASK),
    (b"AIza", re.compile(rb"AIza[A-Za-z0-9_-]{16,}"), _MASK),
    (b"earer", re.compile(rb"([Bb]earer)[ +]+[^\s\"\\,]+"), rb"\1 " + _MASK),
    (b"EARER", re.compile(rb"(BEARER)[ +]+[^\s\"\\,]+"), rb"\1 " + _MASK),
    (b"key=", re.compile(rb"(key=)[^\s&\"\\,]+"), rb"\1" + _MASK),
)
# What JSON escapes as control characters, with `\\` first so that an escaped backslash is never cut in two.
_ESCAPED_CONTROL = re.compile(rb"\\\\|\\u00[01][0-9a-fA-F]|\\[bfnrt]")
# DEL, the C1 controls and the Unicode line separators, which JSON lets through as they are.
_RAW_CONTROL = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]")


class Scrubber:
    """Takes secrets and control characters out of encoded JSON lines."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._known: tuple[bytes, ...] = ()
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Add values that must never be written, as they stand and as JSON would escape them. Longest goes first."""
        known = set(self._known)
        for secret in secrets:
            if len(secret) >= _MIN_SECRET_CHARACTERS:
                known |= {secret.encode(errors="replace"), msgspec.json.encode(secret)[1:-1]}
        self._known = tuple(sorted(known, key=len, reverse=True))

    def scrub(self, lines: bytes) -> bytes:
        """Return newline-ended JSON lines with every known secret, secret-like text and control character replaced."""
        for secret in self._known:
            if secret in lines:
                lines = lines.replace(secret, _MASK)
        for literal, pattern, mask in _SECRET_PATTERNS:
            if literal in lines:
                lines = pattern.sub(mask, lines)
        if b"\\" in lines:
            lines = _ESCAPED_CONTROL.sub(_blank_control, lines)
        if b"\x7f" in lines or not lines.isascii():
            lines = _RAW_CONTROL.sub(b" ", lines)
        return lines


def _blank_control(match: re.Match[bytes]) -> bytes:
    return match[0] if match[0] == b"\\\\" else b" "


class Log:
    """The sink of all records of this process. `dropped` counts records lost to a reader that does not read."""

    def __init__(self, descriptor: int, scrubber: Scrubber, *, max_backlog_bytes: int = MAX_BACKLOG_BYTES) -> None:
        self.dropped = 0
        self._descriptor = descriptor
        self._scrubber = scrubber
        self._max_backlog_bytes = max_backlog_bytes
        self._lines: deque[bytes] = deque()  # its append and popleft are atomic: no lock between loop and writer
        # The backlog is the difference of two counts with one writer each, so neither loses an update.
        self._given_bytes = 0
        self._written_bytes = 0
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._writer = threading.Thread(target=self._write_until_closed, name="log-writer", daemon=True)
        self._writer.start()

    def event(self, fields: Mapping[str, Field]) -> None:
        """Write one record, from any thread. Never waits; a record that the backlog has no room for is dropped."""
        line = _encode_line(fields)
        if self._given_bytes - self._written_bytes + len(line) > self._max_backlog_bytes:
            self.dropped += 1
            return
        self._given_bytes += len(line)
        self._lines.append(line)
        if not self._wake.is_set():
            self._wake.set()

    def learn_secrets(self, secrets: Iterable[str]) -> None:
        """Redact these too from now on, such as provider keys that a reload brought."""
        self._scrubber.learn(secrets)

    def close(self, timeout_seconds: float = 2.0) -> None:
        """Write what has gathered and stop, or give up on a reader that does not read. May be called again."""
        self._closing.set()
        self._wake.set()
        self._writer.join(timeout_seconds)

    def _write_until_closed(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._closing.wait(_GATHER_SECONDS)
            self._wake.clear()
            self._write_gathered()
        self._write_gathered()

    def _write_gathered(self) -> None:
        gathered = [self._lines.popleft() for _ in range(len(self._lines))]
        batch = b"".join(gathered)
        try:
            for piece in _pieces(self._scrubber.scrub(batch)):
                _write_whole(self._descriptor, piece)
        except OSError:  # the reader is gone: nobody is left to tell
            self.dropped += len(gathered)
        self._written_bytes += len(batch)


class Unwritten:
    """Takes records that are below the level which was asked for."""

    def event(self, fields: Mapping[str, Field]) -> None:
        """Write nothing."""


def _encode_line(fields: Mapping[str, Field]) -> bytes:
    try:
        line = _encode(fields)
    except UnicodeEncodeError:  # a lone surrogate, which UTF-8 cannot say
        line = _encode({name: str(value).encode(errors="replace").decode() for name, value in fields.items()})
    if len(line) > MAX_LINE_BYTES:
        start = line[:_KEPT_OF_OVERSIZED_BYTES].decode(errors="replace")
        line = _encode({"event": "oversized_record", "bytes": len(line), "start": start})
    return line + b"\n"


def _pieces(batch: bytes) -> Iterable[bytes]:
    """Cut newline-ended lines into runs of whole lines that one pipe write takes in one piece where they can."""
    start = 0
    while start < len(batch):
        end = batch.rfind(b"\n", start, start + _ATOMIC_WRITE_BYTES) + 1 or batch.find(b"\n", start) + 1
        yield batch[start:end]
        start = end


def _write_whole(descriptor: int, piece: bytes) -> None:
    while piece:
        piece = piece[os.write(descriptor, piece) :]


class JsonHandler(logging.Handler):
    """Brings what the standard library's logging collects (uvicorn, aiohttp, our own modules) into the same sink."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields: dict[str, Field] = {
                "at": record.created,
                "level": record.levelname.lower(),
                "event": "log",
                "logger": record.name,
                "message": record.getMessage(),
            }
            if record.exc_info:
                fields["traceback"] = logging.Formatter().formatException(record.exc_info).splitlines()
            self._log.event(fields)
        except Exception:  # noqa: BLE001 - a record with wrong arguments must not end the call that logs it
            self.handleError(record)


def configure(level: str, secrets: Iterable[str], *, descriptor: int = 1) -> Log:
    """Route all logging of this process into one JSON sink on `descriptor` and return the sink.

    `level` is a name such as `info`; `secrets` are values to redact beside the known patterns. Call once per process,
    close the sink at its end.
    """
    log = Log(descriptor, Scrubber(secrets))
    root = logging.getLogger()
    root.handlers[:] = [JsonHandler(log)]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    return log
