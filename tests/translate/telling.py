"""What a client of OpenAI's hears: events cut as a network cuts them, chunks read and added up by OpenAI's own SDK."""

import json
from collections.abc import Iterable
from typing import Any, Protocol

from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gateway.core.sse import EventBuffer, data_of, split_events
from gateway.core.usage import Usage

USAGE = Usage(input_tokens=20, cached_tokens=5, cache_write_tokens=2, output_tokens=7, reasoning_tokens=3)
USAGE_BLOCK = {
    "prompt_tokens": 20,
    "completion_tokens": 7,
    "total_tokens": 27,
    "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 2, "audio_tokens": 0, "image_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 0},
}


class Stream(Protocol):
    """A stream under way, of whatever provider."""

    def feed(self, events: bytes) -> bytes: ...

    def finish(self, events: bytes, usage: Usage | None) -> bytes: ...


def told(stream: Stream, pieces: Iterable[bytes], usage: Usage | None = USAGE) -> bytes:
    """All that the client gets for a stream that comes in these pieces; the last event comes with the end."""
    buffer = EventBuffer()
    fed = b"".join(stream.feed(whole) for piece in pieces if (whole := buffer.feed(piece)))
    return fed + stream.finish(buffer.rest(), usage)


def chunks(stream: bytes) -> list[dict[str, Any]]:
    """The chunks of a stream, each checked by the SDK, without comments; [DONE] must be their end."""
    events = [data for event in split_events(stream) if (data := data_of(event))]
    assert events.pop() == b"[DONE]"
    bodies = [json.loads(data) for data in events]
    for body in bodies:
        ChatCompletionChunk.model_validate(body)
    return bodies


def deltas(stream: bytes) -> list[dict[str, Any]]:
    """What each chunk adds."""
    return [choice["delta"] for body in chunks(stream) for choice in body["choices"]]


def added_up(stream: bytes) -> dict[str, Any]:
    """The completion that the SDK makes of the chunks."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for body in chunks(stream):
        state.handle_chunk(ChatCompletionChunk.model_validate(body))
    return state.get_final_completion().model_dump()


def completion(body: bytes) -> dict[str, Any]:
    """A whole completion, checked by the SDK."""
    given: dict[str, Any] = json.loads(body)
    ChatCompletion.model_validate(given)
    return given


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """Cut a stream at places, counted round and round."""
    places = sorted({place % (len(stream) + 1) for place in places})
    return [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]
