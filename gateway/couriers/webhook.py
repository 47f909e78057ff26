"""Webhooks: events posted as JSON, signed as Standard Webhooks has it, so OpenAI's SDK can verify them.

They never go to a private address unless that is allowed: names are resolved by us, and the connection is made to the
address that was checked. Redirects are not followed.
"""

import asyncio
import base64
import hashlib
import hmac
import socket
from errno import EACCES
from urllib.parse import urlsplit

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.core.notices import Notice, event_of
from gateway.couriers.addresses import is_public
from gateway.couriers.courier import NotDelivered
from gateway.couriers.destinations import Hook

TIMEOUT_SECONDS = 15.0
NOT_ALLOWED = "is a private address, which GATEWAY_WEBHOOK_PRIVATE does not allow"


class PublicResolver(AbstractResolver):
    """Resolves names to public addresses only."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host. Raises OSError if any of them is not public."""
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG
        )
        results: list[ResolveResult] = []
        for its_family, _, protocol, _, address in found:
            if not is_public(str(address[0])):
                raise OSError(EACCES, f"{host} {NOT_ALLOWED}")  # only what has a number is told on by the client
            results.append(
                ResolveResult(
                    hostname=host, host=str(address[0]), port=port, family=its_family, proto=protocol,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
            )  # fmt: skip
        return results

    async def close(self) -> None:
        """Nothing stays open."""


class WebhookCourier:
    """Posts events to one URL. Create inside the running loop."""

    def __init__(self, hook: Hook) -> None:
        self._hook = hook
        resolver = None if hook.allows_private else PublicResolver()
        connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)

    async def send(self, notice: Notice, _recipients: tuple[str, ...], now: float) -> None:
        """Post the event; any 2xx is a success."""
        body = msgspec.json.encode(event_of(notice))
        headers = {"content-type": "application/json", **signature_headers(self._hook.key, notice.id, now, body)}
        try:
            self._check_literal()
            async with self._session.post(self._hook.url, data=body, headers=headers, allow_redirects=False) as answer:
                status = answer.status
        except (OSError, aiohttp.ClientError, TimeoutError, ValueError) as error:
            words = str(error) if isinstance(error, OSError) else ""
            raise NotDelivered(f"webhook: {type(error).__name__} {words}") from error
        if not 200 <= status < 300:
            raise NotDelivered(f"webhook: it answered {status}")

    async def close(self) -> None:
        """Close the session."""
        await self._session.close()

    def _check_literal(self) -> None:
        """Raises OSError for a private address in the URL itself: that one is never resolved."""
        host = urlsplit(self._hook.url).hostname or ""
        is_literal = ":" in host or host.replace(".", "").isdigit()
        if is_literal and not self._hook.allows_private and not is_public(host):
            raise OSError(f"{host} {NOT_ALLOWED}")


def signature_headers(key: bytes, id: str, now: float, body: bytes) -> dict[str, str]:
    """Return the headers that prove where an event comes from: an HMAC of id, Unix seconds and body."""
    signed = f"{id}.{int(now)}.".encode() + body
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {"webhook-id": id, "webhook-timestamp": str(int(now)), "webhook-signature": f"v1,{signature}"}
