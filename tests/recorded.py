"""Recorded provider streams, where a folder of them lies beside the checkout; without one the lists are empty."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STREAMS = Path(__file__).parent.parent.parent / "shared" / "recorded" / "streams.jsonl"
PATHS = {"chat/completions": "/v1/chat/completions", "completions": "/v1/completions", "responses": "/v1/responses"}


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


def openai_streams() -> list[Recorded]:
    """All recorded streams of OpenAI's dialect, whoever sent them."""
    if not STREAMS.exists():
        return []
    rows = [json.loads(line) for line in STREAMS.read_text().splitlines()]
    found = []
    for number, row in enumerate(rows):
        ending = next((end for end in PATHS if row["endpoint"].split("?")[0].endswith("/" + end)), None)
        if ending is not None:
            found.append(Recorded(f"{number}-{row['endpoint'][:40]}", PATHS[ending], row["stream"].encode()))
    return found
