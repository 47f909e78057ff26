"""What cannot be served is refused in the dialect with words that help, charges nothing and harms nobody else."""

import asyncio
import json
from pathlib import Path
from typing import Any

from gateway.core.limits import Interval, Metric
from gateway.core.upstreams import Upstream
from tests.events import JSON, completion
from tests.gateway import RunningGateway, bearer, chat_body, running_gateway
from tests.patience import PATIENCE_SECONDS
from tests.provider import Provider, compose

CHAT = "/v1/chat/completions"
DEEP = 1_000


def chat(**fields: Any) -> bytes:
    return json.dumps(chat_body(**fields)).encode()


def nested(brackets: str) -> bytes:
    inside = {"[": "[" * DEEP + "]" * DEEP, "{": '{"a":' * DEEP + "1" + "}" * DEEP}[brackets]
    return b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Hi"}],"x":' + inside.encode() + b"}"


BAD_BODIES: list[tuple[str, bytes, str | None]] = [
    ("empty", b"", None),
    ("blank", b" \r\n", None),
    ("truncated", chat()[:-3], None),
    ("not an object", b"[1]", None),
    ("null", b"null", None),
    ("two documents", chat() + chat(), None),
    ("not UTF-8 in the text", chat().replace(b"Hi", b"\xff\xfe"), None),
    ("not UTF-8 in a field of no concern", chat(x="?").replace(b"?", b"\xc3\x28"), None),
    ("a surrogate as UTF-8", chat(x="?").replace(b"?", b"\xed\xa0\x80"), None),
    ("too deep, lists", nested("["), None),
    ("too deep, objects", nested("{"), None),
    ("NaN", chat(temperature="?").replace(b'"?"', b"NaN"), None),
    ("Infinity", chat(temperature="?").replace(b'"?"', b"-Infinity"), None),
    ("a control character in a string", chat(x="?").replace(b"?", b"\x01"), None),
    ("no model", b'{"messages":[]}', "model"),
    ("no messages", b'{"model":"gpt-4o-mini"}', "messages"),
    ("model twice", b'{"model":"gpt-4o-mini","messages":[],"model":"gpt-4o"}', "model"),
    ("model twice, escaped", b'{"model":"gpt-4o-mini","messages":[],"m\\u006fdel":"gpt-4o"}', "model"),
    ("max_tokens twice", chat(max_tokens=1)[:-1] + b',"max_tokens":9}', "max_tokens"),
    ("stream twice", chat(stream=False)[:-1] + b',"stream":true}', "stream"),
    ("messages twice", chat()[:-1] + b',"messages":[]}', "messages"),
    ("service_tier twice", chat(service_tier="flex")[:-1] + b',"service_tier":"priority"}', "service_tier"),
    ("model a number", chat(model=7), "model"),
    ("model null", chat(model=None), "model"),
    ("model empty", chat(model=""), "model"),
    ("model with a NUL", chat(model="gpt\0"), "model"),
    ("model with a line end", chat(model="gpt\r\nx"), "model"),
    ("model too long", chat(model="x" * 300), "model"),
    ("model not ASCII", chat(model="gpt-é"), "model"),
    ("messages a string", chat(messages="Hi"), "messages"),
    ("max_tokens negative", chat(max_tokens=-1), "max_tokens"),
    ("max_tokens zero", chat(max_tokens=0), "max_tokens"),
    ("max_tokens huge", chat(max_tokens=10**12), "max_tokens"),
    ("max_tokens 2^63", chat(max_tokens=2**63), "max_tokens"),
    ("max_tokens 1e308", chat(max_tokens="?").replace(b'"?"', b"1e308"), "max_tokens"),
    ("max_tokens a string", chat(max_tokens="10"), "max_tokens"),
    ("max_tokens a boolean", chat(max_tokens=True), "max_tokens"),
    ("max_tokens a fraction", chat(max_tokens=1.5), "max_tokens"),
    ("max_completion_tokens negative", chat(max_completion_tokens=-5), "max_completion_tokens"),
    ("n negative", chat(n=-1), "n"),
    ("n zero", chat(n=0), "n"),
    ("n huge", chat(n=10**9), "n"),
    ("n 2^63", chat(n=2**63), "n"),
    ("n a string", chat(n="2"), "n"),
    ("stream a string", chat(stream="true"), "stream"),
    ("stream a number", chat(stream=1), "stream"),
    ("stream_options a list", chat(stream=True, stream_options=[]), "stream_options"),
    ("include_usage a string", chat(stream_options={"include_usage": "yes"}), "stream_options.include_usage"),
    ("service_tier a number", chat(service_tier=1), "service_tier"),
]  # fmt: skip
BAD_ELSEWHERE: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/completions", {"model": "gpt-3.5-turbo-instruct", "prompt": {"a": 1}}, "prompt"),
    ("/v1/completions", {"model": "gpt-3.5-turbo-instruct", "prompt": "x", "best_of": -1}, "best_of"),
    ("/v1/embeddings", {"model": "text-embedding-3-small"}, "input"),
    ("/v1/embeddings", {"model": "text-embedding-3-small", "input": 7}, "input"),
    ("/v1/responses", {"model": "gpt-4o-mini", "input": 7}, "input"),
    ("/v1/responses", {"model": "gpt-4o-mini", "input": "x", "max_output_tokens": 2**63}, "max_output_tokens"),
    ("/v1/responses", {"model": "gpt-4o-mini", "input": "x", "previous_response_id": 7}, "previous_response_id"),
    ("/v1/images/generations", {"prompt": "x"}, "model"),
    ("/v1/images/generations", {"model": "gpt-image-1"}, "prompt"),
    ("/v1/images/generations", {"model": "gpt-image-1", "prompt": ["x"]}, "prompt"),
    ("/v1/images/generations", {"model": "gpt-image-1", "prompt": "x", "n": 0}, "n"),
    ("/v1/images/generations", {"model": "gpt-image-1", "prompt": "x", "n": 10**9}, "n"),
    ("/v1/images/generations", {"model": "gpt-image-1", "prompt": "x", "n": "2"}, "n"),
    ("/v1/images/generations", {"model": "gpt-image-1", "prompt": "x", "size": 1024}, "size"),
    ("/v1/images/generations", {"model": "gpt-image-1", "prompt": "x", "stream": "true"}, "stream"),
    ("/v1/images/generations", {"model": "gpt-image-1", "prompt": "x", "partial_images": -1}, "partial_images"),
    ("/v1/images/generations", {"model": "gpt-4o", "messages": []}, "prompt"),
    ("/v1/audio/speech", {"model": "tts-1", "voice": "alloy"}, "input"),
    ("/v1/audio/speech", {"model": "tts-1", "voice": "alloy", "input": ["x"]}, "input"),
    ("/v1/audio/speech", {"input": "x", "voice": "alloy"}, "model"),
    ("/v1/audio/speech", {"model": "tts-1", "voice": "alloy", "input": "x", "instructions": 7}, "instructions"),
    ("/v1/audio/speech", {"model": "tts 1", "voice": "alloy", "input": "x"}, "model"),
    ("/v1/moderations", {"model": "omni-moderation-latest"}, "input"),
    ("/v1/moderations", {"input": 7}, "input"),
    ("/v1/moderations", {"input": "x", "model": 7}, "model"),
    ("/v1/moderations", {"input": "x", "model": ""}, "model"),
]


TWICE_ELSEWHERE: list[tuple[str, bytes, str]] = [
    ("/v1/images/generations", b'{"model":"gpt-image-1","prompt":"x","n":1,"n":9}', "n"),
    (
        "/v1/images/generations",
        b'{"model":"gpt-image-1","prompt":"x","quality":"low","qualit\\u0079":"high"}',
        "quality",
    ),
    ("/v1/images/generations", b'{"model":"gpt-image-1","prompt":"x","size":"1x1","size":"9x9"}', "size"),
    (
        "/v1/images/generations",
        b'{"model":"m","prompt":"x","output_format":"png","output_format":"svg"}',
        "output_format",
    ),
    ("/v1/audio/speech", b'{"model":"tts-1","voice":"a","input":"x","input":"xxxx"}', "input"),
    ("/v1/moderations", b'{"input":"x","model":"a","model":"gpt-4o"}', "model"),
]


async def test_bad_bodies_are_refused_by_name_and_cost_nothing(gateway: RunningGateway) -> None:
    key = await gateway.key(limits=[(Metric.REQUESTS, Interval.DAY, 1)])
    for name, body, param in BAD_BODIES:
        refused = await gateway.post(key, CHAT, body)
        error = refused.json()["error"]
        assert (refused.status_code, error["type"]) == (400, "invalid_request_error"), name
        assert error["param"] == param, name
        assert len(error["message"]) > 20 and "x-request-id" in refused.headers, name
    for path, twice, param in TWICE_ELSEWHERE:
        refused = await gateway.post(key, path, twice)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param), (path, twice)
    for path, body_elsewhere, param in BAD_ELSEWHERE:
        refused = await gateway.post(key, path, body_elsewhere)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param), (path, body_elsewhere)
    assert gateway.provider.requests == [] and await gateway.usage() == []
    gateway.provider.chat("Hello")
    assert (await gateway.chat(key)).status_code == 200
    await gateway.audit()


async def test_nesting_up_to_the_bound_is_served(gateway: RunningGateway) -> None:
    gateway.provider.chat("Hello")
    deep = chat()[:-1] + b',"x":' + b"[" * 126 + b"]" * 126 + b"}"
    brackets_in_text = chat(x="[" * 5_000)
    many = chat(x=[[]] * 5_000)
    for body in (deep, brackets_in_text, many):
        assert (await gateway.post(await gateway.key(), CHAT, body)).status_code == 200


async def test_unknown_model_is_not_found_where_no_upstream_takes_it(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    def only(main: Upstream) -> Upstream:
        return Upstream(main.name, main.provider, main.base_url, main.api_key, models=("gpt-*",))

    async with running_gateway(sqlite_url, provider, tmp_path, upstream=only) as gateway:
        refused = await gateway.chat(await gateway.key(), model="no-such-model")
        error = refused.json()["error"]
        assert (refused.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
        assert await gateway.usage() == []


async def test_body_over_the_cap_is_refused_whether_it_says_its_size_or_not(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    async def in_pieces() -> Any:
        for _ in range(40):
            yield b"x" * 1_000

    async with running_gateway(sqlite_url, provider, tmp_path, max_body_bytes=20_000) as gateway:
        key = await gateway.key()
        for content in (b"x" * 20_001, in_pieces()):
            refused = await gateway.http.post(CHAT, content=content, headers=bearer(key))
            assert (refused.status_code, refused.json()["error"]["code"]) == (413, "request_too_large")
        provider.chat("Hello")
        assert (await gateway.chat(key)).status_code == 200
        assert len(await gateway.usage()) == 1


async def test_bodies_over_the_memory_of_all_are_refused_for_now(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    async with running_gateway(sqlite_url, provider, tmp_path, max_bodies_bytes=1_000) as gateway:
        key = await gateway.key()
        provider.answer(200, JSON, completion())
        assert (await gateway.post(key, CHAT, chat(x="y" * 800))).status_code == 200
        assert (await gateway.post(key, CHAT, chat(x="y" * 800, n="?"))).status_code == 400
        refused = await gateway.post(key, CHAT, chat(x="y" * 2_000))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "service_unavailable")
        provider.chat("Hello")
        assert (await gateway.chat(key)).status_code == 200


async def test_compressed_body_is_refused(gateway: RunningGateway) -> None:
    refused = await gateway.post(await gateway.key(), CHAT, b"\x1f\x8b", **{"content-encoding": "gzip"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (415, "unsupported_content_encoding")


async def test_host_header_that_is_more_than_a_host_is_refused(gateway: RunningGateway) -> None:
    key = await gateway.key()
    for host in ("other/v1/organization/projects?", "a#b", "user@other", "a\\b"):
        refused = await gateway.post(key, CHAT, chat(), host=host)
        assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error"), host
    assert gateway.provider.requests == []
    gateway.provider.always(lambda _request: compose(200, JSON, completion()))
    for host in ("other", "[::1]:8080", "my_service.internal:80"):
        assert (await gateway.post(key, CHAT, chat(), host=host)).status_code == 200


async def test_body_is_not_read_without_a_key(gateway: RunningGateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n{")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)
    assert head.startswith(b"HTTP/1.1 401")
    writer.close()


async def test_bad_neighbours_do_not_disturb_good_calls(any_gateway: RunningGateway) -> None:
    any_gateway.provider.always(lambda _request: compose(200, JSON, completion()))
    key = await any_gateway.key(limits=[(Metric.REQUESTS, Interval.DAY, 1_000), (Metric.COST, Interval.DAY, 10**12)])
    bad = [body for _, body, _ in BAD_BODIES]
    good = [chat(model=name) for name in ("gpt-4o-mini", "gpt-4o", "o3")] * 10
    answers = await asyncio.gather(*(any_gateway.post(key, CHAT, body) for body in (*bad, *good)))
    assert [answer.status_code for answer in answers] == [400] * len(bad) + [200] * len(good)
    assert len(await any_gateway.usage()) == len(good)
    await any_gateway.audit()


async def test_header_that_is_odd_harms_nothing(any_gateway: RunningGateway) -> None:
    any_gateway.provider.chat("Hello")
    key = await any_gateway.key()
    odd = ("\xe9" * 10, "x" * 5_000, "a\tb", "'; DROP TABLE usage;--")
    for header in ("x-request-id", "user-agent", "openai-beta"):
        for value in odd:
            pairs = [(b"authorization", b"Bearer " + key.encode()), (header.encode(), value.encode("latin-1"))]
            answer = await any_gateway.http.post(CHAT, content=chat(), headers=pairs)
            assert answer.status_code == 200, value
    assert len(await any_gateway.usage()) == 12


async def test_half_of_a_surrogate_pair_is_sent_on_as_the_replacement_character(any_gateway: RunningGateway) -> None:
    any_gateway.provider.answer(200, JSON, completion())
    key = await any_gateway.key(limits=[(Metric.COST, Interval.DAY, 10**12)])
    body = chat(max_tokens=5).replace(b"Hi", b"\\ud83d\\ude00 \\ud83d \\\\ud83d")
    assert (await any_gateway.post(key, CHAT, body)).status_code == 200
    sent = (await any_gateway.provider.request()).body
    assert sent == body.replace(b" \\ud83d ", b" \\ufffd ")
    assert (await any_gateway.charged()).cost_nano_usd > 0
    await any_gateway.audit()


async def test_half_of_a_surrogate_pair_hides_nothing(gateway: RunningGateway) -> None:
    key = await gateway.key()
    body = b'{"model":"gpt-4o-mini","x":"\\ud83d","model":"gpt-4o","messages":[]}'
    refused = await gateway.post(key, CHAT, body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "model")
    assert gateway.provider.requests == []
