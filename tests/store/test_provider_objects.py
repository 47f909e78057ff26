"""Whose the things are that a provider keeps for us."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.store import provider_objects
from gateway.store.engine import Database
from gateway.store.provider_objects import ProviderObject

MADE = ProviderObject("openai-main", "resp_1", "proj_1", "key_1", "response", 1)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    made = Database(database_url)
    await made.write(lambda connection: provider_objects.record(connection, [MADE]))
    yield made
    await made.close()


async def owned(database: Database, external_id: str, api_key_id: str) -> ProviderObject | None:
    found = await database.read(lambda connection: provider_objects.owned(connection, [external_id], api_key_id))
    return found.get(external_id)


async def test_object_is_found_by_its_maker_alone(database: Database) -> None:
    assert await owned(database, "resp_1", "key_1") == MADE
    assert await owned(database, "resp_1", "key_2") is None
    assert await owned(database, "resp_2", "key_1") is None


async def test_object_recorded_twice_keeps_its_first_maker(database: Database) -> None:
    thief = replace(MADE, api_key_id="key_2")
    await database.write(lambda connection: provider_objects.record(connection, [thief]))
    assert await owned(database, "resp_1", "key_2") is None
    assert await owned(database, "resp_1", "key_1") == MADE


async def test_forgotten_object_is_nobodys(database: Database) -> None:
    await database.write(lambda connection: provider_objects.forget(connection, "openai-main", "resp_1"))
    assert await owned(database, "resp_1", "key_1") is None
