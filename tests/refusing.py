"""A PostgreSQL that refuses every connection, with the code that a test asks for."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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


REFUSALS = {
    "starting up": "57P03",
    "shutting down": "57P01",
    "too many connections": "53300",
    "takes no connections": "55000",
    "another password": "28P01",
    "no such database": "3D000",
}
