"""The yardstick: the least a Python relay can do. It checks one key, reads the request and the usage, records nothing.

Served by uvicorn as `bench.relay:app`; BENCH_PROVIDER_URL says where the chat completions of the provider are.
"""

import hashlib
import os

import aiohttp
import msgspec
from starlette.types import Receive, Scope, Send
from yarl import URL

KEY = "sk-bench"
KEY_DIGESTS = {hashlib.sha256(KEY.encode()).digest()}
PROVIDER_HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer upstream"}


class Relay:
    """One provider URL behind one key. What goes wrong is uvicorn's 500: a yardstick needs no errors of its own."""

    def __init__(self, provider: URL) -> None:
        self._provider = provider
        self._opened: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_known(scope):
            return await _send_whole(send, 401, b"")
        body = await _read(receive)
        is_stream = msgspec.json.decode(body).get("stream")
        reply = await self._session().post(self._provider, data=body, headers=PROVIDER_HEADERS)
        if is_stream:
            return await _send_stream(send, reply)
        answer = await reply.read()
        msgspec.json.decode(answer)["usage"]
        await _send_whole(send, 200, answer)

    def _session(self) -> aiohttp.ClientSession:
        # Opened by the first call: a session belongs to a running loop, and there is no lifespan here.
        if self._opened is None:
            self._opened = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        return self._opened


def _is_known(scope: Scope) -> bool:
    credential = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    return hashlib.sha256(credential.removeprefix(b"Bearer ")).digest() in KEY_DIGESTS


async def _read(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message["body"]
        more = message.get("more_body", False)
    return body


async def _send_whole(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _send_stream(send: Send, reply: aiohttp.ClientResponse) -> None:
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    async for chunk in reply.content.iter_any():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
    reply.release()


app = Relay(URL(os.environ.get("BENCH_PROVIDER_URL", "http://127.0.0.1:9001/v1/chat/completions")))
