"""How long compressed audio can play, told by the frames that are there: no header's word is taken for it.

Whatever is in no frame that is understood is taken for sound at the lowest rate. What is looked at one by one is
bounded, and the rest counts as that too. `least` is what the frames surely play, 0 where each only has an upper bound.
"""

import re
from functools import lru_cache

import msgspec

from gateway.core.webm import SoundBlock, read_webm

LOWEST_BYTES_PER_SECOND = 750
"""6 kbit/s, the lowest rate of Opus (RFC 6716 2.1.1); every other speech format that OpenAI takes starts higher."""
MOST_PIECES = 50_000
"""So many frames or packets are looked at one by one: some 20 ms of work."""
MOST_ELEMENTS = 12_000
"""Those of WebM, which take longer to look at: blocks of 60 ms for 12 minutes, of 20 ms for 4."""
MPEG_KILOBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""By rate index, of MPEG 1 and of those after it."""
MPEG_HERTZ = (44_100, 48_000, 32_000)
_FLAC_HEAD = re.compile(rb"\xff[\xf8\xf9]([\x10-\xfe])[\x00-\xae]")
"""Only its first byte can be 0xFF, so two never overlap."""
_FLAC_HERTZ = (0, 88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 0, 0, 0, 0)
_FLAC_SAMPLES = (0, 192, 576, 1_152, 2_304, 4_608, 256, 65_536, *(256 << power for power in range(8)))
_FLAC_LOWEST_HERTZ = 8_000
_OPUS_SILK_MS = (10, 20, 40, 60)
_OPUS_CELT_MS = (2.5, 5, 10, 20)
_OPUS_MOST_MS = 120


class Span(msgspec.Struct, frozen=True):
    """How long audio plays, at least and at most."""

    least_ms: int
    most_ms: int


def span_of(data: bytes) -> Span | None:
    """Return what the frames of MP3, FLAC, of Opus or Vorbis in Ogg and of Opus in WebM play; None for other files."""
    if data[:4] == b"\x1a\x45\xdf\xa3":
        return opus_in_webm(data)
    if data[:4] == b"fLaC":
        return _flac(data)
    if data[:4] == b"OggS":
        return _ogg(data)
    return _mp3(data)


def at_lowest_rate(size: int) -> int:
    """Return for how many milliseconds so many bytes play at most."""
    return -(-size * 1000 // LOWEST_BYTES_PER_SECOND)


def behind_tag(data: bytes) -> int:
    """Return where an MP3's frames begin: behind its ID3 tag, if it has one."""
    if data[:3] != b"ID3":
        return 0
    return 10 + sum((byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=False))


def _mp3(data: bytes) -> Span | None:
    """Count the frames of the first one's version and sample rate; all of them play equally long."""
    at = behind_tag(data)
    head = data[at : at + 3]
    if len(head) < 3 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, index = head[1] >> 3 & 3, head[2] >> 2 & 3
    if version == 1 or index == 3:
        return None
    rest, count = _mpeg_frames(version, index).subn(b"", data[at:])
    if not count:
        return None
    ms = count * (1_152 if version == 3 else 576) * 1000 // mpeg_hertz(version, index)
    return Span(ms, ms + at_lowest_rate(len(rest)))


def mpeg_hertz(version: int, index: int) -> int:
    """Return the sample rate, by the two bits of the version (3, 2 and 0) and of its index."""
    return MPEG_HERTZ[index] >> {3: 0, 2: 1, 0: 2}[version]


@lru_cache(maxsize=9)
def _mpeg_frames(version: int, index: int) -> "re.Pattern[bytes]":
    """Return what matches one whole frame, whatever its bit rate: an expression walks a file with no turn for each."""
    second = 0xE2 | version << 3
    kinds = []
    for rate, kilobits in enumerate(MPEG_KILOBITS[version == 3]):
        for padding in (0, 1) if rate else ():
            size = (144 if version == 3 else 72) * kilobits * 1000 // mpeg_hertz(version, index) + padding
            third = rate << 4 | index << 2 | padding << 1
            kinds.append(b"[%b%b].{%d}" % (re.escape(bytes((third,))), re.escape(bytes((third | 1,))), size - 3))
    head = b"\xff[%b%b]" % (re.escape(bytes((second,))), re.escape(bytes((second | 1,))))
    return re.compile(head + b"(?:%b)" % b"|".join(kinds), re.DOTALL)


def _flac(data: bytes) -> Span | None:
    """Count what can be the head of a frame; each says how many samples it has. A few that are none count too."""
    told = int.from_bytes(data[18:21], "big") >> 4
    count = data.count(b"\xff\xf8") + data.count(b"\xff\xf9")
    if count > MOST_PIECES:
        return Span(0, count * max(_FLAC_SAMPLES) * 1000 // _FLAC_LOWEST_HERTZ)
    ms = 0.0
    for found in _FLAC_HEAD.finditer(data):
        kind = found[1][0]
        hertz = _FLAC_HERTZ[kind & 15] or told or _FLAC_LOWEST_HERTZ
        ms += _FLAC_SAMPLES[kind >> 4] * 1000 / hertz
    return Span(0, int(ms) + 1) if ms else None


def _ogg(data: bytes) -> Span | None:
    """Walk the pages; the first says what the packets are. What lies between pages counts as sound too."""
    vorbis = data.find(b"\x01vorbis", 0, 128)
    is_opus = b"OpusHead" in data[:128]
    if vorbis < 0 and not is_opus:
        return None
    longest = 0.0 if is_opus else _vorbis_ms(data, vorbis)
    at, between, pieces, ms = 0, 0, 0, 0.0
    while (found := data.find(b"OggS", at)) >= 0 and found + 27 <= len(data) and pieces <= MOST_PIECES:
        between += found - at
        laces = data[found + 27 : found + 27 + data[found + 26]]
        body = found + 27 + len(laces)
        pieces += len(laces) + 1
        ms += _opus_ms(data, body, laces) if is_opus else (len(laces) - laces.count(255)) * longest
        at = body + sum(laces)
    most = int(ms) + 1 + at_lowest_rate(between + max(len(data) - at, 0))
    return Span(int(ms) if is_opus else 0, most)


def opus_in_webm(data: bytes) -> Span | None:
    """Walk the blocks; None where another codec's could be among them. A gap between their times counts as played."""
    told = read_webm(data, MOST_ELEMENTS)
    if told is None or told.codecs != {b"A_OPUS"}:
        return None
    ms = sum(_block_ms(data, block) for block in told.blocks)
    return Span(int(ms), max(int(ms) + 1 + at_lowest_rate(told.other_bytes), told.last_ms))


def _block_ms(data: bytes, block: SoundBlock) -> float:
    begin, end, packets = block
    return packets * _OPUS_MOST_MS if packets > 1 else _packet_ms(data[begin : min(begin + 2, end)])


def _vorbis_ms(data: bytes, head: int) -> float:
    """Return the most that one packet plays: half of the longer kind of block."""
    hertz = int.from_bytes(data[head + 12 : head + 16], "little") or 1
    block = data[head + 28] >> 4 if len(data) > head + 28 else 13
    return (1 << block) * 500 / hertz


def _opus_ms(data: bytes, at: int, laces: bytes) -> float:
    """Return what a page's packets play; each says it in its first byte or two (RFC 6716 3.1)."""
    ms, begins = 0.0, True
    for lace in laces:
        if begins and lace:
            ms += _packet_ms(data[at : at + 2])
        begins = lace < 255
        at += lace
    return ms


def _packet_ms(head: bytes) -> float:
    if not head or head[:2] == b"Op":  # the two packets in front are no sound, and no packet of sound begins so
        return 0.0
    kind, code = head[0] >> 3, head[0] & 3
    if kind < 12:
        frame: float = _OPUS_SILK_MS[kind & 3]
    elif kind < 16:
        frame = _OPUS_SILK_MS[kind & 1]
    else:
        frame = _OPUS_CELT_MS[kind & 3]
    frames = (1, 2, 2)[code] if code < 3 else (head[1] & 63 if len(head) > 1 else 0)
    return min(frame * frames, _OPUS_MOST_MS)
