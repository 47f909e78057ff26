"""Width and height of an image, from the first bytes of a base64 data URL. No image is ever decoded or fetched.

The four formats that the providers take: PNG, GIF and WebP have their size in the first 30 bytes; a JPEG has it in a
frame header that follows any amount of metadata, so the search for it is bounded.
"""

import binascii
from collections.abc import Callable
from typing import NamedTuple

_SHORT_HEADER_BYTES = 32
# EXIF, an embedded thumbnail and a colour profile are at most 64 KiB a segment; 256 KiB holds what cameras write.
_JPEG_HEADER_BYTES = 256 * 1024
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


class Dimensions(NamedTuple):
    """In pixels, both at least 1."""

    width: int
    height: int


def read_dimensions(url: str) -> Dimensions | None:
    """The size of the image in a `data:...;base64,` URL; None for any other URL and for what cannot be read."""
    if url[:5].lower() != "data:":
        return None
    # The media type is short; a comma far away belongs to something that is not a data URL of an image.
    comma = url.find(",", 0, 256)
    if comma < 0 or not url[:comma].lower().endswith(";base64"):
        return None
    start = comma + 1
    header = _decode(url, start, _SHORT_HEADER_BYTES)
    for matches, measure in _FORMATS:
        if matches(header):
            return _valid(measure(header))
    if header.startswith(b"\xff\xd8"):
        return _valid(_measure_jpeg(_decode(url, start, _JPEG_HEADER_BYTES)))
    return None


def _decode(url: str, start: int, wanted_bytes: int) -> bytes:
    """About the first `wanted_bytes` of the payload; fewer at its end, none if it is not base64."""
    length = -(-wanted_bytes // 3) * 4
    try:
        return binascii.a2b_base64(url[start : start + length] + "==")
    except (binascii.Error, ValueError):
        return b""


def _valid(found: tuple[int, int] | None) -> Dimensions | None:
    return Dimensions(*found) if found and min(found) > 0 else None


def _is_png(header: bytes) -> bool:
    return header.startswith(b"\x89PNG\r\n\x1a\n") and len(header) >= 24


def _measure_png(header: bytes) -> tuple[int, int]:
    return int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")


def _is_gif(header: bytes) -> bool:
    return header[:6] in (b"GIF87a", b"GIF89a") and len(header) >= 10


def _measure_gif(header: bytes) -> tuple[int, int]:
    return int.from_bytes(header[6:8], "little"), int.from_bytes(header[8:10], "little")


def _is_webp(header: bytes) -> bool:
    return header[:4] == b"RIFF" and header[8:12] == b"WEBP" and len(header) >= 30


def _measure_webp(header: bytes) -> tuple[int, int] | None:
    """Lossy, lossless and extended files keep the size in three different ways (RFC 9649)."""
    match header[12:16]:
        case b"VP8 ":
            width, height = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:30], "little")
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            bits = int.from_bytes(header[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            return int.from_bytes(header[24:27], "little") + 1, int.from_bytes(header[27:30], "little") + 1
    return None


def _measure_jpeg(data: bytes) -> tuple[int, int] | None:
    """Walk the segments to the first frame header. Every step goes forward, so the walk ends."""
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _JPEG_WITHOUT_LENGTH:
            at += 2
        elif marker in _JPEG_FRAMES:
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        else:
            at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    return None


_FORMATS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], tuple[int, int] | None]], ...] = (
    (_is_png, _measure_png),
    (_is_gif, _measure_gif),
    (_is_webp, _measure_webp),
)
