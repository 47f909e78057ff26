"""How long a file of audio plays, read from its first bytes and its size; no sample is decoded.

Plain PCM in WAV tells it by its size, so that nothing else can be true. The other kinds tell it in a header, which is
believed within bounds: a file never plays longer than its frames can (`frames.py`), or where they are not counted (MP4,
WebM but for Opus) than at the lowest bit rate that speech is stored with, and is never charged for less than at the
highest.
"""

import struct

import msgspec

from gateway.core.frames import MPEG_KILOBITS, at_lowest_rate, behind_tag, mpeg_hertz, span_of

HIGHEST_BYTES_PER_SECOND = 192_000
"""Uncompressed stereo of 16 bits at 48 kHz. No compressed file that is sent for its words has more."""
PCM_BYTES_PER_MS = 48
"""Sound without a header, as OpenAI speaks it: 16 bits, one channel, 24 kHz."""
_PCM_TAGS = (1, 3, 6, 7, 0xFFFE)
_OPUS_HERTZ = 48_000
_MOST_FRAME_BYTES = 256
_MOST_BOXES = 64
_MOST_MS = 2**40


class Length(msgspec.Struct, frozen=True):
    """How long audio plays: by our best reading, and at most."""

    ms: int
    most_ms: int


def length_of(data: bytes) -> Length:
    """Return how long a whole file plays."""
    size = len(data)
    exact = _pcm_ms(data, size)
    if exact is not None:
        return Length(exact, exact)
    span, told = span_of(data), _told_ms(data, size)
    most = at_lowest_rate(size) if span is None else span.most_ms
    least = max(size * 1000 // HIGHEST_BYTES_PER_SECOND, span.least_ms if span is not None else 0)
    ms = max(told if told is not None else most, least)
    return Length(ms, max(most, ms))


def played_ms(head: bytes, size: int) -> int:
    """Return how long sound of `size` bytes plays that begins with `head` and has no end yet, 0 if that is not said."""
    return _pcm_ms(head, size) or _mp3_ms(head, size) or 0


def _told_ms(data: bytes, size: int) -> int | None:
    for read in (_mp3_ms, _flac_ms, _ogg_ms, _mp4_ms, _webm_ms):
        ms = read(data, size)
        if ms is not None and 0 < ms <= _MOST_MS:
            return ms
    return None


def _little(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")


def _big(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big")


def _pcm_ms(data: bytes, size: int) -> int | None:
    """Read WAV. All behind the head of its data counts: what it says of its own size may be unknown or untrue."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return None
    at, frame, hertz = 12, 0, 0
    for _ in range(_MOST_BOXES):
        name, length = data[at : at + 4], _little(data, at + 4, 4)
        if name == b"fmt " and _little(data, at + 8, 2) in _PCM_TAGS:
            frame = _little(data, at + 10, 2) * (_little(data, at + 22, 2) // 8)
            hertz = _little(data, at + 12, 4)
        elif name == b"data":
            is_sane = 0 < frame <= _MOST_FRAME_BYTES and 4_000 <= hertz <= 768_000
            return max(size - at - 8, 0) * 1000 // (hertz * frame) if is_sane else None
        at += 8 + length + length % 2
    return None


def _mp3_ms(data: bytes, size: int) -> int | None:
    """Read MPEG audio layer III: frames counted in its first one where it has several bit rates, else by the rate."""
    at = behind_tag(data)
    if _big(data, at, 2) & 0xFFE6 != 0xFFE2 or len(data) < at + 4:
        return None
    version, rate, hertz_index = data[at + 1] >> 3 & 3, data[at + 2] >> 4, data[at + 2] >> 2 & 3
    if version == 1 or rate in (0, 15) or hertz_index == 3:
        return None
    is_first = version == 3
    hertz = mpeg_hertz(version, hertz_index)
    for mark in (b"Xing", b"Info"):
        found = data.find(mark, at, at + 200)
        if found >= 0 and data[found + 7 : found + 8] and data[found + 7] & 1:
            return _big(data, found + 8, 4) * (1_152 if is_first else 576) * 1000 // hertz
    return (size - at) * 8 // MPEG_KILOBITS[is_first][rate]


def _flac_ms(data: bytes, _size: int) -> int | None:
    if data[:4] != b"fLaC":
        return None
    packed = _big(data, 18, 8)
    hertz, samples = packed >> 44, packed & 0xF_FFFF_FFFF
    return samples * 1000 // hertz if hertz and samples else None


def _ogg_ms(data: bytes, _size: int) -> int | None:
    """Read Opus or Vorbis in Ogg: its last page says how many samples there are."""
    if data[:4] != b"OggS":
        return None
    vorbis = data.find(b"\x01vorbis", 0, 128)
    hertz = _little(data, vorbis + 12, 4) if vorbis >= 0 else _OPUS_HERTZ if b"OpusHead" in data[:128] else 0
    last = data.rfind(b"OggS")
    samples = _little(data, last + 6, 8)
    return samples * 1000 // hertz if hertz and samples < 2**62 else None


def _mp4_ms(data: bytes, _size: int) -> int | None:
    """Read MP4 and M4A: the movie's header inside the movie box."""
    if data[4:8] != b"ftyp":
        return None
    movie = _box(data, b"moov", 0, len(data))
    header = _box(data, b"mvhd", movie[0], movie[1]) if movie else None
    if header is None:
        return None
    wide = data[header[0] : header[0] + 1] == b"\x01"
    scale = _big(data, header[0] + (20 if wide else 12), 4)
    duration = _big(data, header[0] + (24 if wide else 16), 8 if wide else 4)
    return duration * 1000 // scale if scale else None


def _box(data: bytes, name: bytes, at: int, end: int) -> tuple[int, int] | None:
    """Return where the content of the first box of this name begins and ends."""
    for _ in range(_MOST_BOXES):
        length, head = _big(data, at, 4), 8
        if length == 1:
            length, head = _big(data, at + 8, 8), 16
        if at + head > end or length < head:
            return None
        if data[at + 4 : at + 8] == name:
            return at + head, min(at + length, end)
        at += length
    return None


def _webm_ms(data: bytes, _size: int) -> int | None:
    """Read WebM: the duration among the segment's information, in ticks of a millisecond unless it says otherwise."""
    if data[:4] != b"\x1a\x45\xdf\xa3":
        return None
    info = data.find(b"\x15\x49\xa9\x66", 0, 4_096)
    duration = data.find(b"\x44\x89", info, info + 512) if info >= 0 else -1
    if duration < 0:
        return None
    scale = data.find(b"\x2a\xd7\xb1\x83", info, info + 512)
    nanoseconds = _big(data, scale + 4, 3) if scale >= 0 else 1_000_000
    kind = {0x84: ">f", 0x88: ">d"}.get(_big(data, duration + 2, 1))
    raw = data[duration + 3 : duration + 11]
    if kind is None or len(raw) < struct.calcsize(kind):
        return None
    ticks = struct.unpack_from(kind, raw)[0]
    return int(ticks * nanoseconds) // 1_000_000 if 0 < ticks < _MOST_MS else None
