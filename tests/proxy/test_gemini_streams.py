"""Google's streams, in events and in one array: their bytes, their figures, their end, and how they break off."""

import asyncio
import json
from collections.abc import AsyncIterator, Container
from pathlib import Path
from typing import Any

import pytest

from gateway.core.call import Call
from gateway.core.json_array import ArrayBuffer
from gateway.dialects.generate_content import GenerateContent
from gateway.proxy.meter import Meter
from tests.events import EVENT_STREAM
from tests.gateway import RunningGateway, bearer
from tests.gemini_answers import (
    ARRAY_JSON,
    EVENTS,
    STREAM,
    array,
    asking,
    event,
    figures,
    gemini_gateway,
    piece,
    streams,
    streams_array,
    words,
)
from tests.provider import Cut, Provider
from tests.recorded import Recorded, gemini_streams, odd_pieces, pieces

RECORDED = gemini_streams()


@pytest.fixture
async def google(sqlite_url: str, provider: Provider, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A gateway in front of Google."""
    async with gemini_gateway(sqlite_url, provider, tmp_path) as running:
        yield running


def billed(usage: dict[str, Any]) -> tuple[int, int]:
    """Input and output tokens of a usage block, as Google bills them."""
    given = usage.get("promptTokenCount", 0) + usage.get("toolUsePromptTokenCount", 0)
    return given, usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0)


def as_array(recorded: Recorded) -> list[bytes]:
    """The same answer as Google would have sent it without `alt=sse`."""
    return array(recorded.bodies)


@pytest.mark.parametrize("cut", ["whole", "bytes", "odd"])
@pytest.mark.parametrize("form", ["events", "array"])
@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: recorded.name)
def test_recorded_stream_is_metered_alike_whatever_form_and_pieces_it_comes_in(
    recorded: Recorded, form: str, cut: str
) -> None:
    stream = recorded.stream if form == "events" else b"".join(as_array(recorded))
    cuts = {"whole": [stream], "bytes": pieces(stream, 1), "odd": odd_pieces(stream)}[cut]
    call = Call(operation="generate_content", model="gemini-2.5-flash", body=b"", streams=True, wants_usage=True)
    buffer = ArrayBuffer() if form == "array" else None
    meter = Meter(GenerateContent("v1beta", streams=True), call, asked_usage=True, count=len, array=buffer)
    assert b"".join(map(meter.feed, cuts)) + meter.finish() == stream
    assert meter.usage is not None
    assert (meter.usage.input_tokens, meter.usage.output_tokens) == billed(recorded.bodies[-1]["usageMetadata"])
    assert not meter.usage.is_clamped


async def test_recorded_streams_come_back_as_they_were_and_are_charged(google: RunningGateway) -> None:
    key = await google.key()
    calls = 0
    for recorded in RECORDED:
        for path, kind, sent in (
            (EVENTS, EVENT_STREAM, pieces(recorded.stream, 101)),
            (STREAM, ARRAY_JSON, odd_pieces(b"".join(as_array(recorded)))),
        ):
            google.provider.answer(200, kind, [part for part in sent if part], framing="chunked")
            answer = await google.post(key, path, asking())
            assert answer.content == b"".join(sent), recorded.name
            calls += 1
            row = (await google.usage(calls))[-1]
            assert (row.input_tokens, row.output_tokens) == billed(recorded.bodies[-1]["usageMetadata"])
            assert (row.source, row.outcome) == ("reported", "completed")


async def test_array_comes_as_it_was_element_by_element(google: RunningGateway) -> None:
    hold = asyncio.Event()
    first, *others = array(words("Hel", 'lo "}"', "\\ {"))
    google.provider.answer(200, ARRAY_JSON, [first[:20], first[20:], hold, *others], framing="chunked")
    async with google.http.stream("POST", STREAM, json=asking(), headers=bearer(await google.key())) as answer:
        assert answer.headers["content-type"] == ARRAY_JSON["content-type"]
        got = answer.aiter_bytes()
        assert await anext(got) == first
        hold.set()
        rest = b"".join([part async for part in got])
    assert rest == b"".join(others)
    assert (await google.provider.request()).path == "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
    row = await google.charged()
    assert (row.input_tokens, row.output_tokens, row.source) == (10, 3, "reported")


async def test_end_of_a_stream_comes_when_the_call_is_charged(google: RunningGateway) -> None:
    key = await google.key()
    for number, (path, send) in enumerate([(EVENTS, streams), (STREAM, streams_array)] * 5, 1):
        send(google.provider, words("Hel", "lo"))
        assert (await google.post(key, path, asking())).status_code == 200
        assert len(await google.usage()) == number


async def test_error_in_the_stream_passes_and_what_was_delivered_is_charged(google: RunningGateway) -> None:
    figures_of_the_prompt = figures(10, None)
    failed = {"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}}
    streams(google.provider, [piece({"text": "word " * 40}, usage=figures_of_the_prompt), failed])
    answer = await google.post(await google.key(), EVENTS, asking())
    assert answer.content.endswith(event(failed))
    row = await google.charged()
    assert row.input_tokens == 10 and 40 <= row.output_tokens <= 80
    assert (row.source, row.outcome) == ("counted", "upstream_failed")


@pytest.mark.parametrize("path", [EVENTS, STREAM], ids=["events", "array"])
async def test_stream_that_never_tells_its_output_is_charged_what_was_delivered(
    google: RunningGateway, path: str
) -> None:
    send = streams if path == EVENTS else streams_array
    told = {"promptTokenCount": 10, "totalTokenCount": 10}
    send(google.provider, [piece({"text": "word " * 20}, usage=told), piece({"text": "word " * 20}, usage=told)])
    await google.post(await google.key(), path, asking())
    row = await google.charged()
    assert row.input_tokens == 10 and 40 <= row.output_tokens <= 80
    assert (row.source, row.outcome) == ("counted", "completed")


async def test_figures_of_a_blocked_prompt_are_the_providers(google: RunningGateway) -> None:
    told = {"promptTokenCount": 10, "totalTokenCount": 10}
    streams(google.provider, [{"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": told}])
    await google.post(await google.key(), EVENTS, asking())
    row = await google.charged()
    assert (row.input_tokens, row.output_tokens, row.source, row.outcome) == (10, 0, "reported", "completed")


async def test_figures_of_the_prompt_with_the_answers_end_are_the_providers(google: RunningGateway) -> None:
    told = {"promptTokenCount": 10, "totalTokenCount": 10}
    streams(google.provider, [piece({"text": "word"}, finish="RECITATION", usage=told)])
    await google.post(await google.key(), EVENTS, asking())
    row = await google.charged()
    assert (row.input_tokens, row.output_tokens, row.source) == (10, 0, "reported")


async def test_stream_that_breaks_off_ends_with_an_error_of_ours(google: RunningGateway) -> None:
    key = await google.key()
    one, two = words("Hello there, ", "you")
    google.provider.answer(200, EVENT_STREAM, [event(one), event(two)[:30], Cut.RESET], framing="chunked")
    answer = await google.post(key, EVENTS, asking())
    assert answer.content.startswith(event(one) + b"data: {")
    error = json.loads(answer.content[len(event(one)) + 6 :])["error"]
    assert (error["code"], error["status"]) == (502, "UNAVAILABLE")
    elements = array([one, two])
    google.provider.answer(200, ARRAY_JSON, [elements[0], elements[1][:30], Cut.RESET], framing="chunked")
    answer = await google.post(key, STREAM, asking())
    assert answer.json()[0] == one
    assert answer.json()[1]["error"]["status"] == "UNAVAILABLE"
    google.provider.answer(200, ARRAY_JSON, [b"[", Cut.RESET], framing="chunked")
    (only,) = (await google.post(key, STREAM, asking())).json()
    assert only["error"]["status"] == "UNAVAILABLE"
    rows = await google.usage(3)
    assert [row.outcome for row in rows] == ["upstream_failed"] * 3
    # The model thinks before it writes: also where not a word came, it is charged what it thinks on average.
    assert all(row.input_tokens > 0 and row.output_tokens > 0 for row in rows)


@pytest.mark.parametrize(
    ("figures_then", "output", "source"),
    [({"promptTokenCount": 10, "totalTokenCount": 10}, range(8, 13), "counted"), (figures(10, 9), [9], "reported")],
    ids=["without figures of the answer", "with them"],
)
@pytest.mark.parametrize("path", [EVENTS, STREAM], ids=["events", "array"])
async def test_client_that_leaves_is_charged_what_it_got(
    google: RunningGateway, path: str, figures_then: dict[str, Any], output: Container[int], source: str
) -> None:
    first, *_ = words("Hello there, and how are you today? ", "Well")
    first["usageMetadata"] = figures_then
    body = event(first) if path == EVENTS else array([first])[0]
    kind = EVENT_STREAM if path == EVENTS else ARRAY_JSON
    google.provider.answer(200, kind, [body, Cut.HANG], framing="chunked")
    model = path.replace("gemini-2.5-flash", "gemini-2.0-flash")  # one that does not think: the call ends at once
    async with google.http.stream("POST", model, json=asking(), headers=bearer(await google.key())) as answer:
        assert await anext(answer.aiter_bytes()) == body
    row = await google.charged()
    assert (row.outcome, row.source, row.input_tokens) == ("client_left", source, 10)
    assert row.output_tokens in output


async def test_searches_are_charged_though_the_last_piece_has_only_figures(google: RunningGateway) -> None:
    key = await google.key()
    queries = {"webSearchQueries": ["who won", "", "who won", "score"]}
    for model, searches in (("gemini-2.5-flash", 1), ("gemini-3.5-flash", 2)):
        grounded = piece({"text": "They did."}, finish="STOP", groundingMetadata=queries) | {"modelVersion": model}
        last = {"usageMetadata": figures(100, 10), "modelVersion": model}
        streams(google.provider, [grounded, last])
        answer = await google.post(key, EVENTS.replace("gemini-2.5-flash", model), asking())
        assert answer.status_code == 200
        row = (await google.usage(searches))[-1]
        tokens, search = {1: (30_000 + 25_000, 35_000_000), 2: (150_000 + 90_000, 14_000_000)}[searches]
        assert row.cost_nano_usd == tokens + searches * search
