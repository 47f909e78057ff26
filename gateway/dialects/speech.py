"""`POST /v1/audio/speech`: a text read aloud. The answer is sound as it is made, or events with sound in them."""

import msgspec

from gateway.core.call import NOTHING, Call, Head, Reading
from gateway.core.media import Media
from gateway.core.rates import Unit
from gateway.dialects.aliased import Aliased
from gateway.dialects.json_body import check_model, decode
from gateway.dialects.openai import OPENAI, UsageBlock, usage_from

MOST_TOKENS_PER_BYTE = 4
FIRST_TOKENS = 200
"""What speech can be at most: 20 tokens a second, 5 bytes of text a second. Slow speech has 10, in any script."""


class Voice(msgspec.Struct, gc=False):
    """A voice that was made at the provider."""

    id: str


class Request(msgspec.Struct, gc=False):
    """The fields of a request that the gateway acts on."""

    model: str
    input: str
    voice: str | Voice | None = None
    instructions: str | None = None
    stream_format: str | None = None


class Event(msgspec.Struct, gc=False):
    """A streamed event, but for the sound in it."""

    type: str = ""
    usage: UsageBlock | None = None
    error: object = None


DECISIVE = (b'"model"', b'"input"', b'"instructions"', b'"stream_format"', b'"voice"')
_requests = msgspec.json.Decoder(Request)
_events = msgspec.json.Decoder(Event)


class Speech(Aliased):
    """The speaking operation of OpenAI's dialect."""

    operation = "audio.speech"
    dialect = OPENAI
    method = "POST"
    signs = (b"audio.done", b'"error"', b"[DONE]")

    def path(self, call: Call) -> str:
        """Return the path below the upstream's base URL."""
        del call
        return "/audio/speech"

    def parse(self, body: bytes, _head: Head, /) -> Call:
        """Read a request. Raises InvalidRequest."""
        asked = decode(body, _requests, DECISIVE)
        size = len(asked.input.encode(errors="replace"))
        return Call(
            operation=self.operation,
            model=check_model(asked.model),
            body=body,
            streams=asked.stream_format == "sse",
            wants_usage=True,
            output_cap=FIRST_TOKENS + MOST_TOKENS_PER_BYTE * size,
            has_audio=True,
            references=(asked.voice.id,) if isinstance(asked.voice, Voice) else (),
            # At the usual 14 bytes of text a second.
            media=Media(unit=Unit.CHARACTERS, characters=len(asked.input), output_tokens=-(-size * 3 // 2)),
        )

    def read_answer(self, body: bytes) -> Reading:
        """Read an answer in JSON, which is none that OpenAI gives."""
        return self.read_event(body)

    def read_event(self, data: bytes) -> Reading:
        """Read one event: the last tells the usage."""
        if data.startswith(b"[DONE]"):
            return Reading(ends=True)
        try:
            event = _events.decode(data)
        except (msgspec.MsgspecError, RecursionError):
            return NOTHING
        return Reading(
            usage=usage_from(event.usage, None),
            ends=event.type == "speech.audio.done",
            error=event.type == "error" or bool(event.error),
        )
