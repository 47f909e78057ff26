"""Which encoding a model uses, and the encodings themselves: built once, on first use, from the packaged files.

`tiktoken.Encoding` is constructed directly: tiktoken's own loader would download, without a timeout, into a shared
folder. No special tokens are given, so `<|endoftext|>` in a prompt is plain text, as it is to the provider.
"""

import threading
from enum import StrEnum
from functools import cache

import tiktoken

from gateway.tokens.pieces import PIECE_CHARACTERS, pieces
from gateway.tokens.vocabulary import Vocabulary, read_ranks


class EncodingName(StrEnum):
    """The encodings we have. `o200k_harmony` (gpt-oss) differs in special tokens only and is counted as o200k."""

    O200K = "o200k_base"
    CL100K = "cl100k_base"
    P50K = "p50k_base"
    R50K = "r50k_base"


VOCABULARIES = {
    EncodingName.O200K: Vocabulary(
        file_name="o200k_base.gz",
        ranks=199_998,
        packed_sha256="2f451f31d7403017d0b0dc6319ded23a09f33f573b1635c001fc6b91a1c21302",
        source_sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    ),
    EncodingName.CL100K: Vocabulary(
        file_name="cl100k_base.gz",
        ranks=100_256,
        packed_sha256="9ef8402c916638b4e5896df1b798958e6377ae5ee9ecce199388d117f2a44973",
        source_sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
    EncodingName.P50K: Vocabulary(
        file_name="p50k_base.gz",
        ranks=50_281,
        packed_sha256="90db51a9574ccf305f7bc8b80a8bc8ab2de12111dcf7070b8c65fa5f5509d5d5",
        source_sha256="94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
    ),
    EncodingName.R50K: Vocabulary(
        file_name="p50k_base.gz",
        ranks=50_256,
        packed_sha256="90db51a9574ccf305f7bc8b80a8bc8ab2de12111dcf7070b8c65fa5f5509d5d5",
        source_sha256="306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
    ),
}

# How a text is split before merging; from tiktoken_ext/openai_public.py of tiktoken 0.14 (a test compares them).
_GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
PATTERNS = {
    EncodingName.O200K: "|".join(
        [
            r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
            r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
            r"""\p{N}{1,3}""",
            r""" ?[^\s\p{L}\p{N}]+[\r\n/]*""",
            r"""\s*[\r\n]+""",
            r"""\s+(?!\S)""",
            r"""\s+""",
        ]
    ),
    EncodingName.CL100K: (
        r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"""
        r"""|\s++$|\s*[\r\n]|\s+(?!\S)|\s"""
    ),
    EncodingName.P50K: _GPT2_PATTERN,
    EncodingName.R50K: _GPT2_PATTERN,
}

_P50K_MODELS = ("text-davinci-002", "text-davinci-003", "text-davinci-edit", "code-davinci", "code-cushman")
_R50K_MODELS = (
    *("text-davinci-001", "text-curie", "text-babbage", "text-ada", "text-similarity", "text-search"),
    *("code-search", "gpt2", "gpt-2"),
)
_R50K_NAMES = frozenset({"davinci", "curie", "babbage", "ada"})
_CL100K_MODELS = ("gpt-4-", "gpt-3.5", "gpt-35", "text-embedding-", "davinci-002", "babbage-002")


def encoding_for(base_model: str) -> EncodingName:
    """The encoding of a model, by its base name (`models.base_name`); what is unknown is counted as o200k."""
    if base_model == "gpt-4" or base_model.startswith(_CL100K_MODELS):
        return EncodingName.CL100K
    if base_model.startswith(_P50K_MODELS):
        return EncodingName.P50K
    if base_model in _R50K_NAMES or base_model.startswith(_R50K_MODELS):
        return EncodingName.R50K
    return EncodingName.O200K


class Tokenizer:
    """One loaded encoding. Safe in any thread; tiktoken releases the GIL while it works."""

    __slots__ = ("_encoding",)

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self._encoding = encoding

    def count(self, text: str) -> int:
        """Tokens of a text of any length and content: linear time, never raises, special tokens are plain text."""
        if len(text) <= PIECE_CHARACTERS:
            return self._count_piece(text)
        return sum(map(self._count_piece, pieces(text)))

    def _count_piece(self, piece: str) -> int:
        try:
            return len(self._encoding.encode(piece, disallowed_special=()))
        except ValueError:
            # The pattern's backtracking limit, known from a million spaces and not reachable at this size. A token
            # has at least one byte, so the bytes are an upper bound.
            return len(piece.encode("utf-8", "replace"))


@cache
def load(name: EncodingName) -> Tokenizer:
    """Build an encoding, once: 0.2 s and 49 MB for o200k, 25 MB for cl100k (the GIL is held for half of it).

    Raises VocabularyError.
    """
    ranks = read_ranks(VOCABULARIES[name])
    encoding = tiktoken.Encoding(name.value, pat_str=PATTERNS[name], mergeable_ranks=ranks, special_tokens={})
    # tiktoken keeps this dict beside its own three copies and uses it for pickling only; emptied, it gives 24 MB back.
    ranks.clear()
    return Tokenizer(encoding)


class Encodings:
    """The encodings of one process, each loaded once, by whoever needs it first."""

    def __init__(self) -> None:
        self._loaded: dict[EncodingName, Tokenizer] = {}
        self._locks = {name: threading.Lock() for name in EncodingName}

    def loaded(self, name: EncodingName) -> Tokenizer | None:
        """The encoding if it is there already; never waits."""
        return self._loaded.get(name)

    def get(self, name: EncodingName) -> Tokenizer:
        """The encoding, loaded now if need be (others who ask for the same wait). Raises VocabularyError."""
        tokenizer = self._loaded.get(name)
        if tokenizer is not None:
            return tokenizer
        with self._locks[name]:
            if name not in self._loaded:
                self._loaded[name] = load(name)
            return self._loaded[name]
