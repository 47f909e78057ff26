"""How a process ends: drain, timeout, second signal, reload, workers."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.types import Receive, Scope, Send

from gateway.server import EXIT_STARTUP_FAILED, Server, ServerSettings, bind
from tests.patience import PATIENCE_SECONDS
from tests.serving import Running, ServedApp, running, say_hello

GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


# --- the end ---


async def until_refused(served: Running) -> None:
    """Return when nothing listens any more."""
    with suppress(ConnectionRefusedError):
        while True:
            with suppress(ConnectionResetError):  # it was queued when the socket closed
                await served.exchange(GET)


async def test_drain_serves_through_its_delay_then_ends_what_runs_then_the_lifespan() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            begun.set()
            await go_on.wait()
        await say_hello(scope, receive, send)

    app = ServedApp(endpoint)
    async with running(app, drain_delay_seconds=4.0) as served:
        slow = asyncio.create_task(served.exchange(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"))
        await begun.wait()
        served.server.drain()
        during_delay = await served.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"200 OK" in during_delay
        assert b"connection: close" in during_delay
        assert app.told == ["drain"]
        await until_refused(served)
        assert not served.exit_code.done()
        go_on.set()
        assert (await slow).endswith(b"hello")
        assert await served.exit_code == 0
    assert app.told == ["drain", "shutdown"]


async def test_drain_past_its_timeout_lets_the_application_end_its_calls() -> None:
    app = ServedApp()
    begun = asyncio.Event()

    async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await app.ending.wait()
        await say_hello(scope, receive, send)

    app.endpoint = endpoint
    async with running(app, drain_timeout_seconds=0.1) as served:
        call = asyncio.create_task(served.exchange(GET))
        await begun.wait()
        served.server.drain()
        assert (await call).endswith(b"hello")
        assert await served.exit_code == 0
    assert app.told == ["drain", "drain_timeout", "shutdown"]


async def test_call_that_does_not_end_when_told_is_cancelled_before_the_lifespan_ends() -> None:
    begun = asyncio.Event()
    ended: list[str] = []
    app = ServedApp()

    async def endpoint(_scope: Scope, _receive: Receive, _send: Send) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.extend(app.told)

    app.endpoint = endpoint
    async with running(app, drain_timeout_seconds=0.05, end_seconds=0.05) as served:
        call = asyncio.create_task(served.exchange(GET))
        await begun.wait()
        served.server.drain()
        assert await served.exit_code == 0
        await asyncio.gather(call, return_exceptions=True)
    assert ended == ["drain", "drain_timeout"]
    assert app.told[-1] == "shutdown"


async def test_application_that_cannot_start_ends_the_server_before_it_listens() -> None:
    settings = ServerSettings(port=0)
    ready: list[int] = []
    with bind(settings) as listener:
        server = Server(lambda: ServedApp(starts=False), settings, lambda _host, port: ready.append(port))
        assert await server.run(listener) == EXIT_STARTUP_FAILED
    assert ready == []


# --- processes ---


@asynccontextmanager
async def served_process(workers: int, delay_seconds: float) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """Run tests/served.py; yield it and its port. It is killed if the test leaves it running."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.served", str(workers), str(delay_seconds), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process, int((await next_line(process)).removeprefix("ready "))
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def next_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS)).decode().strip()


async def get(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % path.encode())
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_second_sigterm_skips_the_waiting_but_not_the_lifespan() -> None:
    async with served_process(workers=1, delay_seconds=600) as (process, port):
        call = asyncio.create_task(get(port, "/hang"))
        assert await next_line(process) == "hanging"
        process.send_signal(signal.SIGTERM)
        assert await next_line(process) == "drain"
        assert (await get(port, "/")).endswith(b"hello")
        process.send_signal(signal.SIGTERM)
        assert await next_line(process) == "drain_timeout"
        assert (await call).endswith(b"hello")
        assert await next_line(process) == "shutdown"
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0


async def test_sighup_reloads_and_serving_goes_on() -> None:
    async with served_process(workers=1, delay_seconds=0) as (process, port):
        process.send_signal(signal.SIGHUP)
        assert await next_line(process) == "reload"
        assert (await get(port, "/")).endswith(b"hello")


async def test_workers_share_the_port_reload_and_end_together() -> None:
    async with served_process(workers=2, delay_seconds=0) as (process, port):
        assert (await get(port, "/")).endswith(b"hello")
        process.send_signal(signal.SIGHUP)
        assert [await next_line(process), await next_line(process)] == ["reload", "reload"]
        process.send_signal(signal.SIGTERM)
        lines = sorted([await next_line(process) for _ in range(4)])
        assert lines == ["drain", "drain", "shutdown", "shutdown"]
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0


async def test_worker_that_dies_is_replaced() -> None:
    async with served_process(workers=2, delay_seconds=0) as (process, port):
        for _ in range(2):  # with both gone, only a new one can answer
            with suppress(ConnectionError):
                await get(port, "/die")
        assert (await asyncio.wait_for(get(port, "/"), PATIENCE_SECONDS)).endswith(b"hello")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0
