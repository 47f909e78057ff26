"""The encodings take a moment to load, so one counter serves all these tests; it keeps nothing between calls."""

from collections.abc import Iterator

import pytest

from gateway.tokens.counter import TokenCounter
from gateway.tokens.encodings import Encodings


@pytest.fixture(scope="session")
def encodings() -> Encodings:
    return Encodings()


@pytest.fixture(scope="session")
def counter() -> Iterator[TokenCounter]:
    counter = TokenCounter()
    yield counter
    counter.close()
