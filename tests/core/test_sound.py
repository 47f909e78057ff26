"""How long audio plays: read from what real files look like, and never from what a liar writes into their head."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.frames import at_lowest_rate, span_of
from gateway.core.sound import (
    HIGHEST_BYTES_PER_SECOND,
    PCM_BYTES_PER_MS,
    Length,
    length_of,
    played_ms,
)
from tests.media import mp3, wav


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + name + content


def mp4(ms: int, *, wide: bool = False, movie_last: bool = True) -> bytes:
    head = (
        b"\x01\0\0\0" + bytes(16) + struct.pack(">IQ", 1_000, ms) if wide else bytes(12) + struct.pack(">II", 1_000, ms)
    )
    movie = box(b"moov", box(b"mvhd", head + bytes(80)))
    media = box(b"mdat", bytes(20_000))
    return box(b"ftyp", b"M4A \0\0\0\0") + (media + movie if movie_last else movie + media)


def flac(samples: int, hertz: int = 44_100) -> bytes:
    packed = (hertz << 44) | (1 << 41) | (15 << 36) | samples
    return b"fLaC\x80\0\0\x22" + bytes(10) + packed.to_bytes(8, "big") + bytes(16) + bytes(20_000)


def page(granule: int, content: bytes) -> bytes:
    return b"OggS\0\0" + struct.pack("<q", granule) + bytes(12) + b"\x01" + bytes((len(content),)) + content


def opus(samples: int) -> bytes:
    return page(0, b"OpusHead\x01\x01" + bytes(9)) + page(960, bytes(200)) * 100 + page(samples, bytes(200))


def vorbis(samples: int, hertz: int) -> bytes:
    head = b"\x01vorbis" + bytes(5) + struct.pack("<I", hertz) + bytes(14)
    return page(0, head) + page(samples, bytes(200)) * 100


def webm(ticks: float, *, scale: int | None = 1_000_000, wide: bool = True) -> bytes:
    scaled = b"\x2a\xd7\xb1\x83" + scale.to_bytes(3, "big") if scale is not None else b""
    duration = b"\x44\x89" + (b"\x88" + struct.pack(">d", ticks) if wide else b"\x84" + struct.pack(">f", ticks))
    return b"\x1a\x45\xdf\xa3" + bytes(36) + b"\x15\x49\xa9\x66\xa0" + scaled + duration + bytes(20_000)


def variable_mp3(frames: int) -> bytes:
    head = bytes((0xFF, 0xFB, 0x90, 0))
    return head + bytes(32) + b"Xing" + struct.pack(">II", 1, frames) + bytes(20_000)


ID3 = b"ID3\x04\0\0" + bytes((0, 0, 2, 1)) + bytes(257)
"""A tag of 257 bytes: their number is written in groups of seven bits."""
KNOWN = {
    "mp3": (mp3(10), 10_000),
    "mp3 behind a tag": (ID3 + mp3(10), 10_000),
    "mp3 of 24 kHz": (bytes((0xFF, 0xF3, 0x84, 0)) + bytes(79_996), 10_000),
    "mp3 of several rates": (variable_mp3(1_000), 26_122),
    "flac": (flac(44_100 * 7), 7_000),
    "opus": (opus(48_000 * 5), 5_000),
    "vorbis": (vorbis(22_050 * 3, 22_050), 3_000),
    "m4a": (mp4(12_345), 12_345),
    "m4a of wide numbers, for the web": (mp4(12_345, wide=True, movie_last=False), 12_345),
    "webm": (webm(4_567.0), 4_567),
    "webm of other ticks": (webm(4_567.0, scale=2_000_000, wide=False), 9_134),
    "webm of the usual ticks": (webm(4_567.0, scale=None), 4_567),
}


@pytest.mark.parametrize("seconds", [0.5, 1, 61.25])
def test_wav_plays_as_long_as_its_samples_and_not_longer(seconds: float) -> None:
    assert length_of(wav(seconds)) == Length(int(seconds * 1000), int(seconds * 1000))


@pytest.mark.parametrize("kind", KNOWN)
def test_length_is_what_the_file_tells_and_at_most_what_its_frames_or_its_size_allow(kind: str) -> None:
    data, ms = KNOWN[kind]
    length, span = length_of(data), span_of(data)
    assert length.ms == ms
    assert length.most_ms == max(at_lowest_rate(len(data)) if span is None else span.most_ms, ms)


def test_file_that_tells_nothing_is_as_long_as_its_size_allows() -> None:
    for data in (b"", b"x" * 7_500, webm(0.0), mp4(0), flac(0), mp4(5_000)[:100], b"RIFF\0\0\0\0WAVEfmt ", b"\xff\xfb"):
        span = span_of(data)
        most = at_lowest_rate(len(data)) if span is None else span.most_ms
        assert length_of(data) == Length(most, most)


@pytest.mark.parametrize("lie", [mp4(1), flac(1), webm(0.001), variable_mp3(1), opus(1)])
def test_file_that_claims_to_be_shorter_than_any_is_not_believed(lie: bytes) -> None:
    length = length_of(lie)
    assert length.ms >= len(lie) * 1000 // HIGHEST_BYTES_PER_SECOND > 1
    assert length.most_ms >= length.ms


def test_wav_that_says_a_size_of_its_own_is_measured_by_what_is_there() -> None:
    honest = wav(2)
    for said in (0, 1, 0xFFFFFFFF):
        assert length_of(honest[:40] + struct.pack("<I", said) + honest[44:]).most_ms == 2_000


@pytest.mark.parametrize(
    ("channels", "hertz", "bits"), [(0, 16_000, 16), (65_535, 16_000, 16), (1, 1, 16), (1, 2**31, 8)]
)
def test_wav_of_no_sane_shape_is_measured_by_its_size(channels: int, hertz: int, bits: int) -> None:
    odd = bytearray(wav(2))
    struct.pack_into("<HI", odd, 22, channels, hertz)
    struct.pack_into("<H", odd, 34, bits)
    assert length_of(bytes(odd)).ms == at_lowest_rate(len(odd))


@given(st.sampled_from([b"", *(data[:400] for data, _ in KNOWN.values()), wav(0.01)]), st.binary(max_size=200))
def test_any_bytes_have_a_length_within_bounds(head: bytes, rest: bytes) -> None:
    length = length_of(head + rest)
    assert 0 <= length.ms <= length.most_ms


@given(st.sampled_from([data for data, _ in KNOWN.values()]), st.integers(0, 19_999), st.integers(0, 255))
def test_any_file_with_one_wrong_byte_has_a_length_within_bounds(data: bytes, at: int, byte: int) -> None:
    length = length_of(data[:at] + bytes((byte,)) + data[at + 1 :])
    assert 0 <= length.ms <= length.most_ms


def test_sound_under_way_plays_as_long_as_its_head_and_size_say() -> None:
    streamed = wav(3)[:40] + b"\xff\xff\xff\xff" + wav(3)[44:]
    assert played_ms(streamed[:4_096], len(streamed)) == 3_000
    assert played_ms(mp3(3)[:4_096], len(mp3(3))) == 3_000
    assert played_ms(opus(48_000)[:4_096], 20_000) == 0 == played_ms(b"", 0)
    assert PCM_BYTES_PER_MS * 1_000 == 24_000 * 2
