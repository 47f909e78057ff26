"""The demo upstream's pictures and sound, in OpenAI's dialect: one grey pixel, silence, and a transcript of nothing."""

import io
import struct
import wave
import zlib
from base64 import b64encode
from typing import cast

import msgspec
from aiohttp import web
from aiohttp.web_request import FileField

from gateway.upstream.demo_speech import CREATED, Speaker, event, event_stream, json_answer

_HERTZ = 24_000
_CHARACTERS_PER_SECOND = 14
_PICTURE_TOKENS = 272
_CATEGORIES = ("harassment", "hate", "illicit", "self-harm", "sexual", "violence")
_TRANSCRIPT = "This is the demo upstream of the gateway; nobody listened."


class _Images(msgspec.Struct):
    model: str
    prompt: str = ""
    n: int | None = None
    stream: bool | None = None


class _Speech(msgspec.Struct):
    model: str
    input: str


class _Moderation(msgspec.Struct):
    input: str | list[object]
    model: str = "omni-moderation-latest"


def routes(speaker: Speaker) -> list[web.RouteDef]:
    media = _Media(speaker)
    return [
        web.post("/v1/images/generations", media.generate),
        web.post("/v1/images/edits", media.edit),
        web.post("/v1/images/variations", media.edit),
        web.post("/v1/audio/speech", media.speak),
        web.post("/v1/audio/transcriptions", media.transcribe),
        web.post("/v1/audio/translations", media.transcribe),
        web.post("/v1/moderations", media.moderate),
    ]


class _Media:
    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker

    async def generate(self, request: web.Request) -> web.StreamResponse:
        return await self._paint(request, msgspec.json.decode(await request.read(), type=_Images), "image_generation")

    async def edit(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        words = {name: value for name, value in form.items() if isinstance(value, str)}
        return await self._paint(request, msgspec.convert(words, _Images, strict=False), "image_edit")

    async def _paint(self, request: web.Request, asked: _Images, kind: str) -> web.StreamResponse:
        count = max(1, min(asked.n or 1, 10))
        read = self._speaker.count(asked.model, asked.prompt) * count
        made = _PICTURE_TOKENS * count
        usage = {"input_tokens": read, "input_tokens_details": {"text_tokens": read, "image_tokens": 0}}
        usage |= {"output_tokens": made, "total_tokens": read + made}
        about = {"size": "1024x1024", "quality": "low", "background": "opaque", "output_format": "png"}
        if asked.stream:
            done = {"type": f"{kind}.completed", "b64_json": _pixel(), "created_at": CREATED, **about, "usage": usage}
            return await event_stream(request, [event(done, str(done["type"]))])
        pictures = [{"b64_json": _pixel()} for _ in range(count)]
        return json_answer({"created": CREATED, "data": pictures, **about, "usage": usage})

    async def speak(self, request: web.Request) -> web.StreamResponse:
        asked = msgspec.json.decode(await request.read(), type=_Speech)
        silence = bytes(2 * _HERTZ * max(len(asked.input), 1) // _CHARACTERS_PER_SECOND // 2 * 2)
        return web.Response(body=_wav(silence), content_type="audio/wav")

    async def transcribe(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        file = cast(FileField, form["file"])
        seconds = max(1, len(file.file.read()) // (2 * _HERTZ))
        if form.get("response_format") in ("text", "srt", "vtt"):
            return web.Response(text=_TRANSCRIPT, content_type="text/plain")
        return json_answer({"text": _TRANSCRIPT, "usage": {"type": "duration", "seconds": seconds}})

    async def moderate(self, request: web.Request) -> web.StreamResponse:
        asked = msgspec.json.decode(await request.read(), type=_Moderation)
        harmless = {
            "flagged": False,
            "categories": dict.fromkeys(_CATEGORIES, False),
            "category_scores": dict.fromkeys(_CATEGORIES, 0.0),
            "category_applied_input_types": {name: ["text"] for name in _CATEGORIES},
        }
        count = len(asked.input) if isinstance(asked.input, list) else 1
        name = f"modr-demo{self._speaker.next_number()}"
        return json_answer({"id": name, "model": asked.model, "results": [harmless] * count})


def _wav(samples: bytes) -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_HERTZ)
        file.writeframes(samples)
    return made.getvalue()


def _pixel() -> str:
    """A PNG of one grey pixel."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0\x80")) + chunk(b"IEND", b"")
    return b64encode(png).decode()
