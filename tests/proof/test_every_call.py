"""No way around the ledger: every URL that costs money asks it first, and no moment to leave at gets past it."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route, Router

from gateway import routes
from gateway.core.extensions import DISCONNECT
from gateway.core.limits import Interval, Metric
from gateway.core.old_paths import OLD_PATHS
from gateway.core.upstreams import Upstream
from gateway.proxy.endpoint import Endpoint
from gateway.settings import CatalogSettings
from tests.gateway import LOOK_SECONDS, RunningGateway, bearer, chat_body, running_gateway
from tests.ledger import books
from tests.ledger.running import until
from tests.patience import PATIENCE_SECONDS
from tests.proof.clients import LONG, SLOW, WORDS, Call, Entry, Script, entries, heard
from tests.proof.site import CALL_SECONDS, Site
from tests.provider import Provider

FREE = re.compile(
    r"(/openai|/claude|/anthropic|/google|/gemini)?/v1(beta)?/models(/.*)?"  # lists, from memory
    r"|/v1/organization(/.*)?|/healthz|/readyz|/metrics"
    r"|/v1/me|(/openai)?(/v1)?(/dashboard)?/billing/.*"
)
"""What asks no provider for anything that costs."""
HI = [{"role": "user", "content": "Hi"}]
TEXT = {"parts": [{"text": "Hi"}]}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "gpt-4o-mini", "messages": HI},
    "/v1/completions": {"model": "gpt-3.5-turbo-instruct", "prompt": "Hi"},
    "/v1/embeddings": {"model": "text-embedding-3-small", "input": "Hi"},
    "/v1/responses": {"model": "gpt-4o-mini", "input": "Hi"},
    "/v1/images/generations": {"model": "gpt-image-1", "prompt": "Hi"},
    "/v1/audio/speech": {"model": "tts-1", "voice": "alloy", "input": "Hi"},
    "/v1/moderations": {"model": "omni-moderation-latest", "input": "Hi"},
    "/v1/messages": {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": HI},
    "/v1/messages/count_tokens": {"model": "claude-sonnet-4-5", "messages": HI},
    "generateContent": {"contents": [TEXT]},
    "streamGenerateContent": {"contents": [TEXT]},
    "countTokens": {"contents": [TEXT]},
    "embedContent": {"content": TEXT},
    "batchEmbedContents": {"requests": [{"model": "models/gemini-embedding-001", "content": TEXT}]},
}
FORMS = {"/v1/images/edits", "/v1/images/variations", "/v1/audio/transcriptions", "/v1/audio/translations"}


def served(gateway: RunningGateway) -> Iterator[tuple[str, object]]:
    """Walk the table of URLs: (path, what serves it)."""
    assert gateway.app._rooms is not None
    switch = routes.build(gateway.app._rooms)
    assert isinstance(switch, routes.Switch) and isinstance(switch._others, Router)
    for path, app in switch._calls.items():
        yield path.decode(), app
    for (version, verb), app in switch._gemini.items():
        yield f"/{version.decode()}/models/m:{verb.decode()}", app
    for route in switch._others.routes:
        assert isinstance(route, Route)
        apps = route.app._methods.values() if isinstance(route.app, routes.ByMethod) else [route.app]
        yield from ((route.path, app) for app in apps)


async def test_url_is_served_by_the_one_endpoint_or_costs_nothing(gateway: RunningGateway) -> None:
    around = [(path, app) for path, app in served(gateway) if not isinstance(app, Endpoint)]
    assert [path for path, _ in around if not FREE.fullmatch(path) and path not in OLD_PATHS] == []
    assert len(around) < len(list(served(gateway)))


async def test_call_of_every_format_is_stopped_by_a_limit_before_the_provider_hears_of_it(
    database_url: str, provider: Provider, tmp_path: Path
) -> None:
    others = (
        Upstream("claude", "anthropic", provider.url, "sk-other", models=("claude-*",)),
        Upstream("gemini", "gemini", provider.url, "sk-other", models=("gemini-*",)),
    )
    assert set(BODIES) | FORMS == {*routes.CALLS, *routes.ANTHROPIC_CALLS, *(verb for _, verb in routes.GEMINI_CALLS)}
    catalog = CatalogSettings(others)
    async with running_gateway(database_url, provider, tmp_path, catalog=catalog) as gateway:
        key = await gateway.key(limits=[(Metric.REQUESTS, Interval.DAY, 0)])
        statuses = {}
        for path, body in BODIES.items():
            if not path.startswith("/"):
                model = "gemini-embedding-001" if "mbed" in path else "gemini-2.5-flash"
                path = f"/v1beta/models/{model}:{path}"
            statuses[path] = (await gateway.post(key, path, body)).status_code
        for path in FORMS:
            image = "image" in path
            form = {"model": "gpt-image-1" if image else "whisper-1", "prompt": "Hi"}
            files = {"image" if image else "file": ("x.png" if image else "x.wav", b"x" * 100)}
            answer = await gateway.http.post(path, data=form, files=files, headers=bearer(key))
            statuses[path] = answer.status_code
        assert statuses == dict.fromkeys(statuses, 429)
        assert provider.requests == []
        assert await gateway.usage() == []
        await gateway.audit()


class Client:
    """A client that is there until it leaves, as the server tells the endpoint."""

    def __init__(self) -> None:
        self._told: Callable[[], None] | None = None
        self._is_gone = False

    def when_gone(self, told: Callable[[], None] | None) -> None:
        self._told = told
        if self._is_gone:
            self.leave()

    def hang_up(self) -> None:
        return

    def leave(self) -> None:
        self._is_gone = True
        if self._told is not None:
            self._told()


@pytest.mark.parametrize("way", ["client-leaves", "task-is-cancelled"])
async def test_call_broken_off_at_any_moment_holds_nothing_and_no_connection(
    any_gateway: RunningGateway, way: str
) -> None:
    provider = any_gateway.provider
    provider.chat("Hello there")
    key = await any_gateway.key(limits=[(Metric.TOKENS, Interval.DAY, 10**6), (Metric.CONCURRENCY, None, 1)])
    turns, ended = 0, 0
    while ended < 3:
        ended += await ends_within(any_gateway, key, turns, way)
        await any_gateway.audit()
        turns += max(1, turns // 6)
    assert turns > 10
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await connections_in_use(any_gateway):  # noqa: ASYNC110 - the gauge is set now and then
            await asyncio.sleep(LOOK_SECONDS)
    rows = await any_gateway.usage()
    assert len({row.request_id for row in rows}) == len(rows)
    assert sum(row.requests for row in rows) >= len(provider.requests)
    assert (await any_gateway.chat(key)).status_code == 200


async def connections_in_use(gateway: RunningGateway) -> float:
    """How many connections to the provider are in use, as the gateway tells."""
    shown = (await gateway.http.get("/metrics")).text
    return sum(map(float, re.findall(r"^gateway_upstream_connections\{.*\} (\S+)$", shown, re.MULTILINE)))


async def ends_within(gateway: RunningGateway, key: str, turns: int, way: str) -> bool:
    """Make a call and break it off after so many turns of the loop; tell whether it had ended by itself."""
    client = Client()
    body = json.dumps(chat_body(stream=True, max_tokens=10)).encode()
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()

    async def send(_message: Any) -> None:
        return

    headers = [(b"authorization", f"Bearer {key}".encode()), (b"content-type", b"application/json")]
    path = "/v1/chat/completions"
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [*headers, (b"host", b"localhost"), (b"content-length", str(len(body)).encode())],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "state": {}, "extensions": {DISCONNECT: client},
    }  # fmt: skip
    calling = asyncio.ensure_future(gateway.app(scope, receive, send))
    for _ in range(turns):
        if calling.done():
            break
        await asyncio.sleep(0)
    has_ended = calling.done()
    if way == "client-leaves":
        client.leave()
    else:
        calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    return has_ended


async def test_gateway_asked_to_stop_amid_streams_settles_each_before_it_ends(
    database_url: str, provider: Provider, tmp_path: Path
) -> None:
    """Those that end in time end well, the others are told so and charged what was delivered."""
    site = Site(tmp_path, database_url, provider, {"GATEWAY_DRAIN_TIMEOUT_SECONDS": "15"})
    calls = [Call(f"call-{kind}-{number}", kind, is_stream=True) for kind in (LONG, SLOW) for number in range(5)]
    site.name_calls(call.name for call in calls)
    key, script = await site.key([(Metric.TOKENS, Interval.DAY, 10**6), (Metric.CONCURRENCY, None, 10)]), Script()
    provider.always(script)
    async with site.replica() as replica, books.reading(database_url) as reader:
        async with asyncio.TaskGroup() as tasks:
            for call in calls:
                tasks.create_task(call.ask(replica.http, key))
            await until(lambda: all(call.words >= WORDS - 1 for call in calls), state=lambda: heard(calls, script))
            replica.process.terminate()
            script.further.set()
        assert await asyncio.wait_for(replica.process.wait(), CALL_SECONDS) == 0
        found = await entries(reader)
        for call in calls:
            [row] = found[call.name]
            if call.kind == LONG:
                assert (call.ended, row) == (True, Entry("final", "reported", "completed", 12, WORDS))
            else:
                assert (call.ended, row.source, row.output_tokens >= WORDS) == (False, "counted", True)
        assert await reader.one("SELECT count(*) FROM hold") == 0
        assert await reader.one("SELECT count(*) FROM owner") == 0, "its lease was given back last"
        assert await books.differences(reader) == []
