"""WebM as far as it tells which sound is in it, and where: its blocks, one by one, and what is beside them.

Shapes: RFC 8794 (EBML) and RFC 9559 (Matroska). Elements that hold others are stepped into wherever they stand, so one
of unknown size needs no end.
"""

import msgspec

_HOLDERS = frozenset({0x18538067, 0x1F43B675, 0x1654AE6B, 0xAE, 0xA0})
"""Segment, cluster, tracks, one track, a group of blocks."""
_BLOCKS = frozenset({0xA3, 0xA1})
_CODEC, _ENCODINGS, _INFO, _TIME = 0x86, 0x6D80, 0x1549A966, 0xE7
_SCALE = b"\x2a\xd7\xb1\x83"
_USUAL_SCALE_NS = 1_000_000
_LACING = 0x06
_LONGEST_ID, _LONGEST_SIZE = 4, 8
_LENGTHS = bytes(9 - first.bit_length() for first in range(256))
"""By its first byte, how many bytes a number of variable length has; 9 is none."""
_MOST_MS = 2**40


SoundBlock = tuple[int, int, int]
"""Where a block's content begins and ends, and how many packets are in it at most."""


class WebM(msgspec.Struct):
    """What is there. `other_bytes` are in no block: descriptions, or nothing that is understood.

    `last_ms` is when the last block begins to play.
    """

    codecs: set[bytes]
    blocks: list[SoundBlock]
    other_bytes: int = 0
    last_ms: int = 0


def read_webm(data: bytes, most_elements: int) -> WebM | None:
    """Return what is in the file; None where its blocks are written in a way that only its codec could read.

    So many elements are looked at; the rest is among `other_bytes`, as is all behind what is no element.
    """
    told = WebM(set(), [])
    at, cluster, scale = 0, 0, _USUAL_SCALE_NS
    for _ in range(most_elements):
        element = _element(data, at)
        if element is None:
            break
        kind, begin, end = element
        if kind in _HOLDERS:
            at = begin
            continue
        if end is None or end > len(data):
            break
        at = end
        if kind in _BLOCKS:
            time = _take_block(data, begin, end, told)
            told.last_ms = max(told.last_ms, min((cluster + time) * scale // 1_000_000, _MOST_MS))
        elif kind == _TIME:
            cluster = int.from_bytes(data[begin:end], "big")
        elif kind == _ENCODINGS:
            return None
        else:
            told.other_bytes += end - begin
            if kind == _CODEC:
                told.codecs.add(data[begin:end].rstrip(b"\0"))
            elif kind == _INFO and (found := data.find(_SCALE, begin, end)) >= 0:
                scale = int.from_bytes(data[found + 4 : found + 7], "big")
    told.other_bytes += len(data) - at
    return told


def _take_block(data: bytes, begin: int, end: int, told: WebM) -> int:
    """Add a block; return its time within its cluster, in ticks."""
    head = begin + _LENGTHS[data[begin]] + 3 if begin < end else end + 1
    if head > end:
        told.other_bytes += end - begin
        return 0
    packets = 1
    if data[head - 1] & _LACING:
        packets = max(data[head] + 1, 2) if head < end else 0  # never one: where that begins is not read here
    told.blocks.append((head, end, packets))
    return int.from_bytes(data[head - 3 : head - 1], "big", signed=True)


def _element(data: bytes, at: int) -> tuple[int, int, int | None] | None:
    """Return an element's id, where its content begins, and where it ends, None if it does not say; None for none."""
    size_at = at + _LENGTHS[data[at]] if at < len(data) else 0
    if not at < size_at <= at + _LONGEST_ID or size_at >= len(data):
        return None
    length = _LENGTHS[data[size_at]]
    begin = size_at + length
    if length > _LONGEST_SIZE or begin > len(data):
        return None
    mark = 1 << 7 * length
    size = int.from_bytes(data[size_at:begin], "big") & (mark - 1)
    return int.from_bytes(data[at:size_at], "big"), begin, None if size == mark - 1 else begin + size
