"""The vocabulary files inside this package: how they are laid out, and how they are read and checked.

A file is the gzip of `<size: 4 bytes, big endian> <size lengths, 1 byte each> <the tokens' bytes, in rank order>`.
A token's rank is its place; a length of 0 marks a rank that no mergeable token has. `data/README.md` tells where the
tokens come from; `pack.py` writes the files. This layout is a third smaller than the compressed original and is read
twice as fast, because nothing in it is base64 or a decimal number.
"""

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DATA_FOLDER = Path(__file__).parent / "data"
_SIZE_BYTES = 4


class VocabularyError(Exception):
    """A vocabulary file of this installation is not the one that was built; counting with it would charge wrongly."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """One encoding's tokens: the first `ranks` places of `file_name`.

    `packed_sha256` is of the file's decompressed content and is checked at each load; `source_sha256` is of the
    `.tiktoken` text that OpenAI publishes (the hash that tiktoken itself expects) and is checked when packing.
    """

    file_name: str
    ranks: int
    packed_sha256: str
    source_sha256: str


def read_ranks(vocabulary: Vocabulary, folder: Path = DATA_FOLDER) -> dict[bytes, int]:
    """Token bytes -> rank. Takes 0.1 s of CPU for the largest. Raises VocabularyError, also when the file is gone."""
    try:
        packed = gzip.decompress((folder / vocabulary.file_name).read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise VocabularyError(f"cannot read the vocabulary {vocabulary.file_name}: {error}") from error
    if hashlib.sha256(packed).hexdigest() != vocabulary.packed_sha256:
        raise VocabularyError(f"the vocabulary {vocabulary.file_name} does not have the expected SHA-256")
    return unpack(packed, vocabulary.ranks)


def unpack(packed: bytes, ranks: int) -> dict[bytes, int]:
    """The first `ranks` places of a packed vocabulary, as token bytes -> rank."""
    size = int.from_bytes(packed[:_SIZE_BYTES], "big")
    tokens = {}
    start = _SIZE_BYTES + size
    for rank in range(min(ranks, size)):
        end = start + packed[_SIZE_BYTES + rank]
        if end > start:
            tokens[packed[start:end]] = rank
        start = end
    return tokens


def pack(tokens: Mapping[bytes, int]) -> bytes:
    """The inverse of `unpack`. Tokens are 1 to 255 bytes long (the longest known has 128), ranks are distinct."""
    by_rank = [b""] * (max(tokens.values()) + 1)
    for token, rank in tokens.items():
        by_rank[rank] = token
    return len(by_rank).to_bytes(_SIZE_BYTES, "big") + bytes(map(len, by_rank)) + b"".join(by_rank)
