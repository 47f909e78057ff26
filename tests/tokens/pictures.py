"""Headers of images of any size, as data URLs: all that the counter ever reads of an image."""

import base64
import struct


def data_url(header: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(header).decode()}"


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII5B", 13, b"IHDR", width, height, 8, 6, 0, 0, 0)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH3B", width, height, 0, 0, 0)


def webp_lossy(width: int, height: int) -> bytes:
    return b"RIFF\0\0\0\0WEBPVP8 " + bytes(4) + b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height)


def webp_lossless(width: int, height: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    return b"RIFF\0\0\0\0WEBPVP8L" + bytes(4) + b"\x2f" + struct.pack("<I", bits) + bytes(8)


def webp_extended(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\0\0\0\0WEBPVP8X" + bytes(4) + bytes(4) + size


def jpeg(width: int, height: int, metadata_bytes: int = 100) -> bytes:
    """With metadata segments before the frame header, as cameras write them."""
    segments = b""
    while metadata_bytes > 0:
        length = min(metadata_bytes, 65_000)
        segments += b"\xff\xe1" + struct.pack(">H", length + 2) + bytes(length)
        metadata_bytes -= length
    frame = b"\xff\xc2" + struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes(9)
    return b"\xff\xd8\xff\xff" + segments[1:] + frame
