"""Audio written down by OpenAI's SDK: charged by tokens, by the provider's seconds, or by the length of the audio."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.core.limits import Interval, Metric
from gateway.core.sound import length_of
from gateway.settings import CatalogSettings
from tests.events import EVENT_STREAM, JSON, event
from tests.gateway import LimitSpec, RunningGateway, UsageRow, bearer, running_gateway
from tests.media import field, form, form_type, mp3, wav
from tests.provider import Cut, Provider, Step, compose

TRANSCRIPTIONS, TRANSLATIONS = "/v1/audio/transcriptions", "/v1/audio/translations"
PLENTY: list[LimitSpec] = [(Metric.COST, Interval.DAY, 10**10), (Metric.TOKENS, Interval.DAY, 10**6)]
SECOND = 100_000
"""What a second costs with whisper-1, in nano-USD."""


def asked(audio: bytes | None = None, **fields: str) -> bytes:
    words = {"model": "whisper-1"} | fields
    file = field("file", wav(2) if audio is None else audio, "a.wav", "Content-Type: audio/wav")
    return form(*[field(name, text) for name, text in words.items()], file)


def figures(row: UsageRow) -> tuple[Any, ...]:
    return row.source, row.input_tokens, row.output_tokens, row.audio_ms, row.cost_nano_usd


async def test_audio_is_charged_by_the_seconds_that_the_provider_says(any_gateway: RunningGateway) -> None:
    answer = b'{"text":"Hello.","usage":{"type":"duration","seconds":8.47}}'
    any_gateway.provider.answer(200, JSON, answer)
    client = any_gateway.openai(await any_gateway.key(limits=PLENTY))
    heard = await client.audio.transcriptions.create(
        model="whisper-1", file=("talk.mp3", mp3(8)), prompt="A talk.", language="en", temperature=0.2
    )
    assert heard.text == "Hello." and heard.usage is not None and heard.usage.type == "duration"
    sent = await any_gateway.provider.request()
    assert sent.path == "/v1/audio/transcriptions" and mp3(8) in sent.body
    row = await any_gateway.charged()
    assert figures(row) == ("reported", 0, 0, 8_470, 847_000) and row.operation == "audio.transcriptions"
    await any_gateway.audit()


async def test_audio_is_charged_by_the_tokens_that_the_provider_says(any_gateway: RunningGateway) -> None:
    usage = {"type": "tokens", "input_tokens": 24, "input_token_details": {"audio_tokens": 20, "text_tokens": 4}}
    body = {"text": "Hello.", "usage": usage | {"output_tokens": 7, "total_tokens": 31}}
    any_gateway.provider.answer(200, JSON, json.dumps(body).encode())
    client = any_gateway.openai(await any_gateway.key(limits=PLENTY))
    heard = await client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", wav(2)))
    assert heard.text == "Hello."
    row = await any_gateway.charged()
    assert figures(row) == ("reported", 24, 7, 2_000, 4 * 2_500 + 20 * 6_000 + 7 * 10_000)
    assert row.input_audio_tokens == 20
    await any_gateway.audit()


def transcript_events(usage: dict[str, Any] | None) -> list[bytes]:
    bodies: list[dict[str, Any]] = [
        {"type": "transcript.text.delta", "delta": word} for word in ("Good", " morning", ".")
    ]
    bodies.append({"type": "transcript.text.done", "text": "Good morning."} | ({"usage": usage} if usage else {}))
    return [event(body) for body in bodies]


async def test_streamed_transcript_comes_as_it_is_heard_and_its_end_waits_for_the_ledger(
    any_gateway: RunningGateway,
) -> None:
    usage = {"type": "tokens", "input_tokens": 20, "input_token_details": {"audio_tokens": 20}, "output_tokens": 3}
    events = transcript_events(usage | {"total_tokens": 23})
    heard = asyncio.Event()
    any_gateway.provider.answer(200, EVENT_STREAM, [*events[:-1], heard, events[-1]], framing="chunked")
    client = any_gateway.openai(await any_gateway.key(limits=PLENTY))
    stream = await client.audio.transcriptions.create(
        model="gpt-4o-mini-transcribe", file=("a.wav", wav(2)), stream=True
    )
    text = ""
    async for one in stream:
        if one.type == "transcript.text.delta":
            text += one.delta
            assert await any_gateway.usage() == []
            if text == "Good morning.":
                heard.set()
        else:
            assert one.type == "transcript.text.done" and len(await any_gateway.usage()) == 1
    assert b'name="stream"\r\n\r\ntrue' in (await any_gateway.provider.request()).body
    assert figures(await any_gateway.charged()) == ("reported", 20, 3, 2_000, 20 * 3_000 + 3 * 5_000)


async def test_streamed_transcript_without_figures_is_counted(gateway: RunningGateway) -> None:
    whole: list[Step] = [*transcript_events(None)]
    for steps in (whole, [*whole[:3], Cut.RESET]):
        gateway.provider.answer(200, EVENT_STREAM, steps, framing="chunked")
        body = asked(model="gpt-4o-transcribe", stream="true")
        await gateway.post(await gateway.key(limits=PLENTY), TRANSCRIPTIONS, body, **form_type())
    for row in await gateway.usage():
        # 20 tokens of audio, and a quarter of the bytes of the fields beside it.
        assert figures(row) == ("counted", 25, 3, 2_000, 5 * 2_500 + 20 * 6_000 + 3 * 10_000)


ANSWERS_WITHOUT_FIGURES = [
    ("text", "text/plain; charset=utf-8", b"Good morning.\n"),
    ("srt", "text/plain; charset=utf-8", b"1\n00:00:00,000 --> 00:00:02,000\nGood morning.\n\n"),
    ("vtt", "text/vtt", b"WEBVTT\n\n00:00.000 --> 00:02.000\nGood morning.\n\n"),
    ("json", "application/json", b'{"text":"Good morning."}'),
]


@pytest.mark.parametrize(("response_format", "content_type", "answer"), ANSWERS_WITHOUT_FIGURES)
async def test_audio_without_figures_is_charged_by_its_own_length(
    gateway: RunningGateway, response_format: str, content_type: str, answer: bytes
) -> None:
    gateway.provider.always(lambda _request: compose(200, {"content-type": content_type}, answer))
    key = await gateway.key(limits=PLENTY)
    for path in (TRANSCRIPTIONS, TRANSLATIONS):
        made = await gateway.post(key, path, asked(response_format=response_format), **form_type())
        assert (made.status_code, made.content, made.headers["content-type"]) == (200, answer, content_type)
        assert made.headers["x-gateway-cost-usd"] == "0.0002"
    rows = await gateway.usage()
    assert [figures(row) for row in rows] == [("counted", 0, 0, 2_000, 2 * SECOND)] * 2
    assert [row.operation for row in rows] == ["audio.transcriptions", "audio.translations"]
    await gateway.audit()


async def test_subtitles_come_by_the_sdk_too(gateway: RunningGateway) -> None:
    gateway.provider.always(lambda _request: compose(200, {"content-type": "text/plain"}, b"WEBVTT\n\nHello"))
    client = gateway.openai(await gateway.key(limits=PLENTY))
    subtitles = await client.audio.transcriptions.create(
        model="whisper-1", file=("a.wav", wav(2)), response_format="vtt", timestamp_granularities=["segment"]
    )
    with pytest.warns(DeprecationWarning):
        text = await client.audio.translations.create(model="whisper-1", file=("a.wav", wav(2)), response_format="text")
    assert subtitles == text == "WEBVTT\n\nHello"


async def test_long_form_of_an_answer_tells_its_length(gateway: RunningGateway) -> None:
    verbose = {"task": "translate", "language": "english", "duration": 61.5, "text": "Good morning.", "segments": []}
    gateway.provider.answer(200, JSON, json.dumps(verbose).encode())
    client = gateway.openai(await gateway.key(limits=PLENTY))
    with pytest.warns(DeprecationWarning):
        made = await client.audio.translations.create(
            model="whisper-1", file=("a.mp3", mp3(60)), response_format="verbose_json"
        )
    assert made.duration == 61.5
    assert figures(await gateway.charged()) == ("reported", 0, 0, 61_500, 6_150_000)


async def test_file_that_tells_no_length_is_charged_for_the_longest_it_can_be(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, {"content-type": "text/plain"}, b"Hello")
    body = asked(b"\x1a\x45\xdf\xa3" + bytes(7_496), response_format="text")
    await gateway.post(await gateway.key(limits=PLENTY), TRANSCRIPTIONS, body, **form_type())
    assert figures(await gateway.charged()) == ("counted", 0, 0, 10_000, 10 * SECOND)


@pytest.mark.parametrize(
    "usage",
    [
        b'{"type":"duration","seconds":-1}', b'{"type":"duration","seconds":1e300}', b'{"type":"duration"}',
        b'{"type":"tokens","input_tokens":-5,"output_tokens":1}', b'{"type":"duration","seconds":"x"}', b"{}", b"null",
        b'{"type":"tokens","input_tokens":9e18,"output_tokens":1}',
    ],
)  # fmt: skip
async def test_figures_that_cannot_be_are_not_believed(gateway: RunningGateway, usage: bytes) -> None:
    gateway.provider.answer(200, JSON, b'{"text":"Hello","usage":' + usage + b"}")
    await gateway.post(await gateway.key(limits=PLENTY), TRANSCRIPTIONS, asked(), **form_type())
    assert figures(await gateway.charged()) == ("counted", 0, 0, 2_000, 2 * SECOND)


async def test_budget_by_the_minute_lets_exactly_as_many_through_as_fit(any_gateway: RunningGateway) -> None:
    any_gateway.provider.always(lambda _request: compose(200, JSON, b'{"text":"Hello"}'))
    key = await any_gateway.key(limits=[(Metric.COST, Interval.DAY, 5 * 2 * SECOND + 2 * SECOND - 1)])
    calls = [any_gateway.post(key, TRANSCRIPTIONS, asked(), **form_type()) for _ in range(40)]
    statuses = sorted([answer.status_code for answer in await asyncio.gather(*calls)])
    assert statuses == [200] * 5 + [429] * 35 and len(any_gateway.provider.requests) == 5
    await any_gateway.audit()


async def test_compressed_audio_is_held_for_the_longest_it_can_be(gateway: RunningGateway) -> None:
    most_ms = length_of(mp3(10)).most_ms
    assert 10_000 <= most_ms < 10_500
    most = most_ms * SECOND // 1000
    key = await gateway.key(limits=[(Metric.COST, Interval.DAY, most - 1)])
    refused = await gateway.post(key, TRANSCRIPTIONS, asked(mp3(10)), **form_type())
    assert refused.status_code == 429
    roomy = await gateway.key(limits=[(Metric.COST, Interval.DAY, most)])
    gateway.provider.answer(200, JSON, b'{"text":"Hello"}')
    assert (await gateway.post(roomy, TRANSCRIPTIONS, asked(mp3(10)), **form_type())).status_code == 200
    assert (await gateway.charged()).cost_nano_usd == 10 * SECOND


async def test_audio_by_the_token_is_held_under_limits_on_tokens_and_by_the_minute_is_not(
    gateway: RunningGateway,
) -> None:
    key = await gateway.key(limits=[(Metric.TOKENS, Interval.DAY, 100)])
    refused = await gateway.post(key, TRANSCRIPTIONS, asked(model="gpt-4o-transcribe"), **form_type())
    assert refused.status_code == 429
    gateway.provider.answer(200, JSON, b'{"text":"Hello"}')
    assert (await gateway.post(key, TRANSCRIPTIONS, asked(), **form_type())).status_code == 200


async def test_model_without_a_price_is_refused_where_a_limit_depends_on_it(gateway: RunningGateway) -> None:
    for metric, code in ((Metric.COST, "model_not_priced"), (Metric.INPUT_TOKENS, "route_not_priced")):
        key = await gateway.key(limits=[(metric, Interval.DAY, 10**12)])
        refused = await gateway.post(key, TRANSCRIPTIONS, asked(model="own-ears"), **form_type())
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, code)
    gateway.provider.answer(200, JSON, b'{"text":"Hello"}')
    answer = await gateway.post(await gateway.key(), TRANSCRIPTIONS, asked(model="own-ears"), **form_type())
    assert answer.status_code == 200 and "x-gateway-cost-usd" not in answer.headers
    assert figures(await gateway.charged()) == ("counted", 0, 0, 2_000, None)


async def test_model_with_a_price_a_minute_of_ones_own_is_charged_by_it(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    catalog = CatalogSettings(prices={"own-ears": {"audio_minute": "0.03"}}, aliases={"ears": "own-ears"})
    provider.answer(200, JSON, b'{"text":"Hello"}')
    async with running_gateway(sqlite_url, provider, tmp_path, catalog=catalog) as gateway:
        key = await gateway.key(limits=PLENTY)
        await gateway.post(key, TRANSCRIPTIONS, asked(model="ears"), **form_type())
        assert (await provider.request()).body == asked(model="own-ears")
        assert (await gateway.charged()).cost_nano_usd == 2 * 500_000


async def test_audio_over_the_cap_of_forms_is_refused_as_it_comes(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    async def in_pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield bytes(1_000)

    async with running_gateway(sqlite_url, provider, tmp_path, max_form_bytes=70_000) as gateway:
        key = await gateway.key()
        for content in (asked(wav(3)), in_pieces()):
            refused = await gateway.http.post(TRANSCRIPTIONS, content=content, headers=bearer(key) | form_type())
            assert (refused.status_code, refused.json()["error"]["code"]) == (413, "request_too_large")
        provider.answer(200, JSON, b'{"text":"Hello"}')
        assert (await gateway.post(key, TRANSCRIPTIONS, asked(), **form_type())).status_code == 200
        provider.chat("Hello")
        assert (await gateway.chat(key, x="y" * 80_000)).status_code == 200  # the cap of JSON is its own


async def test_forms_over_the_memory_of_all_are_refused_for_now(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    async with running_gateway(sqlite_url, provider, tmp_path, max_bodies_bytes=70_000) as gateway:
        key = await gateway.key()
        refused = await gateway.post(key, TRANSCRIPTIONS, asked(wav(3)), **form_type())
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "service_unavailable")
        assert (await gateway.post(key, TRANSCRIPTIONS, asked(model=""), **form_type())).status_code == 400
        provider.answer(200, JSON, b'{"text":"Hello"}')
        assert (await gateway.post(key, TRANSCRIPTIONS, asked(), **form_type())).status_code == 200


async def test_error_of_the_provider_costs_nothing(gateway: RunningGateway) -> None:
    error = b'{"error":{"message":"Invalid file format.","type":"invalid_request_error","param":null,"code":null}}'
    gateway.provider.answer(400, JSON, error)
    answer = await gateway.post(await gateway.key(limits=PLENTY), TRANSCRIPTIONS, asked(), **form_type())
    assert (answer.status_code, answer.content) == (400, error)
    assert figures(await gateway.charged()) == ("reported", 0, 0, 0, 0)
