"""How long compressed audio can play at most: by its frames, whatever its head says."""

import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.frames import MPEG_KILOBITS, Span, at_lowest_rate, mpeg_hertz, span_of
from gateway.core.sound import length_of
from tests.media import mp3


def mpeg_frame(version: int, index: int, rate: int, padding: int) -> bytes:
    """One frame of layer III, its content zeros."""
    kilobits = MPEG_KILOBITS[version == 3][rate]
    size = (144 if version == 3 else 72) * kilobits * 1000 // mpeg_hertz(version, index) + padding
    return bytes((0xFF, 0xE3 | version << 3, rate << 4 | index << 2 | padding << 1, 0)) + bytes(size - 4)


def mpeg_ms(version: int, index: int) -> float:
    return (1_152 if version == 3 else 576) * 1000 / mpeg_hertz(version, index)


FRAMES = st.lists(st.tuples(st.integers(1, 14), st.integers(0, 1)), min_size=1, max_size=60)


@given(st.sampled_from([0, 2, 3]), st.integers(0, 2), FRAMES, st.binary(max_size=40))
def test_mp3_plays_as_long_as_its_frames_whatever_their_rates(
    version: int, index: int, kinds: list[tuple[int, int]], tail: bytes
) -> None:
    tail = tail.replace(b"\xff", b"")
    data = b"".join(mpeg_frame(version, index, rate, padding) for rate, padding in kinds) + tail
    ms = int(len(kinds) * mpeg_ms(version, index))
    assert span_of(data) == Span(ms, ms + at_lowest_rate(len(tail)))


def test_mp3_that_lies_in_its_first_frame_is_counted() -> None:
    head = bytearray(mpeg_frame(2, 1, 1, 0) * 2_000)  # 8 kbit/s at 24 kHz: 48 s
    head[4:4] = bytes(9) + b"Xing" + struct.pack(">II", 1, 1)
    length = length_of(bytes(head))
    assert length.ms >= 47_900 and length.most_ms < 48_100


def test_frames_of_another_kind_play_at_the_lowest_rate() -> None:
    first, others = mpeg_frame(3, 1, 9, 0), mpeg_frame(2, 1, 1, 0) * 100
    assert span_of(first + others) == Span(24, 24 + at_lowest_rate(len(others)))
    assert len(others) / 750 >= 100 * 0.024


def test_tag_in_front_is_no_sound() -> None:
    tag = b"ID3\x04\0\0" + bytes((0, 0, 0x40, 0)) + bytes(64 * 128)
    assert span_of(tag + mp3(2.4)) == span_of(mp3(2.4)) == Span(2_400, 2_400)


def flac(blocks: int, kind: int = 12, hertz: int = 9) -> bytes:
    head = b"fLaC\x80\0\0\x22" + bytes(10) + ((48_000 << 44) | 1).to_bytes(8, "big") + bytes(16)
    return head + (bytes((0xFF, 0xF8, kind << 4 | hertz, 0x18)) + bytes(10)) * blocks


def test_flac_plays_as_long_as_its_blocks_though_silence_is_packed_tight() -> None:
    assert span_of(flac(1_000)) == Span(0, 4_096 * 1_000 * 1000 // 44_100 + 1)
    assert span_of(flac(1_000, hertz=0)) == Span(0, 4_096 * 1_000 * 1000 // 48_000 + 1)
    most = span_of(flac(60_000))
    assert most is not None and most.most_ms >= 4_096 * 60_000 * 1000 // 44_100


def page(packets: list[bytes], granule: int = 0) -> bytes:
    laces = b"".join(b"\xff" * (len(packet) // 255) + bytes((len(packet) % 255,)) for packet in packets)
    head = b"OggS\0\0" + struct.pack("<q", granule) + bytes(12) + bytes((len(laces),))
    return head + laces + b"".join(packets)


OPUS = page([b"OpusHead\x01\x01" + bytes(9)]) + page([b"OpusTags" + bytes(300)])
TOCS: list[tuple[bytes, float]] = [
    (b"\x00", 10), (b"\x08", 20), (b"\x18", 60), (b"\x60", 10), (b"\x68", 20), (b"\x80", 2.5), (b"\xf8", 20),
    (b"\xf9", 40), (b"\xfa", 40), (b"\xfb\x03", 60), (b"\xfb\x3f", 120), (b"\x1b\x3f", 120), (b"\xfb\x00", 0),
]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(TOCS), st.integers(3, 600)), min_size=1, max_size=40))
def test_opus_plays_as_long_as_its_packets_say_themselves(packets: list[tuple[tuple[bytes, float], int]]) -> None:
    data = OPUS + b"".join(page([head.ljust(size, b"\0")]) for (head, _), size in packets)
    ms = sum(played for (_, played), _ in packets)
    assert span_of(data) == Span(int(ms), int(ms) + 1)


def test_what_lies_between_pages_plays_at_the_lowest_rate() -> None:
    whole = OPUS + page([b"\xf8" + bytes(60)] * 4)
    assert span_of(whole) == Span(80, 81)
    assert span_of(OPUS + b"x" * 750 + whole[len(OPUS) :]) == Span(80, 1_081)


def test_vorbis_plays_at_most_the_longer_block_in_each_packet() -> None:
    head = b"\x01vorbis" + bytes(5) + struct.pack("<I", 44_100) + bytes(12) + b"\xb8\x01"
    data = page([head]) + page([b"\0" * 50] * 100)
    assert span_of(data) == Span(0, int(101 * 1_024 * 1000 / 44_100) + 1)


@pytest.mark.parametrize("data", [b"", b"RIFF", b"\xff\xfb", b"\xff\xff\xff\xff", b"OggS" + bytes(200), b"ID3\x04"])
def test_what_has_no_frames_has_no_span(data: bytes) -> None:
    assert span_of(data) is None


HOSTILE = {
    "mp3 of the smallest frames": mpeg_frame(2, 0, 1, 0) * 320_000,
    "mp3 that is one head again and again": bytes((0xFF, 0xFB, 0x90, 0)) * 2_000_000,
    "flac of heads": flac(0) + bytes((0xFF, 0xF8, 0x79, 0)) * 2_000_000,
    "opus of the smallest pages": OPUS + page([b"\xfb"]) * 280_000,
    "opus of the smallest packets": OPUS + page([b"\xfb"] * 255) * 30_000,
    "pages without an end": OPUS + b"OggS" * 2_000_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_file_is_read_in_bounded_time(kind: str) -> None:
    began = time.process_time()
    span = span_of(HOSTILE[kind])
    assert time.process_time() - began < 2.0  # of 8 MB; a slow machine has its due
    assert span is None or span.least_ms <= span.most_ms


@given(
    st.sampled_from([b"", b"fLaC", OPUS, flac(3), mp3(0.1), page([b"\x01vorbis" + bytes(22)])]),
    st.lists(st.sampled_from([b"OggS", b"\xff\xfb\x94\0", b"\xff\xf8\x79\0", b"\xff", b"\0" * 30]), max_size=40),
    st.binary(max_size=60),
)
def test_any_bytes_have_a_span_within_bounds(head: bytes, pieces: list[bytes], rest: bytes) -> None:
    span = span_of(head + b"".join(pieces) + rest)
    assert span is None or 0 <= span.least_ms <= span.most_ms
