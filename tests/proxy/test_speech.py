"""Text read aloud by OpenAI's SDK: sound passes as it comes, and its end waits for the ledger."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.core.call import Head
from gateway.core.limits import Interval, Metric
from gateway.core.rates import Unit
from gateway.dialects.speech import Speech
from gateway.settings import CatalogSettings
from tests.events import EVENT_STREAM, JSON, event
from tests.gateway import LimitSpec, RunningGateway, UsageRow, bearer, running_gateway
from tests.media import mp3, wav
from tests.patience import PATIENCE_SECONDS
from tests.provider import Cut, Provider, compose

SPEECH = "/v1/audio/speech"
MP3 = {"content-type": "audio/mpeg"}
TEXT = "Grüß Gott, Welt!"
PLENTY: list[LimitSpec] = [(Metric.COST, Interval.DAY, 10**10), (Metric.TOKENS, Interval.DAY, 10**6)]


def asked(**fields: Any) -> dict[str, Any]:
    return {"model": "tts-1", "voice": "alloy", "input": TEXT, **fields}


def figures(row: UsageRow) -> tuple[Any, ...]:
    return row.source, row.input_tokens, row.output_tokens, row.characters, row.cost_nano_usd


async def test_speech_by_the_character_is_charged_exactly(any_gateway: RunningGateway) -> None:
    sound = mp3(2)
    any_gateway.provider.answer(200, MP3, sound)
    client = any_gateway.openai(await any_gateway.key(limits=PLENTY))
    spoken = await client.audio.speech.create(model="tts-1", voice="alloy", input=TEXT)
    assert spoken.content == sound and spoken.response.headers["content-type"] == "audio/mpeg"
    assert (await any_gateway.provider.request()).json() == asked()
    row = await any_gateway.charged()
    assert (row.operation, row.audio_ms) == ("audio.speech", 2_000)
    assert figures(row) == ("counted", 0, 0, 16, 240_000)
    await any_gateway.audit()


async def test_sound_passes_as_it_comes_and_its_end_waits_for_the_ledger(gateway: RunningGateway) -> None:
    pieces = [wav(1)[at : at + 8_000] for at in range(0, len(wav(1)), 8_000)]
    more, end = asyncio.Event(), asyncio.Event()
    gateway.provider.answer(200, {"content-type": "audio/wav"}, [pieces[0], more, *pieces[1:], end], framing="chunked")
    client = gateway.openai(await gateway.key(limits=PLENTY))
    heard = b""
    async with client.audio.speech.with_streaming_response.create(
        model="tts-1-hd", voice="nova", input=TEXT, response_format="wav"
    ) as spoken:
        async for piece in spoken.iter_bytes():
            if not heard:
                assert piece == pieces[0] and not more.is_set()
                more.set()
            heard += piece
            if heard == wav(1):
                assert await gateway.usage() == []
                end.set()
    assert heard == wav(1)
    assert figures(await gateway.charged()) == ("counted", 0, 0, 16, 480_000)


async def test_nothing_large_is_kept_of_sound_that_nobody_hears_yet(gateway: RunningGateway) -> None:
    piece, pieces = b"\xff\xfb" + bytes(999_998), 60
    gateway.provider.answer(200, MP3, [piece] * pieces, framing="chunked")
    key = await gateway.key()
    async with asyncio.timeout(PATIENCE_SECONDS):
        async with gateway.http.stream("POST", SPEECH, json=asked(), headers=bearer(key)) as spoken:
            heard = sum([len(part) async for part in spoken.aiter_raw()])
    assert heard == len(piece) * pieces
    assert (await gateway.charged()).characters == 16


@pytest.mark.parametrize(
    ("content_type", "sound", "tokens"),
    [
        ("audio/mpeg", mp3(3), 60),
        ("audio/wav", wav(3), 60),
        ("audio/pcm", bytes(3 * 48_000), 60),
        ("audio/opus", b"OggS" + bytes(900), 27),  # by the text: 18 bytes of it
    ],
)
async def test_speech_by_the_token_is_charged_by_its_sound_or_by_its_text(
    gateway: RunningGateway, content_type: str, sound: bytes, tokens: int
) -> None:
    gateway.provider.answer(200, {"content-type": content_type}, sound)
    await gateway.post(await gateway.key(limits=PLENTY), SPEECH, asked(model="gpt-4o-mini-tts"))
    row = await gateway.charged()
    prompt = row.input_tokens
    assert 5 <= prompt <= 8
    assert figures(row) == ("counted", prompt, tokens, 16, prompt * 600 + tokens * 12_000)
    assert row.output_audio_tokens == tokens
    await gateway.audit()


def speech_events(usage: dict[str, int] | None) -> list[bytes]:
    sound = base64.b64encode(mp3(1)).decode()
    done = {"type": "speech.audio.done"} | ({"usage": usage} if usage else {})
    return [event({"type": "speech.audio.delta", "audio": sound}) for _ in range(3)] + [event(done)]


async def test_speech_in_events_is_charged_by_the_last_of_them(any_gateway: RunningGateway) -> None:
    events = speech_events({"input_tokens": 14, "output_tokens": 101, "total_tokens": 115})
    any_gateway.provider.answer(200, EVENT_STREAM, list(events), framing="chunked")
    client = any_gateway.openai(await any_gateway.key(limits=PLENTY))
    async with client.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", voice="coral", input=TEXT, instructions="Softly.", stream_format="sse"
    ) as spoken:
        assert await spoken.read() == b"".join(events)
    assert figures(await any_gateway.charged()) == ("reported", 14, 101, 16, 14 * 600 + 101 * 12_000)
    await any_gateway.audit()


async def test_sound_that_comes_though_events_were_asked_for_passes_as_sound(gateway: RunningGateway) -> None:
    more = asyncio.Event()
    gateway.provider.answer(200, MP3, [mp3(1), more, b"\n\nx"], framing="chunked")
    key = await gateway.key(limits=PLENTY)
    body = asked(stream_format="sse")
    async with gateway.http.stream("POST", SPEECH, json=body, headers=bearer(key)) as spoken:
        heard = b""
        async for piece in spoken.aiter_raw():
            heard += piece
            more.set()
    assert heard == mp3(1) + b"\n\nx"
    assert figures(await gateway.charged()) == ("counted", 0, 0, 16, 240_000)


async def test_voice_that_another_made_does_not_exist(gateway: RunningGateway) -> None:
    refused = await gateway.post(await gateway.key(), SPEECH, asked(voice={"id": "voice_1234"}))
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")


async def test_speech_in_events_that_breaks_off_is_charged_as_its_text(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, EVENT_STREAM, [speech_events(None)[0], Cut.RESET], framing="chunked")
    fields = asked(model="gpt-4o-mini-tts", stream_format="sse")
    answer = await gateway.post(await gateway.key(limits=PLENTY), SPEECH, fields)
    assert b'"upstream_broken"' in answer.content
    row = await gateway.charged()
    assert (row.outcome, row.source, row.output_tokens) == ("upstream_failed", "counted", 27)


async def test_sound_that_breaks_off_ends_without_its_end_and_is_charged(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, MP3, [mp3(1), Cut.CLOSE], framing="chunked")
    with pytest.raises(httpx.RemoteProtocolError):
        await gateway.post(await gateway.key(limits=PLENTY), SPEECH, asked())
    row = await gateway.charged()
    assert (row.outcome, *figures(row)) == ("upstream_failed", "counted", 0, 0, 16, 240_000)
    await gateway.audit()
    gateway.provider.answer(200, MP3, mp3(1))
    assert (await gateway.post(await gateway.key(), SPEECH, asked())).status_code == 200


async def test_client_that_hangs_up_on_sound_is_charged_for_its_text(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, MP3, [mp3(1), Cut.HANG], framing="chunked")
    key = await gateway.key(limits=PLENTY)
    async with gateway.http.stream("POST", SPEECH, json=asked(), headers=bearer(key)) as spoken:
        async for _ in spoken.aiter_raw():
            break
    row = await gateway.charged()
    assert (row.outcome, *figures(row)) == ("client_left", "counted", 0, 0, 16, 240_000)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await (await gateway.provider.request()).closed()
    await gateway.audit()


async def test_budget_by_the_character_lets_exactly_as_many_through_as_fit(any_gateway: RunningGateway) -> None:
    any_gateway.provider.always(lambda _request: compose(200, MP3, mp3(1)))
    key = await any_gateway.key(limits=[(Metric.COST, Interval.DAY, 5 * 240_000 + 239_999)])
    answers = await asyncio.gather(*(any_gateway.post(key, SPEECH, asked()) for _ in range(40)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 35
    assert len(any_gateway.provider.requests) == 5
    await any_gateway.audit()


async def test_speech_by_the_token_is_held_for_the_slowest_that_it_can_be(gateway: RunningGateway) -> None:
    most = 200 + 4 * len(TEXT.encode())
    body = json.dumps(asked()).encode()
    call = Speech().parse(body, Head())
    assert call.output_cap == most and call.media is not None
    assert (call.media.unit, call.media.characters, call.media.output_tokens) == (Unit.CHARACTERS, 16, 27)
    key = await gateway.key(limits=[(Metric.OUTPUT_TOKENS, Interval.DAY, most - 1)])
    assert (await gateway.post(key, SPEECH, asked(model="gpt-4o-mini-tts"))).status_code == 429
    gateway.provider.answer(200, MP3, mp3(1))
    # One that is paid by the character uses no tokens and none are held.
    assert (await gateway.post(key, SPEECH, asked())).status_code == 200


async def test_voice_without_a_price_is_refused_where_a_limit_depends_on_it(gateway: RunningGateway) -> None:
    for metric, code in ((Metric.COST, "model_not_priced"), (Metric.TOKENS, "route_not_priced")):
        key = await gateway.key(limits=[(metric, Interval.DAY, 10**12)])
        refused = await gateway.post(key, SPEECH, asked(model="own-voice"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, code)
    gateway.provider.answer(200, MP3, mp3(1))
    assert (await gateway.post(await gateway.key(), SPEECH, asked(model="own-voice"))).status_code == 200
    assert figures(await gateway.charged()) == ("counted", 0, 0, 16, None)


async def test_voice_with_a_price_of_ones_own_is_charged_by_it(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    catalog = CatalogSettings(prices={"own-*": {"characters": "2.5"}}, aliases={"reader": "own-voice"})
    provider.answer(200, MP3, mp3(1))
    async with running_gateway(sqlite_url, provider, tmp_path, catalog=catalog) as gateway:
        key = await gateway.key(limits=PLENTY)
        assert (await gateway.post(key, SPEECH, asked(model="reader"))).status_code == 200
        assert (await provider.request()).json() == asked(model="own-voice")
        assert figures(await gateway.charged()) == ("counted", 0, 0, 16, 40_000)


async def test_error_of_the_provider_costs_nothing(gateway: RunningGateway) -> None:
    error = b'{"error":{"message":"Voice not found.","type":"invalid_request_error","param":"voice","code":null}}'
    gateway.provider.answer(400, JSON, error)
    answer = await gateway.post(await gateway.key(limits=PLENTY), SPEECH, asked(voice="x"))
    assert (answer.status_code, answer.content) == (400, error)
    assert figures(await gateway.charged()) == ("reported", 0, 0, 0, 0)
