"""A provider behind an outbound proxy, and one with a certificate of one's own authority: calls through all of it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.settings import CatalogSettings, load_catalog
from tests.gateway import MODEL, RunningGateway, running_gateway
from tests.outbound import AUTHORITY, Proxy, running_proxy, running_tls_provider
from tests.provider import Provider, running_provider

KEY = "sk-provider-0123456789abcdef"
WAYS = ("proxy", "authority", "proxy and authority")


@pytest.fixture(params=WAYS)
async def way(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Proxy | None, Provider]]:
    """A provider and the proxy before it, if there is one."""
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(running_proxy()) if "proxy" in request.param else None
        running = running_tls_provider() if "authority" in request.param else running_provider()
        yield proxy, await stack.enter_async_context(running)


@pytest.fixture
async def outbound(
    way: tuple[Proxy | None, Provider], sqlite_url: str, tmp_path: Path
) -> AsyncIterator[RunningGateway]:
    """A gateway whose file of settings leads that way."""
    proxy, provider = way
    lines = ["[[upstreams]]", 'name = "main"', 'provider = "openai"', f'base_url = "{provider.base_url}"']
    lines += ['api_key_env = "A_KEY"']
    lines += [f'proxy_url = "{proxy.url}"'] if proxy is not None else []
    lines += [f'ca_file = "{AUTHORITY}"'] if provider.url.startswith("https") else []
    file = tmp_path / "gateway.toml"
    file.write_text("\n".join(lines))
    [main] = load_catalog({"GATEWAY_CONFIG": str(file), "A_KEY": KEY}).upstreams
    async with running_gateway(sqlite_url, provider, tmp_path, upstream=lambda _: main) as running:
        yield running


async def test_calls_plain_and_streamed_take_the_way_that_the_settings_lead(
    outbound: RunningGateway, way: tuple[Proxy | None, Provider]
) -> None:
    proxy, provider = way
    provider.chat("Hello there")
    client = outbound.openai(await outbound.key())
    answer = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}])
    assert answer.choices[0].message.content == "Hello there"
    stream = await client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Hi"}], stream=True
    )
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "Hello there"
    rows = await outbound.usage(2)
    assert [(row.input_tokens, row.output_tokens, row.source) for row in rows] == [(10, 5, "reported")] * 2
    assert all(request.header("authorization") == f"Bearer {KEY}" for request in provider.requests)
    await outbound.audit()
    if proxy is not None:
        seen = b"".join(proxy.heads)
        is_tunnel = provider.url.startswith("https")
        assert seen.startswith(b"CONNECT " if is_tunnel else b"POST ") and (KEY.encode() in seen) is not is_tunnel


@pytest.mark.parametrize("way", ["proxy", "proxy and authority"], indirect=True)
async def test_proxy_that_refuses_is_an_upstream_out_of_reach(
    outbound: RunningGateway, way: tuple[Proxy | None, Provider]
) -> None:
    proxy, provider = way
    assert proxy is not None
    proxy.refuses = True
    refused = await outbound.chat(await outbound.key())
    assert (refused.status_code, refused.json()["error"]["code"]) == (502, "upstream_unreachable")
    assert provider.requests == []
    row = await outbound.charged()
    assert (row.requests, row.input_tokens) == (0, 0)


async def test_reload_that_would_leave_no_upstream_changes_nothing(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    """A file that is being written is empty for a moment."""
    provider.chat("Hello there")
    async with running_gateway(sqlite_url, provider, tmp_path, reload=CatalogSettings) as running:
        client = running.openai(await running.key())
        running.app.on_reload()
        answer = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}])
        assert answer.choices[0].message.content == "Hello there"
