"""Rebuild the vocabulary files: `python -m gateway.tokens.pack FOLDER`, FOLDER holding OpenAI's `*.tiktoken` files.

Run by hand when an encoding is added; `data/README.md` tells where the raw files come from. Prints what belongs into
the table of `encodings.py`.
"""

import base64
import gzip
import hashlib
import sys
from pathlib import Path

from gateway.tokens.encodings import VOCABULARIES
from gateway.tokens.vocabulary import DATA_FOLDER, Vocabulary, VocabularyError, pack


def parse_tiktoken(source: bytes) -> dict[bytes, int]:
    """OpenAI's text format, one `<base64 of the token> <rank>` a line, as token bytes -> rank."""
    fields = (line.split() for line in source.splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in fields}


def render_tiktoken(tokens: dict[bytes, int]) -> bytes:
    """The inverse of `parse_tiktoken`, byte for byte: what the published hashes are over."""
    ordered = sorted(tokens.items(), key=lambda item: item[1])
    return b"".join(b"%b %d\n" % (base64.b64encode(token), rank) for token, rank in ordered)


def pack_file(source: Path, vocabulary: Vocabulary, target_folder: Path) -> str:
    """Write one vocabulary file; returns the SHA-256 of its content. Raises VocabularyError on a wrong source."""
    raw = source.read_bytes()
    if hashlib.sha256(raw).hexdigest() != vocabulary.source_sha256:
        raise VocabularyError(f"{source} is not the file that OpenAI published")
    packed = pack(parse_tiktoken(raw))
    # mtime=0: the same input gives the same file, so that a rebuild shows no difference.
    (target_folder / vocabulary.file_name).write_bytes(gzip.compress(packed, 9, mtime=0))
    return hashlib.sha256(packed).hexdigest()


def main(source_folder: Path, target_folder: Path = DATA_FOLDER) -> None:
    """Pack every vocabulary that has a file of its own (r50k_base lies inside p50k_base's)."""
    for name, vocabulary in VOCABULARIES.items():
        if not vocabulary.file_name.startswith(name):
            continue
        digest = pack_file(source_folder / f"{name}.tiktoken", vocabulary, target_folder)
        sys.stdout.write(f"{name}: packed_sha256 {digest}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
