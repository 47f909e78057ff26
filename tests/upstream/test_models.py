"""An upstream's model list: its three shapes, and when it is asked for again."""

import asyncio
from dataclasses import replace

import msgspec
import pytest

from gateway.core.errors import UpstreamFailed
from gateway.core.upstreams import Provider as Species
from gateway.core.upstreams import Upstream
from gateway.upstream.models import ListedModel, ModelLists, parse_models
from gateway.upstream.pool import Pool
from tests.patience import PATIENCE_SECONDS
from tests.provider import Provider

ONE = b'{"object":"list","data":[{"id":"gpt-4o","object":"model","created":5,"owned_by":"system"}]}'
TWO = b'{"object":"list","data":[{"id":"gpt-4o"},{"id":"o4-mini"}]}'


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.mark.parametrize(
    ("species", "body", "model"),
    [
        ("openai", ONE, ListedModel("gpt-4o", 5, "system")),
        ("openai", b'{"data":[{"id":"m","created":1.5,"owned_by":null,"extra":{}}]}', ListedModel("m", 1, None)),
        (
            "anthropic",
            b'{"data":[{"type":"model","id":"claude-x","created_at":"1970-01-01T00:01:00Z"}],"has_more":false}',
            ListedModel("claude-x", 60, "anthropic"),
        ),
        ("gemini", b'{"models":[{"name":"models/gemini-x"}]}', ListedModel("gemini-x", None, "google")),
    ],
)
def test_list_in_each_shape_is_read(species: Species, body: bytes, model: ListedModel) -> None:
    assert parse_models(species, body) == (model,)


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"data":{}}', b'{"data":[{"id":1}]}'])
def test_list_in_no_shape_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        parse_models("openai", body)


async def test_list_is_asked_for_once_in_five_minutes(pool: Pool, provider: Provider, upstream: Upstream) -> None:
    clock = Clock()
    lists = ModelLists(pool, clock, PATIENCE_SECONDS)
    provider.answer(body=ONE)
    for clock.seconds in (0.0, 299.0):
        assert [model.id for model in await lists.of(upstream)] == ["gpt-4o"]
    provider.answer(body=TWO)
    clock.seconds = 301.0
    assert [model.id for model in await lists.of(upstream)] == ["gpt-4o", "o4-mini"]
    assert [request.path for request in provider.requests] == ["/v1/models"] * 2


async def test_callers_at_once_share_one_request(pool: Pool, provider: Provider, upstream: Upstream) -> None:
    lists = ModelLists(pool, Clock())
    provider.answer(body=ONE)
    answers = await asyncio.gather(*[lists.of(upstream) for _ in range(50)])
    assert len(set(answers)) == 1
    assert len(provider.requests) == 1


async def test_caller_that_leaves_does_not_end_the_others_request(
    pool: Pool, provider: Provider, upstream: Upstream
) -> None:
    lists, go = ModelLists(pool, Clock()), asyncio.Event()
    provider.raw(go, b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(ONE), ONE))
    leaver, stayer = (asyncio.create_task(lists.of(upstream)) for _ in range(2))
    await provider.request()
    leaver.cancel()
    go.set()
    assert (await stayer)[0].id == "gpt-4o"


@pytest.mark.parametrize(("status", "body"), [(500, b"oops"), (200, b"not json")])
async def test_failing_upstream_serves_its_old_list_and_is_asked_again_later(
    pool: Pool, provider: Provider, upstream: Upstream, status: int, body: bytes
) -> None:
    clock = Clock()
    lists = ModelLists(pool, clock, PATIENCE_SECONDS)
    provider.answer(body=ONE)
    await lists.of(upstream)
    provider.answer(status, body=body)
    for clock.seconds in (301.0, 330.0):
        assert (await lists.of(upstream))[0].id == "gpt-4o"
    provider.answer(body=TWO)
    clock.seconds = 332.0
    assert len(await lists.of(upstream)) == 2


async def test_failing_upstream_without_an_old_list_is_not_asked_again_at_once(
    pool: Pool, provider: Provider, upstream: Upstream
) -> None:
    clock = Clock()
    lists = ModelLists(pool, clock, PATIENCE_SECONDS)
    provider.answer(500)
    for clock.seconds in (0.0, 1.0, 9.0):
        with pytest.raises(UpstreamFailed):
            await lists.of(upstream)
    assert len(provider.requests) == 1
    provider.answer(body=ONE)
    clock.seconds = 11.0
    assert await lists.of(upstream)


async def test_upstream_that_was_changed_is_asked_though_it_failed_before(
    pool: Pool, provider: Provider, upstream: Upstream
) -> None:
    lists = ModelLists(pool, Clock())
    provider.answer(500)
    with pytest.raises(UpstreamFailed):
        await lists.of(upstream)
    provider.answer(body=ONE)
    assert await lists.of(replace(upstream, api_key="sk-new"))


@pytest.mark.parametrize("first", [ONE, None], ids=["an old list", "a failure"])
async def test_upstream_that_hangs_is_not_waited_for_where_something_is_known(
    pool: Pool, provider: Provider, upstream: Upstream, first: bytes | None
) -> None:
    clock, go = Clock(), asyncio.Event()
    lists = ModelLists(pool, clock)

    async def ids() -> list[str]:
        try:
            return [model.id for model in await lists.of(upstream)]
        except UpstreamFailed:
            return []

    provider.answer(500 if first is None else 200, body=first or b"")
    known = await ids()
    provider.raw(go, b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(TWO), TWO))
    clock.seconds = 301.0
    assert [await ids(), await ids()] == [known, known]
    go.set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await ids() == known:
            pass
    assert await ids() == ["gpt-4o", "o4-mini"]
    assert len(provider.requests) == 2


async def test_anthropic_list_is_asked_with_its_version(pool: Pool, provider: Provider) -> None:
    provider.answer(body=b'{"data":[]}')
    await ModelLists(pool, Clock()).of(Upstream("claude", "anthropic", provider.url, "sk-a"))
    request = await provider.request()
    assert request.path == "/v1/models?limit=1000"
    assert (request.header("x-api-key"), request.header("anthropic-version")) == ("sk-a", "2023-06-01")
    assert request.header("authorization") is None
