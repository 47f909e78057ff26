"""What the database's trouble looks like to those who ask it: ServiceUnavailable, whatever it is that it answers."""

import pytest
from sqlalchemy import text

from gateway.core.errors import ServiceUnavailable
from gateway.store import migrate
from gateway.store.engine import Connection, Database, postgres_dsn
from tests.refusing import REFUSALS, postgres_that_refuses


def ask(connection: Connection) -> None:
    connection.execute(text("SELECT 1"))


@pytest.mark.parametrize("sqlstate", REFUSALS.values(), ids=REFUSALS.keys())
async def test_database_that_refuses_connections_is_unavailable(sqlstate: str) -> None:
    async with postgres_that_refuses(sqlstate) as url:
        database = Database(url)
        with pytest.raises(ServiceUnavailable):
            await database.read(ask)
        with pytest.raises(ServiceUnavailable):
            await database.write(ask)
        await database.close()


@pytest.mark.parametrize("options", ["sslmode=disable", "ssl=disable", "sslmode=disable&application_name=ours"])
async def test_options_behind_the_url_are_those_of_libpq_for_all_who_connect(options: str) -> None:
    """The server is reached, and it is it that refuses."""
    async with postgres_that_refuses(REFUSALS[next(iter(REFUSALS))]) as url:
        database = Database(f"{url}?{options}")
        with pytest.raises(ServiceUnavailable) as refused:
            await database.read(ask)
        assert getattr(getattr(refused.value.__cause__, "orig", None), "sqlstate", None) in REFUSALS.values()
        await database.close()
        with pytest.raises(ServiceUnavailable):
            await migrate.current(f"{url}?{options}")


def test_options_of_the_url_reach_the_ledger_by_libpqs_names() -> None:
    url = "postgresql+asyncpg://gateway:a%23b@db.internal/gateway"
    assert (
        postgres_dsn(f"{url}?ssl=verify-full") == "postgresql://gateway:a%23b@db.internal/gateway?sslmode=verify-full"
    )
    assert postgres_dsn(f"{url}?sslmode=require") == "postgresql://gateway:a%23b@db.internal/gateway?sslmode=require"
