"""What the database's trouble looks like to those who ask it: ServiceUnavailable, whatever it is that it answers."""

import pytest
from sqlalchemy import text

from gateway.core.errors import ServiceUnavailable
from gateway.store.engine import Connection, Database
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
