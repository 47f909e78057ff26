"""What the demo upstream says, how it counts it, and the forms in which every dialect of it answers."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from aiohttp import web

Count = Callable[[str, str], int]

MODELS = (
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-4.1",
    "o4-mini",
    "text-embedding-3-small",
    "gpt-image-1-mini",
    "tts-1",
    "whisper-1",
    "omni-moderation-latest",
    "claude-sonnet-4-6",
    "gemini-2.5-flash",
)
CREATED = 1_735_689_600  # 2025-01-01: any fixed time will do
_ECHO_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Saying:
    """What is answered to a prompt: `words` join to the text. `cut` when the caller's cap left no room for all."""

    words: tuple[str, ...]
    input_tokens: int
    output_tokens: int
    cut: bool

    @property
    def text(self) -> str:
        return "".join(self.words)


class Speaker:
    """Says the demo sentence and counts it with the counter that it was given."""

    def __init__(self, count: Count) -> None:
        self.count = count
        self._answers = 0

    def next_number(self) -> int:
        """For ids: 1, 2, 3 since the start."""
        self._answers += 1
        return self._answers

    def say(self, model: str, prompts: list[str], cap: int | None) -> Saying:
        """Answer the last of `prompts`. Input is counted as OpenAI counts chats: 4 a message and 3 to prime."""
        echo = " ".join(prompts[-1].split())[:_ECHO_CHARACTERS] if prompts else ""
        words = _words(f"This is the demo upstream of the gateway; no provider was called. You said: {echo}")
        kept = len(words)
        while cap is not None and kept > 1 and self.count(model, "".join(words[:kept])) > cap:
            kept -= 1
        used = words[:kept]
        read = 3 + sum(4 + self.count(model, prompt) for prompt in prompts)
        return Saying(used, read, self.count(model, "".join(used)), kept < len(words))


def json_answer(answer: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(answer), status=status, content_type="application/json")


async def event_stream(request: web.Request, events: list[bytes]) -> web.StreamResponse:
    """Write the events one by one, as a provider's come."""
    response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    for event in events:
        await response.write(event)
    await response.write_eof()
    return response


def event(data: object, name: str | None = None) -> bytes:
    """One server-sent event."""
    head = b"" if name is None else b"event: %b\n" % name.encode()
    return b"%bdata: %b\n\n" % (head, msgspec.json.encode(data))


def text_of(content: object) -> str:
    """The text in a message's content, whichever way its dialect nests it: a string, parts, or parts of parts."""
    match content:
        case str():
            return content
        case list():
            return "".join(text_of(part) for part in content)
        case {"text": str(text)}:
            return text
        case {"content": inner} | {"parts": inner}:
            return text_of(inner)
        case _:
            return ""


def _words(text: str) -> tuple[str, ...]:
    first, *others = text.split(" ")
    return (first, *[f" {word}" for word in others])
