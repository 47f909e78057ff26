"""`/healthz`, `/readyz`, `/metrics`: for machines that run the gateway. The first two need no key and say nothing."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.admin.boundary import Access, Services, authenticate, rendered
from gateway.core.errors import GatewayError
from gateway.metrics import CONTENT_TYPE, Metrics
from gateway.sources import new_request_id
from gateway.store import revision

READY_SECONDS = 1.0
FAILURES_UNTIL_UNREADY = 3
"""One slow answer of the database must not take all replicas out at once."""


@dataclass(slots=True)
class Operations:
    """`is_open` is False from the stop signal on; `serves` is the ledger's word."""

    services: Services
    metrics: Metrics
    serves: Callable[[], bool]
    is_open: bool = True
    failures: int = 0

    async def health(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The event loop is alive; nothing else is asked."""
        await Response()(scope, receive, send)

    def in_brief(self) -> list[tuple[bytes, bytes]]:
        """Return the headers of the same answer where nothing else can be asked."""
        request_id = new_request_id().encode()
        return [(b"x-request-id", request_id), (b"request-id", request_id)]

    async def ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Calls can be served: not draining, and the database answered lately."""
        await Response(status_code=200 if await self._is_ready() else 503)(scope, receive, send)

    async def _is_ready(self) -> bool:
        if not self.is_open:
            return False
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self.services.database.read(revision.read)
            self.failures = 0 if self.serves() else self.failures + 1
        except (GatewayError, TimeoutError):
            self.failures += 1
        return self.failures < FAILURES_UNTIL_UNREADY

    async def show_metrics(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Prometheus's text, for this machine itself or with a reader's admin key."""
        address = scope["client"][0] if scope["client"] else ""
        try:
            if not _is_loopback(address):
                await authenticate(self.services, Access.READER, scope, self.services.clock.now())
            response = Response(await asyncio.to_thread(self.metrics.render), media_type=CONTENT_TYPE)
        except GatewayError as error:
            response = rendered(error, None)
        await response(scope, receive, send)


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
