"""Fixtures that any test may use: real things, started for the test and stopped after it."""

from collections.abc import AsyncIterator

import pytest

from tests.provider import Provider, running_provider


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """The scripted provider, see tests/provider.py."""
    async with running_provider() as running:
        yield running
