"""Unpacking, whole and byte by byte, and what is refused."""

import gzip
import random
import zlib

import pytest

from gateway.upstream.inflate import CorruptBodyError, Inflater

PLAIN = random.Random(1).randbytes(50_000) + bytes(200_000)
RAW = zlib.compressobj(wbits=-15)
FORMS = {
    "gzip": ("gzip", gzip.compress(PLAIN)),
    "gzip in two members": ("gzip", gzip.compress(PLAIN[:1000]) + gzip.compress(PLAIN[1000:])),
    "zlib": ("deflate", zlib.compress(PLAIN)),
    "raw deflate": ("deflate", RAW.compress(PLAIN) + RAW.flush()),
}


def unpack(encoding: str, pieces: list[bytes]) -> bytes:
    """All of it; fails when a piece is larger than promised or the end is not one."""
    inflater, plain = Inflater(encoding), b""
    for piece in pieces:
        out = inflater.feed(piece)
        plain += out
        while inflater.pending:
            out = inflater.feed(b"")
            assert len(out) <= 65536
            plain += out
    if not inflater.complete:
        raise CorruptBodyError
    return plain


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1, 7, 1000, 10**6])
def test_body_in_pieces_of_any_size_unpacks(form: str, size: int) -> None:
    encoding, packed = FORMS[form]
    assert unpack(encoding, [packed[i : i + size] for i in range(0, len(packed), size)]) == PLAIN


@pytest.mark.parametrize("form", FORMS)
def test_body_cut_short_is_refused(form: str) -> None:
    encoding, packed = FORMS[form]
    with pytest.raises(CorruptBodyError):
        unpack(encoding, [packed[:-5]])


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_garbage_is_refused(encoding: str) -> None:
    with pytest.raises(CorruptBodyError):
        unpack(encoding, [b"\xff" * 100])


def test_empty_body_is_complete() -> None:
    assert Inflater("gzip").complete


def test_thousand_tiny_members_are_refused() -> None:
    with pytest.raises(CorruptBodyError):
        unpack("gzip", [gzip.compress(b"") * 1000])
