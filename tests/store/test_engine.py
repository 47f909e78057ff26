"""What the database's trouble looks like to those who ask it: ServiceUnavailable, whatever it is that it answers."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text

from gateway.core.errors import ServiceUnavailable
from gateway.store.engine import Connection, Database

SSL_REQUEST = struct.pack(">I", 80_877_103)


@asynccontextmanager
async def postgres_that_refuses(sqlstate: str) -> AsyncIterator[str]:
    """Serve PostgreSQL's protocol as far as a refusal of every connection; yield the database's URL."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await _packet(reader) == SSL_REQUEST:
            writer.write(b"N")
            await _packet(reader)
        fields = b"SFATAL\0VFATAL\0C%b\0Mnot now\0\0" % sqlstate.encode()
        writer.write(b"E" + struct.pack(">I", len(fields) + 4) + fields)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        yield f"postgresql+asyncpg://nobody@127.0.0.1:{server.sockets[0].getsockname()[1]}/none"


async def _packet(reader: asyncio.StreamReader) -> bytes:
    (length,) = struct.unpack(">I", await reader.readexactly(4))
    return await reader.readexactly(length - 4)


def ask(connection: Connection) -> None:
    connection.execute(text("SELECT 1"))


@pytest.mark.parametrize(
    "sqlstate",
    [
        pytest.param("57P03", id="starting up"),
        pytest.param("57P01", id="shutting down"),
        pytest.param("53300", id="too many connections"),
        pytest.param("55000", id="takes no connections"),
        pytest.param("28P01", id="another password"),
        pytest.param("3D000", id="no such database"),
    ],
)
async def test_database_that_refuses_connections_is_unavailable(sqlstate: str) -> None:
    async with postgres_that_refuses(sqlstate) as url:
        database = Database(url)
        with pytest.raises(ServiceUnavailable):
            await database.read(ask)
        with pytest.raises(ServiceUnavailable):
            await database.write(ask)
        await database.close()
