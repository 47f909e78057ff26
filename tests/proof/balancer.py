"""A small balancer as people have one: it asks each replica whether it is ready and gives new connections to those."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from urllib.parse import urlsplit

import httpx

from tests.patience import PATIENCE_SECONDS

PROBE_SECONDS = 0.05
CHUNK = 65_536


class Balancer:
    """Passes connections on to the replicas in `urls` that are ready, in turn."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.ready: list[str] = []
        self._turn = count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._tasks.add(asyncio.create_task(self._probe()))

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _probe(self) -> None:
        async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
            while True:
                self.ready = [url for url in self.urls if await _is_ready(client, url)]
                await asyncio.sleep(PROBE_SECONDS)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        there, back = await self._connected()
        try:
            await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))
        finally:
            writer.close()
            back.close()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the next that is ready; who is not there any more is passed over, as balancers do."""
        while True:
            if self.ready:
                chosen = urlsplit(self.ready[next(self._turn) % len(self.ready)])
                with suppress(OSError):
                    return await asyncio.open_connection(chosen.hostname, chosen.port)
            await asyncio.sleep(PROBE_SECONDS)


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/readyz")).status_code == 200
    except httpx.TransportError:
        return False


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(CHUNK):
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()


@asynccontextmanager
async def balancing() -> AsyncIterator[Balancer]:
    """Run a balancer without replicas."""
    balancer = Balancer()
    await balancer.open()
    try:
        yield balancer
    finally:
        await balancer.close()
