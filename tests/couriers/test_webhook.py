"""Webhooks to a real server: OpenAI's SDK verifies them, and they never reach a private address by themselves."""

import json
import time
from collections.abc import AsyncIterator

import openai
import pytest

from gateway.core.limits import Interval, Metric, Scope
from gateway.core.notices import Notice
from gateway.couriers.addresses import is_public
from gateway.couriers.courier import NotDelivered
from gateway.couriers.destinations import Hook, signing_key
from gateway.couriers.webhook import PublicResolver, WebhookCourier
from tests.provider import Cut, Provider

SECRET = "whsec_c2l4dGVlbiBieXRlcyBvciBtb3Jl"
NOTICE = Notice(
    "budget", "lim_1", Scope.USER, "user_1", Metric.TOKENS, Interval.LIFETIME, 0, 80, 85, 1_700_000_000,
    name="Ada", percent=80, limit=100,
)  # fmt: skip


@pytest.fixture
async def courier(provider: Provider) -> AsyncIterator[WebhookCourier]:
    made = WebhookCourier(Hook(f"{provider.url}/hook?to=ops", signing_key(SECRET), allows_private=True))
    yield made
    await made.close()


async def test_event_is_signed_so_that_openais_sdk_verifies_it(courier: WebhookCourier, provider: Provider) -> None:
    provider.answer(204)
    await courier.send(NOTICE, (), time.time())
    request = await provider.request()
    assert (request.method, request.path) == ("POST", "/hook?to=ops")
    headers = dict(request.headers)
    openai.OpenAI(api_key="unused").webhooks.verify_signature(request.body, headers, secret=SECRET)
    for tampered in (request.body.replace(b"85", b"95"), request.body + b" "):
        with pytest.raises(openai.InvalidWebhookSignatureError):
            openai.OpenAI(api_key="unused").webhooks.verify_signature(tampered, headers, secret=SECRET)
    event = json.loads(request.body)
    assert headers["webhook-id"] == event["id"] == NOTICE.id
    assert (event["object"], event["type"], event["created_at"]) == ("event", "budget.reached", 1_700_000_000)
    assert event["data"] == {
        "id": "lim_1", "scope": "user", "scope_id": "user_1", "scope_name": "Ada", "metric": "tokens",
        "interval": "lifetime", "period_start": 0, "period_end": None, "threshold": 80, "used": 85, "percent": 80,
        "limit": 100,
    }  # fmt: skip


@pytest.mark.parametrize("status", [301, 400, 404, 500])
async def test_answer_that_is_no_success_is_no_delivery(
    courier: WebhookCourier, provider: Provider, status: int
) -> None:
    provider.answer(status, {"location": f"{provider.url}/elsewhere"})
    with pytest.raises(NotDelivered, match=str(status)):
        await courier.send(NOTICE, (), 0.0)
    assert len(provider.requests) == 1


async def test_connection_that_breaks_is_no_delivery(courier: WebhookCourier, provider: Provider) -> None:
    provider.raw(Cut.RESET)
    with pytest.raises(NotDelivered):
        await courier.send(NOTICE, (), 0.0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0x7f000001", "127.1"])
async def test_private_address_is_not_even_connected_to(provider: Provider, host: str) -> None:
    courier = WebhookCourier(Hook(f"http://{host}:{provider.port}/", signing_key(SECRET)))
    try:
        with pytest.raises(NotDelivered):
            await courier.send(NOTICE, (), 0.0)
    finally:
        await courier.close()
    assert provider.connections == 0


async def test_name_that_leads_to_a_private_address_is_not_resolved_and_the_log_says_why() -> None:
    with pytest.raises(OSError, match="GATEWAY_WEBHOOK_PRIVATE"):
        await PublicResolver().resolve("localhost", 443)
    courier = WebhookCourier(Hook("https://localhost/", signing_key(SECRET)))
    try:
        with pytest.raises(NotDelivered, match="localhost is a private address, which GATEWAY_WEBHOOK_PRIVATE"):
            await courier.send(NOTICE, (), 0.0)
    finally:
        await courier.close()


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("::ffff:8.8.8.8", True), ("64:ff9b::808:808", True),
        ("10.1.2.3", False), ("172.16.0.1", False), ("192.168.1.1", False), ("127.0.0.1", False), ("0.0.0.1", False),
        ("100.64.0.1", False), ("169.254.169.254", False), ("224.0.0.1", False), ("240.0.0.1", False),
        ("255.255.255.255", False), ("192.0.2.1", False), ("198.18.0.1", False), ("::1", False), ("::", False),
        ("fc00::1", False), ("fe80::1", False), ("fe80::1%eth0", False), ("fec0::1", False), ("ff02::1", False),
        ("::ffff:10.0.0.1", False), ("64:ff9b::a00:1", False), ("64:ff9b:1::a00:1", False), ("2002:a00:1::", False),
        ("2001:0:4136:e378:8000:63bf:f5ff:fffe", False), ("nonsense", False), ("", False),
    ],
)  # fmt: skip
def test_address_is_public_only_if_everybody_can_have_it(address: str, public: bool) -> None:
    assert is_public(address) is public
