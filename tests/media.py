"""Sound, pictures and forms for tests, and answers as OpenAI's image and audio routes write them."""

import base64
import io
import json
import wave
from typing import Any

from tests.events import event

BOUNDARY = "0123456789abcdef"
PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(64))).decode()


def wav(seconds: float = 1.0, hertz: int = 16_000) -> bytes:
    """Silence as WAV: 16 bits, one channel."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(hertz)
        file.writeframes(bytes(2 * int(seconds * hertz)))
    return made.getvalue()


def mp3(seconds: float, kilobits: int = 128) -> bytes:
    """MP3 of a constant bit rate at 48 kHz: frames of 24 ms whose content is nothing, the last one perhaps cut."""
    rates = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    frame = bytes((0xFF, 0xFB, rates.index(kilobits) << 4 | 1 << 2, 0)) + bytes(3 * kilobits - 4)
    size = int(seconds * kilobits * 125)
    return (frame * (size // len(frame) + 1))[:size]


def field(name: str, content: str | bytes, filename: str | None = None, *lines: str) -> bytes:
    """One field of a form."""
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
    head = "\r\n".join((f"Content-Disposition: {disposition}", *lines))
    body = content.encode() if isinstance(content, str) else content
    return head.encode() + b"\r\n\r\n" + body


def form(*fields: bytes, boundary: str = BOUNDARY) -> bytes:
    """A whole form of such fields."""
    delimiter = b"--" + boundary.encode()
    return b"".join(delimiter + b"\r\n" + one + b"\r\n" for one in fields) + delimiter + b"--\r\n"


def form_type(boundary: str = BOUNDARY) -> dict[str, str]:
    """The header that goes with it."""
    return {"content-type": f"multipart/form-data; boundary={boundary}"}


def image_usage(text: int = 10, pictures: int = 0, output: int = 4_160) -> dict[str, Any]:
    """A usage block of the image routes."""
    details = {"text_tokens": text, "image_tokens": pictures}
    read = text + pictures
    return {
        "input_tokens": read,
        "input_tokens_details": details,
        "output_tokens": output,
        "total_tokens": read + output,
    }


def images_answer(count: int = 1, **fields: Any) -> bytes:
    """An answer with pictures; the usage last, as OpenAI writes it."""
    data = [{"b64_json": PICTURE} for _ in range(count)]
    body: dict[str, Any] = {"created": 1, "background": "opaque", "data": data, "output_format": "png"}
    body |= {"quality": "high", "size": "1024x1024", "usage": image_usage()} | fields
    return json.dumps({name: value for name, value in body.items() if value is not None}).encode()


def image_events(kind: str = "image_generation", partial: int = 2, usage: dict[str, Any] | None = None) -> list[bytes]:
    """The events of one streamed picture."""
    head = {"b64_json": PICTURE, "background": "opaque", "created_at": 1, "output_format": "png", "quality": "high"}
    head |= {"size": "1024x1024"}
    bodies: list[dict[str, Any]] = [
        {"type": f"{kind}.partial_image", **head, "partial_image_index": index} for index in range(partial)
    ]
    bodies.append({"type": f"{kind}.completed", **head, "usage": usage or image_usage(output=4_360)})
    return [event(body, body["type"]) for body in bodies]
