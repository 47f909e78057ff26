"""Opus in WebM, as browsers record it: its blocks say how long they play, and nothing else is believed."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.frames import MOST_ELEMENTS, at_lowest_rate, span_of
from gateway.core.sound import Length, length_of
from gateway.core.webm import read_webm

SEGMENT, CLUSTER, TRACKS, TRACK, INFO = (
    bytes.fromhex(id) for id in ("18538067", "1f43b675", "1654ae6b", "ae", "1549a966")
)
UNKNOWN = b"\x01" + b"\xff" * 7
SILK_60_MS, CELT_20_MS = b"\x18", b"\xf8"


def element(id: bytes, content: bytes) -> bytes:
    return id + (len(content) | 1 << 56).to_bytes(8, "big") + content


def head(*codecs: bytes, duration_ms: float | None = None, more: bytes = b"") -> bytes:
    """What stands before the clusters, in a segment of unknown size as browsers write it."""
    told = b"" if duration_ms is None else b"\x44\x89\x88" + struct.pack(">d", duration_ms)
    tracks = b"".join(element(TRACK, element(b"\x86", codec) + more) for codec in codecs)
    ebml = element(b"\x1a\x45\xdf\xa3", b"\x42\x82\x84webm")
    return ebml + SEGMENT + UNKNOWN + element(INFO, b"\x2a\xd7\xb1\x83\x0f\x42\x40" + told) + element(TRACKS, tracks)


def block(content: bytes, time: int = 0, flags: int = 0x80) -> bytes:
    return element(b"\xa3", b"\x81" + struct.pack(">hB", time, flags) + content)


def cluster(time: int, *blocks: bytes) -> bytes:
    return CLUSTER + UNKNOWN + element(b"\xe7", time.to_bytes(4, "big")) + b"".join(blocks)


def recording(
    seconds: int, packet: bytes = SILK_60_MS, ms: int = 60, size: int = 240, told: float | None = None
) -> bytes:
    """Clusters of a second or so; at 60 ms and 240 bytes 32 kbit/s."""
    many = range(0, seconds * 1000, ms)
    clusters = [cluster(start, block(packet.ljust(size, b"\x01"))) for start in many]
    return head(b"A_OPUS", duration_ms=told) + b"".join(clusters)


def test_recording_of_a_browser_is_as_long_as_its_packets_say() -> None:
    for packet, ms, size in ((SILK_60_MS, 60, 240), (CELT_20_MS, 20, 160)):
        data = recording(60, packet, ms, size)
        length = length_of(data)
        assert length == Length(length.most_ms, length.most_ms)
        assert 60_000 <= length.most_ms <= 61_000 < at_lowest_rate(len(data)) / 5


def test_duration_in_the_head_lets_nothing_be_held_too_small() -> None:
    honest = length_of(recording(60))
    for lie in (1.0, 0.001, 60_000.0):
        length = length_of(recording(60, told=lie))
        assert length.ms >= 60_000 and length.most_ms >= honest.most_ms - 100
    assert length_of(recording(60, told=90_000.0)) == Length(90_000, 90_000)


@pytest.mark.parametrize(
    "before",
    [
        head(), head(b"A_AAC"), head(b"A_VORBIS"), head(b"A_OPUS", b"A_AAC"), head(b"V_VP8", b"A_OPUS"),
        head(b"A_OPUS", more=element(b"\x6d\x80", b"\x00")),
    ],
)  # fmt: skip
def test_blocks_that_may_be_of_another_codec_are_not_counted(before: bytes) -> None:
    data = before + cluster(0, *[block(CELT_20_MS * 200)] * 50)
    assert span_of(data) is None
    assert length_of(data).most_ms == at_lowest_rate(len(data))


def test_other_codec_behind_the_clusters_is_seen() -> None:
    late = element(TRACKS, element(TRACK, element(b"\x86", b"A_AAC")))
    assert span_of(recording(2) + late) is None
    assert span_of(recording(2)) is not None


def test_block_of_several_packets_plays_as_long_as_they_can() -> None:
    laced = [
        block(bytes((count - 1,)) + CELT_20_MS * 300, flags=0x80 | kind) for count in (1, 2, 256) for kind in (2, 4, 6)
    ]
    span = span_of(head(b"A_OPUS") + cluster(0, *laced))
    assert span is not None and span.most_ms >= 3 * (1 + 2 + 256) * 120


def test_gap_between_blocks_counts_as_played() -> None:
    data = head(b"A_OPUS") + cluster(0, block(CELT_20_MS)) + cluster(3_600_000, block(CELT_20_MS, 500))
    assert length_of(data).most_ms == 3_600_500


def test_what_is_in_no_block_counts_at_the_lowest_rate() -> None:
    whole = span_of(recording(2))
    assert whole is not None
    for rest in (b"\0" * 7_500, element(b"\xec", bytes(7_500)), block(bytes(9_000))[:7_500]):
        longer = span_of(recording(2) + rest)
        assert longer is not None and whole.most_ms + 9_900 <= longer.most_ms <= whole.most_ms + 10_100


def test_no_more_than_so_many_elements_are_looked_at() -> None:
    tiny = head(b"A_OPUS") + cluster(0) + block(CELT_20_MS) * (MOST_ELEMENTS + 10_000)
    read = read_webm(tiny, MOST_ELEMENTS)
    assert read is not None and len(read.blocks) < MOST_ELEMENTS and read.other_bytes > 10_000
    span = span_of(tiny)
    assert span is not None and span.most_ms > len(read.blocks) * 20


def test_group_of_blocks_is_stepped_into() -> None:
    inside = element(b"\xa1", b"\x81\x00\x05\x00" + CELT_20_MS) + element(b"\x9b", b"\x14")
    read = read_webm(head(b"A_OPUS") + cluster(0, element(b"\xa0", inside)), 100)
    assert read is not None and [packets for _, _, packets in read.blocks] == [1] and read.last_ms == 5


@given(st.binary(max_size=300), st.integers(0, 400))
def test_any_bytes_are_read_within_bounds(rest: bytes, keep: int) -> None:
    data = recording(1)[:keep] + rest
    read = read_webm(data, 1_000)
    assert read is None or all(0 <= begin <= end <= len(data) for begin, end, _ in read.blocks)
    assert read is None or 0 <= read.other_bytes <= len(data)
    span = span_of(b"\x1a\x45\xdf\xa3" + data)
    assert span is None or 0 <= span.least_ms <= span.most_ms


def test_block_without_room_for_its_own_head_is_no_sound() -> None:
    read = read_webm(element(b"\xa3", b"\x81\x00") + element(b"\xa3", b"\x81\0\0\0"), 10)
    assert read is not None and read.blocks == [(24, 24, 1)] and read.other_bytes == 2
