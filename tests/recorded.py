"""Recorded provider streams, where a folder of them lies beside the checkout; without one the lists are empty."""

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STREAMS = Path(__file__).parent.parent.parent / "shared" / "recorded" / "streams.jsonl"
PATHS = {
    "chat/completions": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}


@dataclass(frozen=True)
class Recorded:
    """One stream as a provider sent it, and the path of ours that serves its kind."""

    name: str
    path: str
    stream: bytes

    @property
    def events(self) -> list[bytes]:
        """Cut by hand: recorded streams of OpenAI kinds end their events with LF LF or CRLF CRLF."""
        return [piece for piece in re.split(rb"(?<=\n\n)|(?<=\r\n\r\n)", self.stream) if piece]

    @property
    def bodies(self) -> list[Any]:
        """What the events carry as JSON."""
        return [body for body in map(body_of, self.events) if body is not None]

    @property
    def usage(self) -> dict[str, Any] | None:
        """The last figures in it, wherever this provider puts them."""
        last = None
        for body in self.bodies:
            for block in (
                body.get("usage"),
                (body.get("x_groq") or {}).get("usage"),
                (body.get("response") or {}).get("usage"),
            ):
                last = block or last
        return last

    @property
    def figures(self) -> tuple[int, int] | None:
        """Input and output tokens as they are billed, None where the stream tells none."""
        usage = self.anthropic_usage if self.path == "/v1/messages" else self.usage
        if usage is None:
            return None
        if "total_tokens" in usage:
            given = usage.get("prompt_tokens", usage.get("input_tokens", 0))
            written = usage.get("completion_tokens", usage.get("output_tokens", 0))
            return given, max(written, usage["total_tokens"] - given)
        passes = usage.get("iterations") or [usage]
        kinds = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        return sum(one.get(kind) or 0 for one in passes for kind in kinds), sum(one["output_tokens"] for one in passes)

    @property
    def anthropic_usage(self) -> dict[str, Any] | None:
        """The figures of the start, field by field corrected by those of the end."""
        figures: dict[str, Any] = {}
        for body in self.bodies:
            block = (body.get("message") or {}).get("usage") or body.get("usage") or {}
            figures |= {name: value for name, value in block.items() if value is not None}
        return figures or None

    @property
    def fails(self) -> bool:
        """Whether the provider says in it that it failed."""
        return any(body.get("error") or (body.get("response") or {}).get("error") for body in self.bodies)

    @property
    def without_usage_only_events(self) -> bytes:
        """What a client sees that did not ask for usage."""
        return b"".join(event for event in self.events if not is_usage_only(body_of(event)))


def body_of(event: bytes) -> Any:
    """An event's JSON, None for [DONE] and comments."""
    lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
    text = b"\n".join(lines)
    return None if not text or text == b"[DONE]" else json.loads(text)


def is_usage_only(body: Any) -> bool:
    """Whether a chunk of a chat carries figures and nothing else."""
    return body is not None and body.get("choices") == [] and bool(body.get("usage"))


def recorded_streams() -> list[Recorded]:
    """All recorded streams of OpenAI's and Anthropic's dialects, whoever sent them."""
    return [found for end, path in PATHS.items() for found in _ending(f"/{end}", path)]


def gemini_streams() -> list[Recorded]:
    """All recorded streams of Google's, of its API for developers and of Vertex."""
    return _ending(":streamGenerateContent", "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse")


def _ending(end: str, path: str) -> list[Recorded]:
    if not STREAMS.exists():
        return []
    rows = [json.loads(line) for line in STREAMS.read_text().splitlines()]
    return [
        Recorded(f"{number}-{row['endpoint'][:40]}", path, row["stream"].encode())
        for number, row in enumerate(rows)
        if row["endpoint"].split("?")[0].endswith(end)
    ]


def pieces(stream: bytes, size: int) -> list[bytes]:
    """The stream in pieces of a size."""
    return [stream[at : at + size] for at in range(0, len(stream), size)]


def odd_pieces(stream: bytes) -> list[bytes]:
    """The stream cut at random places, the same ones each time."""
    chance = random.Random(len(stream))
    cuts = sorted(chance.sample(range(len(stream)), min(len(stream), 40)))
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
