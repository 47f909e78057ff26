"""Answers and events as Anthropic writes them, for scripts of the provider in tests."""

import json
from dataclasses import replace
from typing import Any

from gateway.core.upstreams import Upstream

CLAUDE = "claude-sonnet-4-6"
HI = [{"role": "user", "content": "Hi"}]


def claude(main: Upstream) -> Upstream:
    """The scripted provider as Anthropic: its base URL has no version in it."""
    return replace(main, provider="anthropic", base_url=main.base_url.removesuffix("/v1"))


def messages_body(**fields: Any) -> dict[str, Any]:
    """The smallest request for a message, with these fields beside."""
    return {"model": CLAUDE, "max_tokens": 1_000, "messages": HI, **fields}


def usage(given: int, written: int, **more: Any) -> dict[str, Any]:
    """A usage block as Anthropic has it now; `more` replaces or adds."""
    creation = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}
    block = {"input_tokens": given, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    return {**block, "cache_creation": creation, "output_tokens": written, "service_tier": "standard", **more}


def text_block(text: str) -> dict[str, Any]:
    """A content block of text."""
    return {"type": "text", "text": text}


def message(*content: dict[str, Any], **fields: Any) -> bytes:
    """A whole message; `fields` replace or add to its own."""
    body: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": CLAUDE,
        "stop_sequence": None,
    }
    body |= {"content": list(content) or [text_block("Hello")], "stop_reason": "end_turn", "usage": usage(10, 5)}
    return json.dumps(body | fields).encode()


def event(body: dict[str, Any]) -> bytes:
    """One event, padded as Anthropic pads them."""
    return f"event: {body['type']}\ndata: {json.dumps(body)[:-1]}        }}\n\n".encode()


def start(**fields: Any) -> bytes:
    """The event that opens a stream; its figures are those of the input."""
    opened = json.loads(message(content=[], stop_reason=None, **{"usage": usage(10, 1), **fields}))
    return event({"type": "message_start", "message": opened})


def block_start(block: dict[str, Any], index: int = 0) -> bytes:
    """The event that opens a content block."""
    return event({"type": "content_block_start", "index": index, "content_block": block})


def delta(body: dict[str, Any], index: int = 0) -> bytes:
    """The event that adds to a content block."""
    return event({"type": "content_block_delta", "index": index, "delta": body})


def words(*texts: str, index: int = 0) -> list[bytes]:
    """Events that add text."""
    return [delta({"type": "text_delta", "text": text}, index) for text in texts]


def block_stop(index: int = 0) -> bytes:
    """The event that closes a content block."""
    return event({"type": "content_block_stop", "index": index})


def message_delta(written: int | None = 5, stop_reason: str = "end_turn", **figures: Any) -> bytes:
    """The event with the figures of the end."""
    ended = {"stop_reason": stop_reason, "stop_sequence": None}
    return event({"type": "message_delta", "delta": ended, "usage": {"output_tokens": written, **figures}})


STOP = event({"type": "message_stop"})
PING = event({"type": "ping"})
OVERLOADED = event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})


def stream(*texts: str, **figures: Any) -> list[bytes]:
    """The events of a streamed text, as they come."""
    said = texts or ("Hel", "lo")
    opened = [start(), block_start(text_block("")), PING]
    return [*opened, *words(*said), block_stop(), message_delta(**figures), STOP]
