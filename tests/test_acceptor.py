"""Connections that come faster than the loop turns, and none where no descriptor is left."""

import asyncio
import resource
import socket
from contextlib import ExitStack, closing

from tests.patience import PATIENCE_SECONDS
from tests.serving import ServedApp, running

GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
CROWD = 90


def queued(port: int, stack: ExitStack) -> socket.socket:
    """A client whom the kernel has connected and the server not accepted, with its request sent."""
    client = stack.enter_context(closing(socket.create_connection(("127.0.0.1", port))))
    client.sendall(GET)
    client.setblocking(False)
    return client


async def test_crowd_that_connected_during_a_long_turn_is_accepted_in_the_next() -> None:
    heard: list[int] = []
    turns = 0

    async def endpoint(_scope: object, _receive: object, send: object) -> None:
        heard.append(turns)
        await asyncio.Event().wait()

    async with running(ServedApp(endpoint), drain_timeout_seconds=0.0, end_seconds=0.0) as served:
        with ExitStack() as stack:
            for _ in range(CROWD):
                queued(served.port, stack)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(heard) < CROWD:
                    await asyncio.sleep(0)
                    turns += 1
    assert heard[-1] - heard[0] < CROWD / 2


async def test_server_without_descriptors_goes_on_when_it_has_some_again() -> None:
    async with running(ServedApp()) as served:
        loop = asyncio.get_running_loop()
        with ExitStack() as stack:
            clients = [queued(served.port, stack) for _ in range(3)]
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
            try:
                for _ in range(20):
                    await asyncio.sleep(0)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            async with asyncio.timeout(PATIENCE_SECONDS):
                for client in clients:
                    answer = b""
                    while piece := await loop.sock_recv(client, 65_536):
                        answer += piece
                    assert answer.endswith(b"hello")
