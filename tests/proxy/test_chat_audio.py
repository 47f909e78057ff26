"""A chat that is spoken: what the model said is kept at the provider, and only who made it say so can name it."""

import json
from collections.abc import Sequence
from typing import Any

import openai
import pytest
from openai import AsyncStream

from tests.events import DONE, EVENT_STREAM, JSON, chunk, completion, usage_chunk
from tests.gateway import MODEL, RunningGateway

VOICE: Any = {"voice": "alloy", "format": "pcm16"}
SPOKEN: Any = {"id": "audio_1", "data": "UklGRg==", "expires_at": 1, "transcript": "Hello"}


def follow_up(id: str) -> Any:
    """A conversation in which the model has spoken before."""
    return [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "audio": {"id": id}},
        {"role": "user", "content": "Louder"},
    ]


async def asks(gateway: RunningGateway, key: str, messages: Any, *, stream: bool = False) -> None:
    """Have the model speak."""
    spoken = await gateway.openai(key).chat.completions.create(
        model=MODEL, messages=messages, modalities=["text", "audio"], audio=VOICE, stream=stream
    )
    if isinstance(spoken, AsyncStream):
        _ = [event async for event in spoken]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_spoken_answer_can_be_named_in_the_next_call_by_who_made_it_alone(
    any_gateway: RunningGateway, streamed: bool
) -> None:
    mine, theirs = await any_gateway.key(), await any_gateway.key()
    if streamed:
        delta = {"role": "assistant", "audio": {"id": "audio_1", "transcript": "Hello"}}
        events: Sequence[bytes] = [chunk(choices=[{"index": 0, "delta": delta}]), usage_chunk(10, 5), DONE]
        any_gateway.provider.answer(200, EVENT_STREAM, events, framing="chunked")
    else:
        message = {"role": "assistant", "content": None, "audio": SPOKEN}
        spoken = completion(choices=[{"index": 0, "message": message, "finish_reason": "stop"}])
        any_gateway.provider.answer(200, JSON, spoken)
    await asks(any_gateway, mine, [{"role": "user", "content": "Hi"}], stream=streamed)
    await any_gateway.provider.request()

    any_gateway.provider.answer(200, JSON, completion())
    await asks(any_gateway, mine, follow_up("audio_1"))

    sent = await any_gateway.provider.request()
    assert json.loads(sent.body)["messages"][1]["audio"] == {"id": "audio_1"}
    with pytest.raises(openai.NotFoundError):
        await asks(any_gateway, theirs, follow_up("audio_1"))
    with pytest.raises(openai.NotFoundError):
        await asks(any_gateway, mine, follow_up("audio_2"))
