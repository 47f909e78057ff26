"""What the load asks and what the provider answers, byte for byte, so that neither end spends CPU on JSON.

The prompt itself says what to play ("chunks=64 delay_ms=5 words=1"): a gateway sends a client's prompt on unchanged,
whatever else it does to the request. Shapes and sizes are those of gpt-4o-mini answers of 2025: about 600 bytes plain,
about 300 bytes a chunk.
"""

import functools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass

PATH = "/v1/chat/completions"
MODEL = "gpt-4o-mini"
SNAPSHOT = "gpt-4o-mini-2024-07-18"
EVENT_MARK = b'data: {"id"'
DONE_MARK = b"data: [DONE]\n\n"

_ANSWER_ID = "chatcmpl-BenchBenchBenchBenchBenchBen"
_CREATED = 1_750_000_000
SYSTEM = "You are a careful assistant. Answer in one short paragraph and name your sources."
ANSWER = "A relay hands on what it was given. This one is measured: how much work it adds to each call it passes on."
_USAGE_DETAILS = {
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_INCLUDE_USAGE = re.compile(rb'"include_usage"\s*:\s*true')
_PLAYED = re.compile(rb"chunks=(\d+) delay_ms=([\d.]+) words=(\d+)")


@dataclass(frozen=True, slots=True)
class Stream:
    """A streamed answer: `chunks` events beside usage and `[DONE]` (3 or more), each `words` tokens of text."""

    chunks: int
    delay_ms: float
    words: int = 1


@dataclass(frozen=True, slots=True)
class Expected:
    """What must come back. Of a stream: so many events, each with a mark at its head, and the mark of its end. Of a
    plain answer: a body with this text in it."""

    events: int | None
    event_mark: bytes = EVENT_MARK
    end_mark: bytes = DONE_MARK
    text: bytes = b""


@dataclass(frozen=True, slots=True)
class Script:
    """One way of asking: path and body of a request, and what must come back. None asks for a plain answer."""

    request: Callable[[Stream | None], tuple[str, bytes]]
    expected: Callable[[Stream | None], Expected]


def prompt(stream: Stream | None) -> str:
    """Return what the user says, and in it what the provider is to play."""
    said = "Explain to a newcomer, in plain words, what a relay does between a program and a provider."
    if stream:
        said += f" chunks={stream.chunks} delay_ms={stream.delay_ms:.2f} words={stream.words}"
    return said


def request_body(stream: Stream | None, model: str = MODEL) -> bytes:
    """Return a chat request as a client's SDK writes it. None asks for a plain answer."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt(stream)}]
    asked: dict[str, object] = {"model": model, "messages": messages, "temperature": 0.2}
    return _json(asked | {"stream": True} if stream else asked)


def asked_stream(body: bytes, *, always: bool = False) -> tuple[Stream, bool] | None:
    """Return the stream that a request asks for and whether with usage, or None for a plain answer.

    Some ask for it in their path: `always`.
    """
    if not always and not _STREAM.search(body):
        return None
    played = _PLAYED.search(body)
    stream = Stream(int(played[1]), float(played[2]), int(played[3])) if played else Stream(64, 0)
    return stream, bool(_INCLUDE_USAGE.search(body))


@functools.cache
def plain_answer() -> bytes:
    """Return the body of a plain answer."""
    message: dict[str, object] = {"role": "assistant", "content": ANSWER, "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return _json(_envelope("chat.completion") | {"choices": [choice], "usage": _usage(24)})


@functools.cache
def stream_writes(chunks: int, words: int, with_usage: bool) -> tuple[bytes, ...]:
    """Return what is written at each tick: every event in an HTTP chunk of its own, the last tick ends the answer."""
    deltas = [_delta({"role": "assistant", "content": "", "refusal": None}, None, with_usage)]
    deltas += [_delta({"content": " word" * words}, None, with_usage)] * (chunks - 2)
    deltas += [_delta({}, "stop", with_usage)]
    usage: dict[str, object] = {"choices": [], "usage": _usage((chunks - 2) * words)}
    last = _event(usage) if with_usage else b""
    return *deltas, last + http_chunk(DONE_MARK) + b"0\r\n\r\n"


def _delta(delta: dict[str, str | None], finish_reason: str | None, with_usage: bool) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return _event({"choices": [choice]} | ({"usage": None} if with_usage else {}))


def _event(fields: dict[str, object]) -> bytes:
    return http_chunk(b"data: " + _json(_envelope("chat.completion.chunk") | fields) + b"\n\n")


def http_chunk(data: bytes) -> bytes:
    """Return data as one chunk of an answer's body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _envelope(kind: str) -> dict[str, object]:
    return {
        "id": _ANSWER_ID,
        "object": kind,
        "created": _CREATED,
        "model": SNAPSHOT,
        "service_tier": "default",
        "system_fingerprint": "fp_bench00000",
    }


def _usage(completion_tokens: int) -> dict[str, object]:
    counts: dict[str, object] = {
        "prompt_tokens": 46,
        "completion_tokens": completion_tokens,
        "total_tokens": 46 + completion_tokens,
    }
    return counts | _USAGE_DETAILS


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def expected(stream: Stream | None) -> Expected:
    """Return what comes back for `request_body`."""
    return Expected(stream.chunks if stream else None, text=plain_answer())


OPENAI = Script(lambda stream: (PATH, request_body(stream)), expected)
