"""The world outside for tests: an outbound proxy, and a provider with a certificate of an authority of one's own."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.provider import Provider, running_provider

# Made for these tests, valid for a hundred years; the authority's own key was thrown away.
CERTIFICATES = Path(__file__).parent / "upstream" / "certificates"
AUTHORITY = str(CERTIFICATES / "authority.pem")


class Proxy:
    """An outbound proxy: relays absolute-form requests and CONNECT tunnels, and notes the first line of each."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.heads: list[bytes] = []
        self.refuses = False
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        line = head.split(b"\r\n")[0]
        self.lines.append(line)
        self.heads.append(head)
        if self.refuses:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
            writer.close()
            return
        method, target, _ = line.split(b" ")
        authority = target.removeprefix(b"http://").split(b"/")[0].decode()
        host, _, port = authority.partition(":")
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        else:
            up_writer.write(head.replace(target, b"/" + target.split(b"/", 3)[3], 1))
        await asyncio.gather(_pump(reader, up_writer), _pump(up_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except OSError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def running_proxy() -> AsyncIterator[Proxy]:
    """A started proxy."""
    proxy = Proxy()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield proxy


@asynccontextmanager
async def running_tls_provider() -> AsyncIterator[Provider]:
    """A started provider that only those reach who trust the authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATES / "server.pem")
    async with running_provider(context) as running:
        yield running
