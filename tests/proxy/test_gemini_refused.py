"""What Google's clients are told, in Google's shape, and that nothing reaches the provider then."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.core.limits import Interval, Metric
from gateway.settings import CatalogSettings
from tests.gateway import RunningGateway, bearer
from tests.gemini_answers import EVENTS, MODEL, PLAIN, STREAM, answers, asking, gemini_gateway, piece, words
from tests.gemini_answers import streams as streamed
from tests.patience import early_in_a_minute
from tests.provider import Provider

EMBED = "/v1beta/models/gemini-embedding-001:embedContent"
BATCH = "/v1beta/models/gemini-embedding-001:batchEmbedContents"
COUNT = f"/v1beta/models/{MODEL}:countTokens"


@pytest.fixture
async def google(sqlite_url: str, provider: Provider, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A gateway in front of Google; the alias `odd` stands for a name that no path can have."""
    catalog = CatalogSettings(aliases={"odd": "gemini-a/../b?c"})
    async with gemini_gateway(sqlite_url, provider, tmp_path, catalog=catalog) as running:
        yield running


def in_config(**fields: Any) -> dict[str, Any]:
    return asking(generationConfig=fields)


BAD: list[tuple[str, Any, str | None]] = [
    (PLAIN, b"", None),
    (PLAIN, b"{", None),
    (PLAIN, b'{"contents": [], "x": NaN}', None),
    (PLAIN, b'{"contents": []' + b"[" * 200, None),
    (PLAIN, [], None),
    (PLAIN, {}, "contents"),
    (PLAIN, {"messages": [{"role": "user", "content": "Hi"}], "model": "gpt-4o"}, "contents"),
    (PLAIN, {"contents": "Hi"}, "contents"),
    (PLAIN, in_config(maxOutputTokens=-1), "generationConfig.maxOutputTokens"),
    (PLAIN, in_config(maxOutputTokens=0), "generationConfig.maxOutputTokens"),
    (PLAIN, in_config(maxOutputTokens=2**63), "generationConfig.maxOutputTokens"),
    (PLAIN, in_config(maxOutputTokens="100"), "generationConfig.maxOutputTokens"),
    (PLAIN, in_config(maxOutputTokens=1.5), "generationConfig.maxOutputTokens"),
    (PLAIN, in_config(candidateCount=1_000), "generationConfig.candidateCount"),
    (PLAIN, in_config(maxOutputTokens=1, max_output_tokens=9_999), "generationConfig.maxOutputTokens"),
    (PLAIN, in_config(candidateCount=1, candidate_count=8), "generationConfig.candidateCount"),
    (PLAIN, asking(generationConfig={}, generation_config={"maxOutputTokens": 9}), "generationConfig"),
    (PLAIN, asking(model="gemini-2.5-pro"), "model"),
    (PLAIN, b'{"contents":[],"generationConfig":{"maxOutputTokens":1,"maxOutputTokens":9999}}',
     "generationConfig.maxOutputTokens"),
    (PLAIN, b'{"contents":[],"generationConfig":{"maxOutputTokens":1,"maxOutputToken\\u0073":9999}}',
     "generationConfig.maxOutputTokens"),
    (PLAIN, b'{"contents":[],"generationConfig":{},"generationConfig":{"maxOutputTokens":1}}', "generationConfig"),
    (PLAIN, b'{"contents":[],"contents":[{}]}', "contents"),
    (f"{PLAIN}?alt=sse", asking(), "alt"),
    (f"{PLAIN}?alt=proto", asking(), "alt"),
    (f"{EVENTS}&fields=candidates", asking(), "fields"),
    (f"{STREAM}?$fields=candidates", asking(), "$fields"),
    (f"{STREAM}?access_token=ya29", asking(), "access_token"),
    (EMBED, asking(), "content"),
    (EMBED, {"content": {}, "model": "models/gemini-2.5-pro"}, "model"),
    (BATCH, {"content": {}}, "requests"),
    (BATCH, {"requests": [{"content": {}}, {"content": {}, "model": "models/other"}]}, "model"),
    (COUNT, {"generateContentRequest": {"model": "models/gemini-2.5-pro"}}, "model"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "param"), BAD)
async def test_bad_request_is_an_invalid_argument_that_names_what_is_wrong(
    google: RunningGateway, path: str, body: Any, param: str | None
) -> None:
    key = await google.key(limits=[(Metric.REQUESTS, Interval.DAY, 100)])
    refused = await google.post(key, path, body)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert error["message"]
    fields = [each["field"] for detail in error.get("details", ()) for each in detail.get("fieldViolations", ())]
    assert fields == ([param] if param else [])
    assert google.provider.requests == []
    assert await google.usage() == []
    await google.audit()


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta/models/gemini%2F..%2Fx:generateContent",
        "/v1beta/models/..:generateContent",
        "/v1beta/models/gemini 2.5:generateContent",
        "/v1beta/models/:generateContent",
        "/v1beta/models/gemini-2.5-flash:generateContent:generateContent",
        f"/v1beta/models/{'x' * 300}:generateContent",
        "/v1beta/models/gpt-4o:generateContent",
    ],
)
async def test_model_that_cannot_be_is_not_found(google: RunningGateway, path: str) -> None:
    refused = await google.post(await google.key(), path, asking())
    error = refused.json()["error"]
    assert (refused.status_code, error["status"]) == (404, "NOT_FOUND")
    assert error["details"][0]["reason"] == "model_not_found"
    assert google.provider.requests == []


async def test_alias_of_a_name_that_no_path_has_is_escaped(google: RunningGateway) -> None:
    answers(google.provider, piece({"text": "Hello"}))
    await google.post(await google.key(), "/v1beta/models/odd:generateContent", asking())
    assert (await google.provider.request()).path == "/v1beta/models/gemini-a%2F..%2Fb%3Fc:generateContent"


async def test_key_in_the_query_opens_and_nobody_sees_it(
    google: RunningGateway, capfd: pytest.CaptureFixture[str]
) -> None:
    key, other = await google.key(), await google.key()
    answers(google.provider, piece({"text": "Hello"}))
    streamed(google.provider, words("Hello"))
    for path in (f"{PLAIN}?key={key}", f"{STREAM}?%6bey={key}&alt=sse"):
        assert (await google.http.post(path, json=asking())).status_code == 200
        request = await google.provider.request()
        assert request.path in (PLAIN, EVENTS)
        assert key not in repr(request.headers)
    for path in (f"{PLAIN}?key={key}", f"{PLAIN}?key={key}&key={other}"):
        refused = await google.http.post(path, json=asking(), headers={"x-goog-api-key": other})
        assert (refused.status_code, refused.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
        assert key not in refused.text
    for path in (f"{PLAIN}?key={key[:-1]}x", f"{PLAIN}?key=", PLAIN):
        refused = await google.http.post(path, json=asking())
        assert (refused.status_code, refused.json()["error"]["status"]) == (401, "UNAUTHENTICATED")
        assert refused.json()["error"]["details"][0]["reason"] == "invalid_api_key"
        assert key[:-1] not in refused.text
    assert (await google.http.post(f"/v1beta/models/x:unknown?key={key}", json={})).status_code == 404
    await google.stack.aclose()
    gateways = [line for line in capfd.readouterr().out.splitlines() if '"logger":"httpx"' not in line]
    assert len(gateways) >= 8
    assert not any(key[:-1] in line or other in line for line in gateways)


async def test_key_opens_by_each_header(google: RunningGateway) -> None:
    key = await google.key()
    for headers in ({"x-goog-api-key": key}, bearer(key), {"x-api-key": key}):
        answers(google.provider, piece({"text": "Hello"}))
        assert (await google.http.post(PLAIN, json=asking(), headers=headers)).status_code == 200


async def test_limit_that_refuses_says_when_to_come_again(google: RunningGateway) -> None:
    key = await google.key(limits=[(Metric.REQUESTS, Interval.MINUTE, 1)])
    await early_in_a_minute()
    answers(google.provider, piece({"text": "Hello"}))
    assert (await google.post(key, PLAIN, asking())).status_code == 200
    refused = await google.post(key, PLAIN, asking())
    error = refused.json()["error"]
    assert (refused.status_code, error["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert "limit of 1 requests per minute" in error["message"]
    info, retry = error["details"]
    assert info == {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "rate_limit_exceeded",
        "domain": "gateway",
    }
    assert retry["@type"] == "type.googleapis.com/google.rpc.RetryInfo"
    assert 0 < float(retry["retryDelay"].removesuffix("s")) <= 60
    assert int(refused.headers["retry-after"]) <= 60


async def test_model_that_the_key_may_not_call_is_permission_denied(google: RunningGateway) -> None:
    key = await google.key(models=["gemini-2.0-*"])
    for path in (PLAIN, STREAM, COUNT):
        body = asking() if path != COUNT else {"contents": []}
        refused = await google.post(key, path, body)
        assert (refused.status_code, refused.json()["error"]["status"]) == (403, "PERMISSION_DENIED")


OF_OTHERS: list[tuple[str, Any, str]] = [
    (PLAIN, asking(cachedContent="cachedContents/abc"), "cachedContents/abc"),
    (PLAIN, asking(cached_content="cachedContents/abc"), "cachedContents/abc"),
    (PLAIN, b'{"contents":[],"cachedConten\\u0074":"cachedContents/abc"}', "cachedContents/abc"),
    (PLAIN, asking(tools=[{"fileSearch": {"fileSearchStoreNames": ["fileSearchStores/s"]}}]), "fileSearchStores/s"),
    (PLAIN, {"contents": [{"parts": [{"fileData": {"fileUri": "files/abc"}}]}]}, "files/abc"),
    (PLAIN, {"contents": [{"parts": [{"file_data": {
        "file_uri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}}]}]}, "files/abc"),
    (PLAIN, {"contents": [], "systemInstruction": {"parts": [{"fileData": {"fileUri": "gs://b/o"}}]}}, "gs://b/o"),
    (COUNT, {"generateContentRequest": {"contents": [], "cachedContent": "cachedContents/abc"}}, "cachedContents/abc"),
    (EMBED, {"content": {"parts": [{"fileData": {"fileUri": "files/abc"}}]}}, "files/abc"),
    (PLAIN, b'{"contents":[{"parts":[{"fileData":{"fileUri":"files/abc","fileUri":"https://example.com/x"}}]}]}',
     "files/abc"),
    (PLAIN, b'{"contents":[{"parts":[{"fileData":{"fileUri":"files/abc"}}],"parts":[{"text":"Hi"}]}]}', "files/abc"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "name"), OF_OTHERS)
async def test_thing_of_somebody_elses_does_not_exist(google: RunningGateway, path: str, body: Any, name: str) -> None:
    refused = await google.post(await google.key(), path, body)
    assert (refused.status_code, refused.json()["error"]["status"]) == (404, "NOT_FOUND")
    assert name in refused.json()["error"]["message"]
    assert google.provider.requests == []


async def test_public_file_and_words_of_the_clients_own_are_no_things_at_google(google: RunningGateway) -> None:
    parts = [
        {"fileData": {"fileUri": "https://www.youtube.com/watch?v=files/abc"}},
        {"fileData": {"fileUri": "https://example.com/files/abc.pdf"}},
        {"functionCall": {"name": "open", "args": {"fileUri": "files/abc"}}},
        {"functionResponse": {"name": "open", "response": {"cachedContent": "cachedContents/abc"}}},
        {"text": 'The words "fileUri": "files/abc" in a text.'},
    ]
    answers(google.provider, piece({"text": "Hello"}))
    assert (await google.post(await google.key(), PLAIN, {"contents": [{"parts": parts}]})).status_code == 200


async def test_error_body_of_every_kind_is_json_of_googles_shape(google: RunningGateway) -> None:
    refused = await google.post(await google.key(), PLAIN, b"\x1f\x8b", **{"content-encoding": "gzip"})
    assert refused.status_code == 415
    assert json.loads(refused.content)["error"]["status"] == "INVALID_ARGUMENT"
    looped = await google.post(await google.key(), PLAIN, asking(), **{"x-gateway-hop": "1"})
    assert (looped.status_code, looped.json()["error"]["code"]) == (508, 508)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"/v1beta/models/{MODEL}:predict"),
        ("POST", f"/v1/models/{MODEL}:batchGenerateContent"),
        ("POST", f"/v1alpha/models/{MODEL}:generateContent"),
        ("POST", f"/gemini/v1/models/{MODEL}:generateContent/x"),
        ("POST", f"/v1beta/tunedModels/{MODEL}:generateContent"),
        ("POST", f"/v1beta/models%2F{MODEL}:generateContent"),
        ("POST", "/v1beta/models/a%2Fb:unknown"),
        ("PUT", PLAIN),
        ("POST", "/v1beta/cachedContents"),
        ("POST", "/google/upload/v1beta/files"),
        ("GET", "/v1beta/files/abc"),
        ("DELETE", f"/v1beta/models/{MODEL}"),
    ],
)
async def test_what_is_not_on_the_list_is_not_served(google: RunningGateway, method: str, path: str) -> None:
    key = await google.key()
    refused = await google.http.request(method, path, json=asking(), headers={"x-goog-api-key": key})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["status"]) == (404, 404, "NOT_FOUND")
    assert error["details"][0]["reason"] == "route_not_served"
    assert google.provider.requests == []
