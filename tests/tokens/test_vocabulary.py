"""The packaged vocabularies are OpenAI's, whole, and a damaged one is noticed."""

import gzip
import hashlib
from pathlib import Path

import pytest

from gateway.tokens.encodings import VOCABULARIES, EncodingName
from gateway.tokens.pack import main, parse_tiktoken, render_tiktoken
from gateway.tokens.vocabulary import DATA_FOLDER, VocabularyError, pack, read_ranks, unpack


@pytest.mark.parametrize("name", EncodingName)
def test_vocabulary_turned_back_into_the_published_text_has_the_published_hash(name: EncodingName) -> None:
    vocabulary = VOCABULARIES[name]
    source = render_tiktoken(read_ranks(vocabulary))
    assert hashlib.sha256(source).hexdigest() == vocabulary.source_sha256


@pytest.mark.parametrize("content", [b"", b"not gzip", gzip.compress(b"another vocabulary", mtime=0)])
def test_vocabulary_file_that_is_not_the_one_built_is_refused(content: bytes, tmp_path: Path) -> None:
    vocabulary = VOCABULARIES[EncodingName.P50K]
    (tmp_path / vocabulary.file_name).write_bytes(content)
    with pytest.raises(VocabularyError, match="p50k_base"):
        read_ranks(vocabulary, tmp_path)


def test_vocabulary_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match="o200k_base"):
        read_ranks(VOCABULARIES[EncodingName.O200K], tmp_path)


def test_packing_keeps_ranks_that_have_no_token() -> None:
    tokens = {b"a": 0, b"bc": 1, b" " * 128: 3}
    assert unpack(pack(tokens), 4) == tokens
    assert unpack(pack(tokens), 2) == {b"a": 0, b"bc": 1}


def test_rebuilding_from_the_published_files_gives_the_packaged_files(tmp_path: Path) -> None:
    sources, rebuilt = tmp_path / "sources", tmp_path / "rebuilt"
    sources.mkdir()
    rebuilt.mkdir()
    for name in EncodingName:
        (sources / f"{name}.tiktoken").write_bytes(render_tiktoken(read_ranks(VOCABULARIES[name])))
    main(sources, rebuilt)
    for file in rebuilt.iterdir():
        assert gzip.decompress(file.read_bytes()) == gzip.decompress((DATA_FOLDER / file.name).read_bytes())
    assert {file.name for file in rebuilt.iterdir()} == {v.file_name for v in VOCABULARIES.values()}


def test_rebuilding_from_other_files_is_refused(tmp_path: Path) -> None:
    for name in EncodingName:
        (tmp_path / f"{name}.tiktoken").write_bytes(b"YQ== 0\n")
    with pytest.raises(VocabularyError, match="published"):
        main(tmp_path, tmp_path)


def test_published_text_is_parsed_and_rendered_alike() -> None:
    source = b"IQ== 0\nIg== 1\n"
    assert parse_tiktoken(source) == {b"!": 0, b'"': 1}
    assert render_tiktoken({b'"': 1, b"!": 0}) == source
