"""What clients of Anthropic and Google ask and what these answer, byte for byte, and what becomes of it in translation.

Shapes and sizes are those of claude-sonnet-4-5 and gemini-2.5-flash: a streamed piece has about 130 and 250 bytes.
"""

import functools
import json

from bench.script import (
    ANSWER,
    DONE_MARK,
    EVENT_MARK,
    MODEL,
    PATH,
    SYSTEM,
    Expected,
    Script,
    Stream,
    http_chunk,
    prompt,
    request_body,
)

CLAUDE = "claude-sonnet-4-5"
GEMINI = "gemini-2.5-flash"
CLAUDE_PATH = "/v1/messages"
GEMINI_PATH = f"/v1beta/models/{GEMINI}:generateContent"
GEMINI_STREAM_PATH = f"/v1beta/models/{GEMINI}:streamGenerateContent?alt=sse"
CLAUDES_FRAME = 5
"""Events of a stream that have no text in them: of the message and of its one block."""
CLAUDES_END = b'essage_stop"}\n\n'


def claudes_request(stream: Stream | None, model: str = CLAUDE) -> tuple[str, bytes]:
    """Return path and body as Anthropic's SDK writes them."""
    asked = {"model": model, "max_tokens": 1024, "system": SYSTEM, "temperature": 0.2}
    asked |= {"messages": [{"role": "user", "content": prompt(stream)}]}
    return CLAUDE_PATH, _json(asked | ({"stream": True} if stream else {}))


@functools.cache
def claudes_answer() -> bytes:
    """Return the body of a plain answer."""
    content = [{"type": "text", "text": ANSWER}]
    return _json(_message(content, "end_turn", _claudes_usage(24)))


@functools.cache
def claudes_writes(chunks: int, words: int) -> tuple[bytes, ...]:
    """Return what is written at each tick: every event in an HTTP chunk of its own, the last tick ends the answer."""
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " word" * words}}
    ended: dict[str, object] = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}}
    bodies: list[dict[str, object]] = [
        {"type": "message_start", "message": _message([], None, _claudes_usage(1))},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *[delta] * (chunks - CLAUDES_FRAME),
        {"type": "content_block_stop", "index": 0},
        ended | {"usage": {"output_tokens": (chunks - CLAUDES_FRAME) * words}},
        {"type": "message_stop"},
    ]
    events = [http_chunk(f"event: {body['type']}\n".encode() + b"data: " + _json(body) + b"\n\n") for body in bodies]
    return *events[:-1], events[-1] + b"0\r\n\r\n"


def geminis_request(stream: Stream | None) -> tuple[str, bytes]:
    """Return path and body as Google's SDK writes them."""
    asked = {
        "contents": [{"role": "user", "parts": [{"text": prompt(stream)}]}],
        "systemInstruction": {"parts": [{"text": SYSTEM}]},
        "generationConfig": {"temperature": 0.2},
    }
    return GEMINI_STREAM_PATH if stream else GEMINI_PATH, _json(asked)


@functools.cache
def geminis_answer() -> bytes:
    """Return the body of a plain answer."""
    return _json(_piece(ANSWER, 24, last=True))


@functools.cache
def geminis_writes(chunks: int, words: int) -> tuple[bytes, ...]:
    """Return what is written at each tick; figures stand on every piece, and nothing but the last one's reason ends."""
    bodies = [_piece(" word" * words, number * words, last=number == chunks) for number in range(1, chunks + 1)]
    events = [http_chunk(b"data: " + _json(body) + b"\r\n\r\n") for body in bodies]
    return *events[:-1], events[-1] + b"0\r\n\r\n"


def _message(content: list[dict[str, str]], stop_reason: str | None, usage: dict[str, object]) -> dict[str, object]:
    return {
        "id": "msg_BenchBenchBenchBenchBen",
        "type": "message",
        "role": "assistant",
        "model": CLAUDE,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }


def _claudes_usage(written: int) -> dict[str, object]:
    creation = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}
    read = {"input_tokens": 46, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    return {**read, "cache_creation": creation, "output_tokens": written, "service_tier": "standard"}


def _piece(text: str, written: int, *, last: bool) -> dict[str, object]:
    candidate: dict[str, object] = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    if last:
        candidate["finishReason"] = "STOP"
    counts = {"promptTokenCount": 46, "candidatesTokenCount": written, "totalTokenCount": 46 + written}
    usage = counts | {"promptTokensDetails": [{"modality": "TEXT", "tokenCount": 46}]}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": GEMINI, "responseId": "BenchBenchBench"}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _translated(model: str, more_events: int) -> Script:
    """Return OpenAI's request for another provider's model; of a stream so many more or fewer events come back."""

    def expected(stream: Stream | None) -> Expected:
        if stream is None:
            return Expected(None, text=ANSWER.encode())
        return Expected(stream.chunks + more_events, EVENT_MARK, DONE_MARK)

    return Script(lambda stream: (PATH, request_body(stream, model)), expected)


def _translated_for_claudes(model: str, more_events: int) -> Script:
    """Return Anthropic's request for another provider's model, as `_translated`."""

    def expected(stream: Stream | None) -> Expected:
        if stream is None:
            return Expected(None, text=ANSWER.encode())
        return Expected(stream.chunks + more_events, b"event: ", CLAUDES_END)

    return Script(lambda stream: claudes_request(stream, model), expected)


NATIVE = {
    "Anthropic": Script(
        claudes_request,
        lambda stream: Expected(stream.chunks if stream else None, b"event: ", CLAUDES_END, claudes_answer()),
    ),
    "Gemini": Script(
        geminis_request,
        lambda stream: Expected(stream.chunks if stream else None, b"data: {", b"}\r\n\r\n", geminis_answer()),
    ),
}
"""A provider's own clients."""
TRANSLATED = {
    # Claude's frame becomes the role and the reason; Gemini has neither, and they are added.
    "OpenAI to Anthropic": _translated(CLAUDE, 2 - CLAUDES_FRAME),
    "OpenAI to Gemini": _translated(GEMINI, 2),
    # Of OpenAI's stream the role and the reason have no text; of Gemini's each piece has.
    "Anthropic to OpenAI": _translated_for_claudes(MODEL, CLAUDES_FRAME - 2),
    "Anthropic to Gemini": _translated_for_claudes(GEMINI, CLAUDES_FRAME),
}
"""Clients that ask a provider of another dialect."""
