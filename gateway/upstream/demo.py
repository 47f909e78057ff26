"""The demo upstream: a provider inside the gateway for the first minutes without a provider key.

A real little HTTP server on a loopback port, reached through the pool like any other, so that everything the gateway
does to a call can be seen. What it says is the same every time; nothing is generated.
"""

from collections.abc import Awaitable, Callable
from types import TracebackType

import msgspec
from aiohttp import web

from gateway.upstream import demo_media, demo_native, demo_openai
from gateway.upstream.demo_speech import Count, Speaker, json_answer

_MAX_BODY_BYTES = 64 * 1024 * 1024


class DemoUpstream:
    """The running server, as an async context manager. `count(model, text)` is asked for every token count.

    `base_url` is for upstreams of provider "demo" or "openai"; `root_url` for "anthropic" and "gemini".
    """

    def __init__(self, count: Count) -> None:
        self._runner = web.AppRunner(_application(Speaker(count)), access_log=None, handle_signals=False)
        self.root_url = ""

    @property
    def base_url(self) -> str:
        return f"{self.root_url}/v1"

    async def __aenter__(self) -> "DemoUpstream":
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.root_url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()


@web.middleware
async def _refuse_malformed(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except msgspec.MsgspecError as error:
        refusal = {"message": str(error), "type": "invalid_request_error", "param": None, "code": None}
        return json_answer({"error": refusal}, 400)


def _application(speaker: Speaker) -> web.Application:
    application = web.Application(middlewares=[_refuse_malformed], client_max_size=_MAX_BODY_BYTES)
    application.add_routes([*demo_openai.routes(speaker), *demo_media.routes(speaker), *demo_native.routes(speaker)])
    return application
