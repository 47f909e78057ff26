"""Long texts are counted in pieces, to the same count, in bounded time, whatever they hold."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tokens.encodings import EncodingName, Encodings, load
from gateway.tokens.pieces import PIECE_CHARACTERS, is_exact_cut, pieces

# Texts that make the splitting patterns meet: words, contractions, digits, spaces, newlines, marks, other scripts.
_WORDS = ["hello", "World", "don't", "I'LL", "'s", "x", "A", "_", "1234567", '{"a":', "//", ".", "<|endoftext|>"]
_SPACES = [" ", "   ", "\n", "\r\n", "\t", "\u00a0", "\u2028"]
_SCRIPTS = ["\u00e9", "e\u0301", "नमस्ते", "日本語", "한국", "٣٤", "ǅ", "ʰ", "²", "🙂", "👩\u200d👧"]
_FRAGMENTS = st.sampled_from([*_WORDS, *_SPACES, *_SCRIPTS])
TEXTS = st.one_of(st.lists(_FRAGMENTS, max_size=30).map("".join), st.text(max_size=60))

HOSTILE = {
    "spaces": " " * 1_000_000,
    "newlines": "\n" * 1_000_000,
    "emoji": "🙂" * 1_000_000,
    "one letter": "a" * 1_000_000,
    "carets": "^" * 1_000_000,
    "one ideograph": "的" * 1_000_000,
    "special tokens": "<|endoftext|>" * 50_000,
    "lone surrogates": "\ud83d" * 1_000_000,
    "marks": "\u0301" * 1_000_000,
}


@pytest.mark.parametrize("name", EncodingName)
def test_cut_called_exact_leaves_the_count_unchanged(name: EncodingName, encodings: Encodings) -> None:
    count = encodings.get(name).count

    @given(TEXTS)
    def holds_at_every_place(text: str) -> None:
        whole = count(text)
        for place in range(1, len(text)):
            if is_exact_cut(text, place):
                assert count(text[:place]) + count(text[place:]) == whole

    holds_at_every_place()


@given(TEXTS, st.integers(min_value=1, max_value=40))
def test_pieces_are_bounded_and_joined_are_the_text(text: str, piece_characters: int) -> None:
    cut = list(pieces(text, piece_characters))
    assert "".join(cut) == text
    assert all(len(piece) <= piece_characters for piece in cut)
    assert all(cut) or cut == [""]


@pytest.mark.parametrize("name", EncodingName)
def test_long_text_counted_in_pieces_has_the_count_of_the_whole(name: EncodingName, encodings: Encodings) -> None:
    paragraph = "The gateway's ledger held 1234567 tokens\nfor 日本語 and don't\n\n  indented, camelCase42 "
    text = paragraph * (4 * PIECE_CHARACTERS // len(paragraph))
    in_pieces = list(pieces(text))
    assert len(in_pieces) > 3
    one_by_one = [piece for part in in_pieces for piece in pieces(part, 1_000)]
    tokenizer = encodings.get(name)
    assert sum(map(tokenizer.count, one_by_one)) == tokenizer.count(text)


@pytest.mark.parametrize("name", EncodingName)
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_text_is_counted_in_bounded_time(text: str, name: EncodingName, encodings: Encodings) -> None:
    tokenizer = encodings.get(name)
    started = time.thread_time()
    tokens = tokenizer.count(text)
    assert time.thread_time() - started < 5
    assert 0 < tokens <= len(text.encode("utf-8", "surrogatepass"))


def test_special_tokens_are_counted_as_plain_text(encodings: Encodings) -> None:
    assert encodings.get(EncodingName.O200K).count("<|endoftext|>") == 7
    assert encodings.get(EncodingName.CL100K).count("<|endoftext|><|fim_prefix|>") > 10


def test_encoding_asked_for_twice_is_loaded_once() -> None:
    encodings = Encodings()
    assert encodings.loaded(EncodingName.P50K) is None
    first = encodings.get(EncodingName.P50K)
    assert encodings.get(EncodingName.P50K) is first
    assert encodings.loaded(EncodingName.P50K) is first


def test_encodings_of_one_name_count_alike() -> None:
    assert load(EncodingName.R50K).count("hello world") == 2
