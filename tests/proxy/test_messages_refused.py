"""What Anthropic's clients are refused, and that they hear of it in their own shape."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic.types import MessageParam

from gateway.core.limits import Interval, Metric
from gateway.core.upstreams import Upstream
from tests.anthropic_events import CLAUDE, claude, message, messages_body, usage
from tests.events import JSON
from tests.gateway import RunningGateway, bearer, running_gateway
from tests.patience import early_in_a_minute
from tests.provider import Provider, compose
from tests.proxy.test_bad_input import nested

HI: list[MessageParam] = [{"role": "user", "content": "Hi"}]


def only_claude(main: Upstream) -> Upstream:
    return replace(claude(main), models=("claude-*",))


@pytest.fixture
async def gateway(sqlite_url: str, provider: Provider, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A whole gateway in front of a scripted Anthropic."""
    async with running_gateway(sqlite_url, provider, tmp_path, upstream=only_claude) as running:
        yield running


async def refused(gateway: RunningGateway, key: str, **fields: Any) -> anthropic.APIStatusError:
    """Ask as Anthropic's SDK does; return what it raises."""
    client = gateway.anthropic(key)
    with pytest.raises(anthropic.APIStatusError) as raised:
        await client.messages.create(**{"model": CLAUDE, "max_tokens": 100, "messages": HI, **fields})
    assert raised.value.request_id == raised.value.response.headers["x-request-id"]
    assert raised.value.response.json()["request_id"] == raised.value.request_id
    return raised.value


async def test_refusals_have_the_sdks_own_classes(gateway: RunningGateway) -> None:
    key = await gateway.key(models=["claude-s*"], limits=[(Metric.TOKENS, Interval.DAY, 500)])
    cases: list[tuple[str, dict[str, Any], type[anthropic.APIStatusError], str, str]] = [
        ("sk-gw-nobodys", {}, anthropic.AuthenticationError, "authentication_error", "invalid_api_key"),
        (key, {"model": "claude-opus-4-8"}, anthropic.PermissionDeniedError, "permission_error", "model_not_allowed"),
        (key, {"model": "gpt-4o"}, anthropic.NotFoundError, "not_found_error", "model_not_found"),
        (key, {"max_tokens": 2_000}, anthropic.RateLimitError, "rate_limit_error", "budget_exhausted"),
    ]
    for text, fields, kind, word, code in cases:
        error = await refused(gateway, text, **fields)
        assert (type(error), error.type, error.error_code) == (kind, word, code)
    error = await refused(gateway, key, max_tokens=2_000)
    assert error.response.headers["x-should-retry"] == "false"
    assert "500 tokens per day" in (error.api_message or "")
    assert gateway.provider.requests == [] and await gateway.usage() == []


async def test_minute_limit_says_when_to_come_back(gateway: RunningGateway) -> None:
    gateway.provider.always(lambda _request: compose(200, JSON, message()))
    key = await gateway.key(limits=[(Metric.REQUESTS, Interval.MINUTE, 1)])
    await early_in_a_minute()
    await gateway.anthropic(key).messages.create(model=CLAUDE, max_tokens=100, messages=HI)
    error = await refused(gateway, key)
    assert isinstance(error, anthropic.RateLimitError) and error.error_code == "rate_limit_exceeded"
    assert 0 < int(error.response.headers["retry-after"]) <= 60


async def test_provider_that_cannot_be_reached_is_an_api_error(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    def nowhere(main: Upstream) -> Upstream:
        return replace(claude(main), base_url="http://127.0.0.1:1")

    async with running_gateway(sqlite_url, provider, tmp_path, upstream=nowhere) as gateway:
        error = await refused(gateway, await gateway.key())
        assert (error.status_code, error.type, error.error_code) == (502, "api_error", "upstream_unreachable")


async def test_full_house_is_an_overload(sqlite_url: str, provider: Provider, tmp_path: Path) -> None:
    async with running_gateway(sqlite_url, provider, tmp_path, upstream=claude, max_bodies_bytes=10) as gateway:
        error = await refused(gateway, await gateway.key())
        assert (error.status_code, error.type, error.error_code) == (503, "overloaded_error", "service_unavailable")


@pytest.mark.parametrize("path", ["/claude/v1/messages/batches", "/anthropic/v1/files", "/claude", "/v1/messages/x"])
async def test_url_that_is_not_served_is_refused_in_anthropics_shape(gateway: RunningGateway, path: str) -> None:
    answer = await gateway.http.post(path, json={}, headers=bearer(await gateway.key()))
    told = answer.json()
    assert (answer.status_code, told["type"], told["error"]["type"]) == (404, "error", "not_found_error")
    assert told["error"]["details"]["error_code"] == "route_not_served"
    assert told["request_id"] == answer.headers["request-id"]


async def test_url_that_is_not_served_at_the_root_is_refused_as_its_headers_ask(gateway: RunningGateway) -> None:
    told = await gateway.http.get("/v1/skills", headers={"anthropic-version": "2023-06-01"})
    assert told.json()["error"]["type"] == "not_found_error"
    assert "code" in (await gateway.http.get("/v1/skills")).json()["error"]


BAD_BODIES: list[tuple[str, Any, str]] = [
    ("empty", b"", "empty"),
    ("not JSON", b'{"model":', "JSON"),
    ("too deep", nested("["), "deep"),
    ("a chat", {"model": CLAUDE, "messages": HI, "max_completion_tokens": 5}, "`max_tokens`"),
    ("no max_tokens", {"model": CLAUDE, "messages": HI}, "`max_tokens`"),
    ("max_tokens null", messages_body(max_tokens=None), "`max_tokens`"),
    ("max_tokens negative", messages_body(max_tokens=-1), "`max_tokens`"),
    ("max_tokens huge", messages_body(max_tokens=2**63), "`max_tokens`"),
    ("max_tokens a string", messages_body(max_tokens="10"), "`max_tokens`"),
    ("no model", {"max_tokens": 5, "messages": HI}, "`model`"),
    ("model with a space", messages_body(model="claude 3"), "`model`"),
    ("no messages", {"model": CLAUDE, "max_tokens": 5}, "`messages`"),
    ("messages a string", messages_body(messages="Hi"), "`messages`"),
    ("stream a string", messages_body(stream="yes"), "`stream`"),
    ("tools a string", messages_body(tools="x"), "`tools`"),
    ("max_uses negative", messages_body(tools=[{"type": "web_search_20250305", "max_uses": -1}]), "max_uses"),
    ("fallbacks that nobody names", messages_body(fallbacks="default"), "`fallbacks`"),
    ("a thread", messages_body(thread={"type": "create"}), "Threads"),
    ("model twice", b'{"model":"claude-x","max_tokens":5,"messages":[],"model":"claude-y"}', "`model`"),
    ("max_tokens twice", b'{"model":"claude-x","max_tokens":5,"messages":[],"max_tokens":9}', "`max_tokens`"),
    ("tools twice", b'{"model":"claude-x","max_tokens":5,"messages":[],"tools":[],"t\\u006fols":[]}', "`tools`"),
]


async def test_bad_bodies_are_refused_by_name_and_cost_nothing(gateway: RunningGateway) -> None:
    key = await gateway.key(limits=[(Metric.REQUESTS, Interval.DAY, 1)])
    for name, body, word in BAD_BODIES:
        answer = await gateway.post(key, "/v1/messages", body)
        told = answer.json()
        assert (answer.status_code, told["type"], told["error"]["type"]) == (
            400, "error", "invalid_request_error",
        ), name  # fmt: skip
        assert word in told["error"]["message"], name
    assert gateway.provider.requests == [] and await gateway.usage() == []
    gateway.provider.answer(200, JSON, message())
    assert (await gateway.post(key, "/v1/messages", messages_body())).status_code == 200
    await gateway.audit()


async def test_two_keys_that_differ_are_refused(gateway: RunningGateway) -> None:
    answer = await gateway.post(await gateway.key(), "/v1/messages", messages_body(), **{"x-api-key": "sk-gw-other"})
    error = answer.json()["error"]
    assert (answer.status_code, error["details"]) == (400, {"error_code": "conflicting_credentials"})


async def test_models_that_the_body_names_besides_must_be_allowed_too(gateway: RunningGateway) -> None:
    key = await gateway.key(models=["claude-sonnet-*"])
    adviser = {"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-4-8"}
    for fields in ({"fallbacks": [{"model": "claude-opus-4-8"}]}, {"tools": [adviser]}):
        answer = await gateway.post(key, "/v1/messages", messages_body(**fields))
        assert (answer.status_code, answer.json()["error"]["type"]) == (403, "permission_error"), fields
    gateway.provider.answer(200, JSON, message())
    allowed = messages_body(fallbacks=[{"model": "claude-sonnet-4-5"}])
    assert (await gateway.post(key, "/v1/messages", allowed)).status_code == 200


async def test_model_without_a_price_that_the_body_names_besides_is_refused_under_a_cost_limit(
    gateway: RunningGateway,
) -> None:
    key = await gateway.key(limits=[(Metric.COST, Interval.DAY, 10**12)])
    answer = await gateway.post(key, "/v1/messages", messages_body(fallbacks=[{"model": "claude-of-nobody"}]))
    assert answer.json()["error"]["details"] == {"error_code": "model_not_priced"}


HELD: list[tuple[dict[str, Any], int]] = [
    # What is left for 1,000 tokens of output is too little if each token of the prompt may cost more than it seems.
    ({}, 3_000),
    ({"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}, 3_750),
    ({"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}, 6_000),
]


@pytest.mark.parametrize(("fields", "rate"), HELD, ids=["plain", "written", "written for an hour"])
async def test_hold_covers_what_writing_the_prompt_to_the_cache_costs(
    gateway: RunningGateway, fields: dict[str, Any], rate: int
) -> None:
    text = "word " * 20_000
    written = {"cache_creation_input_tokens": 20_000, "cache_creation": {"ephemeral_1h_input_tokens": 20_000}}
    gateway.provider.always(lambda _request: compose(200, JSON, message(usage=usage(0, 0, **written))))
    body = messages_body(messages=[{"role": "user", "content": text}], max_tokens=1, **fields)
    # 20,000 words are some 24,000 tokens by the family's factor, with a tenth and the formula's tokens as margin.
    for tokens, status in ((20_000, 429), (30_000, 200)):
        key = await gateway.key(limits=[(Metric.COST, Interval.DAY, tokens * rate)])
        assert (await gateway.post(key, "/v1/messages", body)).status_code == status


async def test_tool_whose_cost_no_answer_tells_is_refused_under_a_cost_limit(gateway: RunningGateway) -> None:
    limited = await gateway.key(limits=[(Metric.COST, Interval.DAY, 10**12)])
    body = messages_body(tools=[{"type": "code_execution_20250825", "name": "code_execution"}])
    answer = await gateway.post(limited, "/v1/messages", body)
    assert (answer.status_code, answer.json()["error"]["details"]) == (403, {"error_code": "route_not_priced"})
    gateway.provider.answer(200, JSON, message())
    free = await gateway.key(limits=[(Metric.TOKENS, Interval.DAY, 10**12)])
    assert (await gateway.post(free, "/v1/messages", body)).status_code == 200
