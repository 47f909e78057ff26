"""A program that tests run and signal: `python -m tests.served WORKERS DELAY` serves an application that talks.

It prints one line per event: `ready PORT`, `drain`, `drain_timeout`, `reload`, `shutdown`.
"""

import os
import sys

from starlette.types import Receive, Scope, Send

from gateway.server import ServerSettings, serve
from tests.serving import ServedApp, say_hello


class TalkingApp(ServedApp):
    """Prints what it is told. One write per line, so that lines of several workers stay whole."""

    def on_drain(self) -> None:
        os.write(1, b"drain\n")

    def on_drain_timeout(self) -> None:
        os.write(1, b"drain_timeout\n")
        super().on_drain_timeout()

    def on_reload(self) -> None:
        os.write(1, b"reload\n")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, send)
        if scope["type"] == "lifespan":
            os.write(1, b"shutdown\n")


def make_app() -> TalkingApp:
    """An application whose calls to /hang end only when they must."""

    async def endpoint(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["path"] == "/hang":
            os.write(1, b"hanging\n")
            await app.ending.wait()
        if scope["path"] == "/die":
            os._exit(9)
        await say_hello(scope, _receive, send)

    app = TalkingApp(endpoint)
    return app


def main() -> int:
    """Serve until signalled."""
    workers, delay = int(sys.argv[1]), float(sys.argv[2])
    settings = ServerSettings(port=0, workers=workers, drain_delay_seconds=delay)
    return serve("tests.served:make_app", settings, on_ready=announce)


def announce(_host: str, port: int) -> None:
    """Tell the test where to call."""
    os.write(1, b"ready %d\n" % port)


if __name__ == "__main__":
    sys.exit(main())
