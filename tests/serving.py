"""Real servers for tests: an application served on a free port in this process, raw connections to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from gateway.cycle import RawHeaders, Refusal
from gateway.protocol import ConnectionBounds
from gateway.server import Server, ServerSettings, bind
from tests.patience import PATIENCE_SECONDS

Endpoint = Callable[[Scope, Receive, Send], Awaitable[None]]
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def say_hello(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer without reading the request's body."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


class ServedApp:
    """An application around one endpoint that notes what the server tells it."""

    def __init__(self, endpoint: Endpoint = say_hello, *, starts: bool = True) -> None:
        self.told: list[str] = []
        self.ending = asyncio.Event()
        self.endpoint = endpoint
        self._starts = starts

    def turn_away(self, method: str, path: bytes, headers: RawHeaders) -> Refusal | None:
        return Refusal(503, [(b"retry-after", b"1")], b"too many") if path == b"/crowded" else None

    def on_drain(self) -> None:
        self.told.append("drain")

    def on_drain_timeout(self) -> None:
        self.told.append("drain_timeout")
        self.ending.set()

    def on_reload(self) -> None:
        self.told.append("reload")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.endpoint(scope, receive, send)
            return
        await receive()
        await send({"type": f"lifespan.startup.{'complete' if self._starts else 'failed'}"})
        if self._starts:
            await receive()
            self.told.append("shutdown")
            await send({"type": "lifespan.shutdown.complete"})


@dataclass
class Running:
    """A server that runs, and the task whose result is its exit code."""

    server: Server
    port: int
    exit_code: asyncio.Task[int]

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Connection]:
        """A raw connection to it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()

    async def exchange(self, request: bytes) -> bytes:
        """Send `request` on a connection of its own and return all that comes back until the server closes."""
        async with self.connected() as (reader, writer), asyncio.timeout(PATIENCE_SECONDS):
            writer.write(request)
            return await reader.read()


@asynccontextmanager
async def running(
    app: ServedApp,
    bounds: ConnectionBounds | None = None,
    *,
    trusted_proxies: tuple[str, ...] = (),
    certificate: str | None = None,
    **drain: float,
) -> AsyncIterator[Running]:
    """Serve `app` on a free port, deadlines kept to 20 ms; `drain` overrides the times of the end.

    `certificate` is a PEM file with its key, to serve HTTPS.
    """
    times = {"drain_delay_seconds": 0.0, "drain_timeout_seconds": float(PATIENCE_SECONDS), "end_seconds": 5.0, **drain}
    settings = ServerSettings(
        port=0,
        bounds=bounds or ConnectionBounds(),
        trusted_proxies=trusted_proxies,
        ssl_certificate_file=certificate,
        sweep_seconds=0.02,
        drain_delay_seconds=times["drain_delay_seconds"],
        drain_timeout_seconds=times["drain_timeout_seconds"],
        end_seconds=times["end_seconds"],
    )
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    server = Server(lambda: app, settings, lambda _host, bound: port.set_result(bound))
    with bind(settings) as listener:
        exit_code = asyncio.create_task(server.run(listener))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                yield Running(server, await port, exit_code)
        finally:
            server.hurry()
            await asyncio.wait_for(exit_code, PATIENCE_SECONDS)
