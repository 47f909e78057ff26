"""Serving: one process or several workers, from the bound socket to the exit code.

The end of a process, from SIGTERM or SIGINT on:
1. The application is told (`on_drain`: not ready from now on); requests are still accepted for `drain_delay_seconds`,
   because load balancers take a moment to look elsewhere. Every answer closes its connection.
2. Nothing more is accepted. What runs may end, for `drain_timeout_seconds`.
3. The application is told to end what is left (`on_drain_timeout`) and gets `end_seconds` for it; then it is cancelled.
4. The application's lifespan ends: settlements flushed, pools closed. Exit code 0.
A second signal goes to 3 at once. With several workers the supervisor passes all this on over a pipe.
"""

import asyncio
import importlib
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import partial
from multiprocessing.connection import Connection
from tempfile import TemporaryDirectory
from typing import Protocol, cast

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn._types import ASGIApplication
from uvicorn.lifespan.on import LifespanOn
from uvicorn.loops.auto import auto_loop_factory
from uvicorn.server import ServerState

from gateway.acceptor import Acceptor
from gateway.cycle import RawHeaders, Refusal
from gateway.protocol import ConnectionBounds, Guard, GuardedProtocol
from gateway.supervisor import DRAIN, HURRY, READY, RELOAD, Supervisor

EXIT_STARTUP_FAILED = 3  # a supervisor does not try such a worker again
METRICS_DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # where workers publish their metrics to each other
_IDLE_CHECK_SECONDS = 0.05
# A client that vanished without a word is noticed after 60 + 4 * 15 seconds even while nothing is written to it.
_KEEP_ALIVE_PROBES = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))

_log = logging.getLogger(__name__)


class Application(Protocol):
    """What is served: an ASGI application that also hears of the process's fate."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request, or the lifespan."""

    def turn_away(self, method: str, path: bytes, headers: RawHeaders) -> Refusal | None:
        """Return what to answer in place of serving a request, None to serve it. Asked for each, so next to free."""

    def on_drain(self) -> None:
        """The process is asked to stop: not ready from now on, though requests are still served."""

    def on_drain_timeout(self) -> None:
        """Running calls must end now, settled."""

    def on_reload(self) -> None:
        """SIGHUP: read the configuration again."""


AppFactory = Callable[[], Application]
OnReady = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Every knob of serving. Port 0 takes a free one; `on_ready` is told which."""

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    bounds: ConnectionBounds = field(default_factory=ConnectionBounds)
    trusted_proxies: tuple[str, ...] = ()  # addresses or networks whose X-Forwarded-For is believed
    ssl_certificate_file: str | None = None
    ssl_key_file: str | None = None
    drain_delay_seconds: float = 5.0
    drain_timeout_seconds: float = 600.0
    end_seconds: float = 10.0
    backlog: int = 16_384  # or as many as the kernel allows: who finds no room asks again after 1, 3 and 7 s
    sweep_seconds: float = 1.0  # how exactly deadlines are kept


def serve(factory: AppFactory | str, settings: ServerSettings, *, on_ready: OnReady) -> int:
    """Serve until a signal ends it; return the exit code. `factory` makes the application, inside the event loop.

    Several workers need it as "module:function", because each makes an application of its own. `on_ready` is called
    once the first request can be taken. Raises OSError if the address cannot be bound.
    """
    with bind(settings) as listener:
        if settings.workers == 1:
            return _run(factory, settings, on_ready, listener)
        if not isinstance(factory, str):
            raise TypeError("several workers need the application's factory as a string")
        return _supervise(factory, settings, on_ready, listener)


def bind(settings: ServerSettings) -> socket.socket:
    """Return a socket bound to the settings' host and port, not listening yet. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # accepted sockets inherit these
        for option, value in _KEEP_ALIVE_PROBES:
            listener.setsockopt(socket.IPPROTO_TCP, option, value)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


class Server:
    """One process's serving, from start-up to the end of its lifespan."""

    def __init__(self, factory: AppFactory | str, settings: ServerSettings, on_ready: OnReady) -> None:
        self._factory = factory
        self._settings = settings
        self._on_ready = on_ready
        self._state = ServerState()
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()
        self._app: Application | None = None
        self._signalled = False

    def drain(self) -> None:
        """Begin the end. Again: nothing more happens."""
        self._stopping.set()

    def hurry(self) -> None:
        """End without waiting for anything but the settlements."""
        self._stopping.set()
        self._hurrying.set()

    def reload(self) -> None:
        """Let the application read its configuration again."""
        if self._app is not None:
            self._app.on_reload()

    async def run(self, listener: socket.socket) -> int:
        """Serve on `listener` until asked to stop; return the exit code."""
        with self._signals():
            self._app = _load(self._factory)
            config = _uvicorn_config(self._app, self._settings)
            lifespan = LifespanOn(config)
            if not await self._started(lifespan):
                return EXIT_STARTUP_FAILED
            if not self._stopping.is_set():
                await self._serve(config, lifespan, listener, self._app)
            await lifespan.shutdown()
            return int(lifespan.should_exit)

    async def _started(self, lifespan: LifespanOn) -> bool:
        """Start the application. A second signal gives up on it."""
        startup = asyncio.create_task(lifespan.startup())
        hurried = asyncio.create_task(self._hurrying.wait())
        await asyncio.wait((startup, hurried), return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not startup.done():
            startup.cancel()
            return False
        await startup
        return not lifespan.should_exit

    async def _serve(
        self, config: uvicorn.Config, lifespan: LifespanOn, listener: socket.socket, app: Application
    ) -> None:
        loop = asyncio.get_running_loop()
        guard = Guard(self._settings.bounds, self._settings.trusted_proxies, loop, app.turn_away)
        async with self._swept(guard):
            acceptor = Acceptor(
                listener,
                lambda: GuardedProtocol(guard, config, self._state, lifespan.state, loop),
                context=config.ssl,
                handshake_seconds=self._settings.bounds.header_seconds if config.ssl else None,
            )
            acceptor.open(self._settings.backlog)
            host, port = listener.getsockname()[:2]
            self._on_ready(host, port)
            await self._stopping.wait()
            guard.draining = True
            app.on_drain()
            await self._unless_hurried(asyncio.sleep(self._settings.drain_delay_seconds))
            acceptor.close()
            for connection in list(self._state.connections):
                connection.shutdown()
            await self._unless_hurried(self._idle(self._settings.drain_timeout_seconds))
            await self._end(app)

    async def _end(self, app: Application) -> None:
        """End what still runs: by the application's own means first, then by force."""
        if self._state.tasks:
            _log.warning("%d calls still run and are ended now", len(self._state.tasks))
            app.on_drain_timeout()
            await self._idle(self._settings.end_seconds)
        tasks = list(self._state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in list(self._state.connections):
            cast(GuardedProtocol, connection).transport.abort()

    async def _idle(self, timeout_seconds: float) -> None:
        """Return when no call runs and no answer is on its way, or after the timeout."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while self._state.tasks or self._state.connections:  # noqa: ASYNC110 - uvicorn's sets tell nobody
                    await asyncio.sleep(_IDLE_CHECK_SECONDS)

    async def _unless_hurried(self, waiting: Coroutine[object, object, None]) -> None:
        wait = asyncio.create_task(waiting)
        hurried = asyncio.create_task(self._hurrying.wait())
        await asyncio.wait((wait, hurried), return_when=asyncio.FIRST_COMPLETED)
        for task in (wait, hurried):
            task.cancel()
        await asyncio.gather(wait, hurried, return_exceptions=True)

    @asynccontextmanager
    async def _swept(self, guard: Guard) -> AsyncIterator[None]:
        """Keep the connections' deadlines and the Date header while the body runs."""

        async def sweep() -> None:
            while True:
                guard.sweep(self._state)
                self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
                await asyncio.sleep(self._settings.sweep_seconds)

        sweeper = asyncio.create_task(sweep())
        try:
            yield
        finally:
            sweeper.cancel()
            await asyncio.gather(sweeper, return_exceptions=True)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Take the process's signals, before anything slow begins."""
        loop = asyncio.get_running_loop()
        for stop in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(stop, self._on_stop_signal)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        try:
            yield
        finally:
            for taken in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(taken)

    def _on_stop_signal(self) -> None:
        if self._signalled:
            self.hurry()
        self._signalled = True
        self.drain()


def _run(
    factory: AppFactory | str,
    settings: ServerSettings,
    on_ready: OnReady,
    listener: socket.socket,
    orders: Connection | None = None,
) -> int:
    """Serve in this process. `orders` is a worker's pipe to its supervisor."""

    async def run() -> int:
        server = Server(factory, settings, on_ready)
        if orders is not None:
            asyncio.get_running_loop().add_reader(orders.fileno(), _obey, server, orders)
        return await server.run(listener)

    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:  # uvloop where it is installed
        return runner.run(run())


def _supervise(factory: str, settings: ServerSettings, on_ready: OnReady, listener: socket.socket) -> int:
    host, port = listener.getsockname()[:2]
    with TemporaryDirectory(prefix="gateway-metrics-") as directory:
        os.environ.setdefault(METRICS_DIRECTORY_VARIABLE, directory)  # for the workers, which inherit it
        supervisor = Supervisor(
            settings.workers,
            partial(_work, factory, settings, listener),
            on_ready=partial(on_ready, host, port),
            on_stop=listener.close,  # else connections would queue up here when no worker takes them any more
            hopeless_exit_code=EXIT_STARTUP_FAILED,
        )
        return supervisor.run()


def _work(factory: str, settings: ServerSettings, listener: socket.socket, orders: Connection) -> None:
    """What a worker process does."""
    sys.exit(_run(factory, settings, lambda _host, _port: orders.send_bytes(READY), listener, orders))


def _obey(server: Server, orders: Connection) -> None:
    """Carry out what the supervisor sends. Its end counts as an order to drain."""
    try:
        order = orders.recv_bytes()
    except (EOFError, OSError):
        asyncio.get_running_loop().remove_reader(orders.fileno())
        order = DRAIN
    obeyed = {RELOAD: server.reload, HURRY: server.hurry, DRAIN: server.drain}
    obeyed[order]()


def _load(factory: AppFactory | str) -> Application:
    if isinstance(factory, str):
        module, _, function = factory.partition(":")
        factory = cast(AppFactory, getattr(importlib.import_module(module), function))
    return factory()


def _uvicorn_config(app: Application, settings: ServerSettings) -> uvicorn.Config:
    """Return what uvicorn's protocol and lifespan read; everything else of uvicorn's server is not used."""
    config = uvicorn.Config(
        cast(ASGIApplication, app),
        interface="asgi3",
        lifespan="on",
        http=GuardedProtocol,
        ws="none",
        log_config=None,
        log_level=logging.WARNING,  # its info lines tell a start and an end that are told elsewhere
        access_log=False,  # it would print the query string; our own record does not
        workers=1,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        ssl_certfile=settings.ssl_certificate_file,
        ssl_keyfile=settings.ssl_key_file,
    )
    config.load()
    return config
