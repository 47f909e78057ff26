"""A TCP relay in front of a database, for cutting the line in chosen places."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sqlalchemy import make_url

CHUNK = 65_536


class Chaos:
    """Relays until told otherwise. `url` leads through it."""

    def __init__(self, url: str) -> None:
        self._target = make_url(url)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._delay_seconds = 0.0
        self._cut_at: bytes | None = None
        self._delivering = asyncio.Event()
        self._delivering.set()
        self.was_cut = asyncio.Event()
        self.heard: list[bytes] | None = None
        """What clients say, from the moment on when a test makes this a list."""
        self.url = url

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = self._target.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Close every connection and let none be made."""
        self.refuse()
        for writer in self._writers:
            writer.transport.abort()

    def refuse(self) -> None:
        """Let no connection be made."""
        self._refusing = True

    def slow(self, seconds: float) -> None:
        """Keep all that clients say back for so long."""
        self._delay_seconds = seconds

    def blackhole(self) -> None:
        """Keep connections open, accept new ones, and pass nothing on."""
        self._flowing.clear()

    def mend(self) -> None:
        """Relay again. What was swallowed meanwhile stays lost, as its connections do."""
        self._refusing = False
        if not self._flowing.is_set():
            for writer in self._writers:
                writer.transport.abort()
        self._flowing.set()

    def cut_at(self, word: bytes, *, delayed: bool) -> None:
        """Cut the client off as it sends this word; the database still gets it, at once or with `deliver`."""
        self._cut_at = word
        if delayed:
            self._delivering.clear()

    def deliver(self) -> None:
        """Let the database have what the cut client had sent."""
        self._delivering.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            there, back = await asyncio.open_connection(self._target.host, self._target.port or 5432)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        try:
            await asyncio.gather(self._relay(reader, back, writer), self._relay(there, writer, None))
        finally:
            self._writers -= {writer, back}
            for one in (writer, back):
                one.close()

    async def _relay(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, client: asyncio.StreamWriter | None
    ) -> None:
        with suppress(OSError):
            while data := await source.read(CHUNK):
                await self._flowing.wait()
                if client is not None and self.heard is not None:
                    self.heard.append(data)
                if client is not None and self._delay_seconds:
                    await asyncio.sleep(self._delay_seconds)
                if client is not None and self._cut_at is not None and self._cut_at in data:
                    self._cut_at = None
                    client.transport.abort()
                    self.was_cut.set()
                    await self._delivering.wait()
                sink.write(data)
                await sink.drain()
            if sink.can_write_eof():
                sink.write_eof()


@asynccontextmanager
async def chaos(url: str) -> AsyncIterator[Chaos]:
    """Run a relay to the database of that URL."""
    relay = Chaos(url)
    await relay.open()
    try:
        yield relay
    finally:
        await relay.close()
