"""Key texts become principals: from the cache, from the database, or not at all, and at what price in queries."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import pytest
from sqlalchemy import Connection

from gateway.core.errors import Forbidden, InvalidKey, ServiceUnavailable, TooManyRequests
from gateway.core.keys import NewKey, digest, make_key
from gateway.store import admin_api_keys, api_keys, projects, users
from gateway.store.admin_api_keys import AdminApiKey
from gateway.store.api_keys import NewApiKey
from gateway.store.engine import Database
from gateway.store.principals import MOST_CACHED, Principals

T = TypeVar("T")

NOW = 1_700_000_000
HERE = "192.0.2.1"
FOREIGN = "a-key-of-the-environment-that-is-not-of-our-shape"


class CountingDatabase(Database):
    """A database that counts what is read."""

    reads = 0

    async def read(self, work: Callable[[Connection], T]) -> T:
        self.reads += 1
        return await super().read(work)


@dataclass
class Keys:
    """A project with a user's keys; `failures` counts what the observer was told."""

    database: CountingDatabase
    principals: Principals = field(init=False)
    failures: int = 0

    def __post_init__(self) -> None:
        self.principals = Principals(self.database, self, most_cached=3)

    def authentication_failed(self) -> None:
        self.failures += 1

    async def make(self, number: int, expires_at: int | None = None) -> NewKey:
        secret = key_number(number)
        new = NewApiKey(f"key_{number}", "proj_1", f"Key {number}", user_id="user_1", expires_at=expires_at)
        await self.database.change(lambda connection: api_keys.create(connection, new, secret, NOW))
        return secret


def key_number(number: int) -> NewKey:
    return make_key(f"{number:010d}", f"{number:032d}")


def people(connection: Connection) -> None:
    projects.create(connection, "proj_1", "Search", NOW)
    users.create(connection, "user_1", "ada@example.com", "Ada", "reader", NOW)
    admin = AdminApiKey("admkey_1", "Environment", "owner", "...", NOW, None)
    admin_api_keys.create(connection, admin, digest(FOREIGN))


@pytest.fixture
async def keys(database_url: str) -> AsyncIterator[Keys]:
    made = Keys(CountingDatabase(database_url))
    await made.database.change(people)
    yield made
    await made.principals.close()
    await made.database.close()


async def test_cached_key_costs_no_query_until_it_expires(keys: Keys) -> None:
    secret = await keys.make(1, expires_at=NOW + 10)
    first = await keys.principals.member(secret.text, HERE, NOW)
    reads = keys.database.reads
    assert keys.principals.cached(secret.text, NOW + 9) is first
    assert await keys.principals.member(secret.text, HERE, NOW + 9) is first
    assert keys.database.reads == reads
    assert keys.principals.cached(secret.text, NOW + 10) is None
    with pytest.raises(InvalidKey):
        await keys.principals.member(secret.text, HERE, NOW + 10)


async def test_many_first_calls_with_one_key_share_two_reads(keys: Keys) -> None:
    secret = await keys.make(1)
    before = keys.database.reads
    found = await asyncio.gather(*(keys.principals.member(secret.text, HERE, NOW) for _ in range(200)))
    assert len({id(principal) for principal in found}) <= 2
    assert keys.database.reads - before <= 2


async def test_cache_is_bounded_and_keeps_what_is_used(keys: Keys) -> None:
    secrets = [await keys.make(number) for number in range(4)]
    for secret in secrets[:3]:
        await keys.principals.member(secret.text, HERE, NOW)
    keys.principals.cached(secrets[0].text, NOW)
    await keys.principals.member(secrets[3].text, HERE, NOW)
    assert [keys.principals.cached(secret.text, NOW) is not None for secret in secrets] == [True, False, True, True]
    assert MOST_CACHED > 3


@pytest.mark.parametrize(
    "text", ["sk-gw-", "sk-gw-0000000001-x", key_number(1).text[:-1], key_number(1).text + "0", "sk-gw-\xff" * 9]
)
async def test_own_shape_with_wrong_checksum_costs_no_query(keys: Keys, text: str) -> None:
    before = keys.database.reads
    with pytest.raises(InvalidKey):
        await keys.principals.member(text, HERE, NOW)
    assert (keys.database.reads, keys.failures) == (before, 1)


async def test_unknown_text_of_another_shape_costs_one_query_a_second_at_most(keys: Keys) -> None:
    before = keys.database.reads
    for number in range(40):
        with pytest.raises(InvalidKey):
            await keys.principals.member(f"sk-ant-{number}", HERE, NOW + 0.02 * number)
    assert keys.database.reads - before == 2


async def test_admin_key_of_another_shape_administers_and_makes_no_calls(keys: Keys) -> None:
    assert (await keys.principals.admin(FOREIGN, HERE, NOW)).id == "admkey_1"
    with pytest.raises(Forbidden) as caught:
        await keys.principals.member(FOREIGN, HERE, NOW)
    assert caught.value.code == "insufficient_permissions"


async def test_member_key_does_not_administer(keys: Keys) -> None:
    secret = await keys.make(1)
    with pytest.raises(Forbidden) as caught:
        await keys.principals.admin(secret.text, HERE, NOW)
    assert caught.value.code == "insufficient_permissions"


async def test_valid_keys_pass_while_their_address_is_over_the_bound(keys: Keys) -> None:
    cached, fresh = await keys.make(1), await keys.make(2)
    await keys.principals.member(cached.text, HERE, NOW)
    for number in range(100, 150):
        with pytest.raises(InvalidKey):
            await keys.principals.member(key_number(number).text, HERE, NOW)
    before = keys.database.reads
    for number in range(150, 350):
        with pytest.raises(TooManyRequests) as caught:
            await keys.principals.member(key_number(number).text, HERE, NOW)
        assert caught.value.retry_after_seconds == 1.0
    assert keys.database.reads - before <= 2
    assert (await keys.principals.member(cached.text, HERE, NOW)).api_key_id == "key_1"
    assert (await keys.principals.member(fresh.text, HERE, NOW)).api_key_id == "key_2"
    with pytest.raises(InvalidKey):
        await keys.principals.member(key_number(999).text, "192.0.2.2", NOW)


async def test_disabled_key_is_refused_once_confirmed_and_leaves_the_cache(keys: Keys) -> None:
    secret = await keys.make(1)
    principal = await keys.principals.member(secret.text, HERE, NOW)
    await keys.database.change(lambda connection: api_keys.delete(connection, "proj_1", "key_1", NOW))
    assert keys.principals.cached(secret.text, NOW) is principal
    with pytest.raises(InvalidKey):
        await keys.principals.reload(secret.text, principal.revision + 1, NOW)
    assert keys.principals.cached(secret.text, NOW) is None


async def test_reload_by_many_after_one_change_shares_reads(keys: Keys) -> None:
    secret = await keys.make(1)
    principal = await keys.principals.member(secret.text, HERE, NOW)
    await keys.database.change(lambda connection: users.update(connection, "user_1", name="Ada L."))
    before = keys.database.reads
    stale = principal.revision + 1
    found = await asyncio.gather(*(keys.principals.reload(secret.text, stale, NOW) for _ in range(200)))
    assert {one.revision for one in found} == {stale}
    assert keys.database.reads - before == 1


async def test_waiter_that_leaves_does_not_end_the_read_of_the_others(keys: Keys) -> None:
    secret = await keys.make(1)
    waiting = [asyncio.create_task(keys.principals.member(secret.text, HERE, NOW)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    found = await asyncio.gather(*waiting[1:])
    assert {principal.api_key_id for principal in found} == {"key_1"}


async def test_database_that_is_away_is_never_an_invalid_key() -> None:
    keys = Keys(CountingDatabase("postgresql+asyncpg://postgres@127.0.0.1:1/nowhere"))
    for text in (key_number(1).text, "some-other-text"):
        with pytest.raises(ServiceUnavailable):
            await keys.principals.member(text, HERE, NOW)
    assert keys.failures == 0
    await keys.database.close()
