"""Bytes pass unchanged: the client's unless something must change, the provider's always."""

import asyncio
import gzip
import json
import zlib
from typing import Any

from tests.events import DONE, EVENT_STREAM, JSON, chunk, completion, usage, usage_chunk
from tests.gateway import MODEL, RunningGateway, bearer, chat_body
from tests.patience import PATIENCE_SECONDS
from tests.provider import Cut, Step

ODD_BODY = (
    b' {"messages" : [ {"role":"user","content":"\\u00e9 \xc3\xa9 <|endoftext|>"} ],\r\n\t'
    b'"model":"gpt-4o-mini","temperature":1.0e0, "x_unknown":{"n":[1,2,{"max_tokens":-1}]},'
    b'"seed":123456789012345678901234567890'
)
CHUNKS = [chunk("Hel"), chunk("lo"), chunk(finish="stop"), usage_chunk(10, 2), DONE]


async def streamed(gateway: RunningGateway, steps: list[Any], headers: Any = EVENT_STREAM, **fields: Any) -> bytes:
    """Stream a chat of which the provider sends these steps; return every byte that the client got."""
    gateway.provider.answer(200, headers, list(steps), framing="chunked")
    answer = await gateway.chat(await gateway.key(), stream=True, **fields)
    assert answer.status_code == 200
    return answer.content


async def test_request_body_is_forwarded_byte_for_byte(gateway: RunningGateway) -> None:
    gateway.provider.chat("Hello")
    body = ODD_BODY + b"}\n"
    assert (await gateway.post(await gateway.key(), "/v1/chat/completions", body)).status_code == 200
    assert (await gateway.provider.request()).body == body


async def test_request_body_that_asks_for_usage_is_forwarded_byte_for_byte(gateway: RunningGateway) -> None:
    gateway.provider.chat("Hello")
    body = ODD_BODY + b', "stream" : true, "stream_options":{ "include_usage":true, "include_obfuscation" : false}}'
    assert (await gateway.post(await gateway.key(), "/v1/chat/completions", body)).status_code == 200
    assert (await gateway.provider.request()).body == body


async def test_request_body_of_a_stream_gets_the_usage_flag_and_keeps_the_bytes_of_every_other_value(
    gateway: RunningGateway,
) -> None:
    gateway.provider.chat("Hello")
    body = ODD_BODY + b', "stream" : true, "stream_options":{"include_obfuscation" : false}}'
    assert (await gateway.post(await gateway.key(), "/v1/chat/completions", body)).status_code == 200
    sent = (await gateway.provider.request()).body
    options = {"include_obfuscation": False, "include_usage": True}
    assert json.loads(sent) == json.loads(body) | {"stream_options": options}
    assert b'"\\u00e9 \xc3\xa9 <|endoftext|>"' in sent
    assert b"1.0e0" in sent and b"123456789012345678901234567890" in sent


async def test_large_request_body_arrives_whole(gateway: RunningGateway) -> None:
    gateway.provider.chat("Hello")
    body = json.dumps(chat_body(messages=[{"role": "user", "content": "x" * 3_000_000}])).encode()
    assert (await gateway.post(await gateway.key(), "/v1/chat/completions", body)).status_code == 200
    assert (await gateway.provider.request()).body == body


async def test_stream_ends_its_events_with_crlf_and_comes_back_as_it_was(gateway: RunningGateway) -> None:
    events = [event.replace(b"\n", b"\r\n") for event in CHUNKS]
    assert await streamed(gateway, events) == b"".join(events[:3] + events[4:])
    row = await gateway.charged()
    assert (row.input_tokens, row.output_tokens, row.source) == (10, 2, "reported")


async def test_stream_with_comments_ids_and_names_comes_back_as_it_was(gateway: RunningGateway) -> None:
    steps = [b": PROCESSING\n\n", b"id: 1\nevent: message\nretry: 10\n" + CHUNKS[0], b":\n\n", *CHUNKS[1:]]
    assert await streamed(gateway, steps) == b"".join(steps[:5] + steps[6:])
    assert (await gateway.charged()).output_tokens == 2


async def test_stream_with_data_over_several_lines_is_read(gateway: RunningGateway) -> None:
    figures = usage_chunk(10, 2).replace(b', "usage"', b',\ndata: "usage"')
    assert await streamed(gateway, [CHUNKS[0], figures, DONE]) == CHUNKS[0] + DONE
    assert (await gateway.charged()).source == "reported"


async def test_stream_with_usage_spaced_oddly_is_read(gateway: RunningGateway) -> None:
    figures = usage_chunk(10, 2).replace(b'"usage": {', b'"usage" :\t {')
    await streamed(gateway, [CHUNKS[0], figures, DONE])
    row = await gateway.charged()
    assert (row.source, row.output_tokens) == ("reported", 2)


async def test_stream_cut_at_every_byte_comes_back_as_it_was(gateway: RunningGateway) -> None:
    whole = b"".join(CHUNKS)
    steps = [whole[at : at + 1] for at in range(len(whole))]
    assert await streamed(gateway, steps) == b"".join(CHUNKS[:3] + CHUNKS[4:])
    assert (await gateway.charged()).source == "reported"


async def test_stream_line_of_a_megabyte_comes_back_as_it_was(gateway: RunningGateway) -> None:
    long = chunk("word " * 200_000)
    assert await streamed(gateway, [long, *CHUNKS[2:]]) == long + CHUNKS[2] + DONE
    assert (await gateway.charged()).source == "reported"


async def test_stream_line_of_a_megabyte_without_usage_is_counted(gateway: RunningGateway) -> None:
    long = chunk("word " * 200_000)
    assert await streamed(gateway, [long, chunk(finish="stop"), DONE]) == long + chunk(finish="stop") + DONE
    row = await gateway.charged()
    assert row.source == "counted" and 200_000 <= row.output_tokens <= 200_010


async def test_compressed_stream_is_read_and_shown_plain(gateway: RunningGateway) -> None:
    whole = b"".join(CHUNKS)
    raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packings = [
        ("gzip", gzip.compress(whole)),
        ("deflate", zlib.compress(whole)),
        ("deflate", raw.compress(whole) + raw.flush()),
    ]
    for encoding, packed in packings:
        headers = EVENT_STREAM | {"content-encoding": encoding}
        steps = [packed[at : at + 7] for at in range(0, len(packed), 7)]
        assert await streamed(gateway, steps, headers) == b"".join(CHUNKS[:3] + CHUNKS[4:])
    assert [row.output_tokens for row in await gateway.usage()] == [2, 2, 2]


async def test_compressed_answer_is_read_and_shown_plain(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, JSON, completion(), compress=True)
    answer = await gateway.chat(await gateway.key())
    assert answer.content == completion() and "content-encoding" not in answer.headers
    assert (await gateway.charged()).source == "reported"


async def test_stream_with_usage_on_every_chunk_is_charged_the_last(gateway: RunningGateway) -> None:
    events = [chunk("a", usage=usage(10, 1)), chunk("b", usage=usage(10, 2)), chunk(finish="stop", usage=usage(10, 3))]
    assert await streamed(gateway, [*events, DONE]) == b"".join(events) + DONE
    assert (await gateway.charged()).output_tokens == 3


async def test_stream_with_null_usage_on_every_chunk_keeps_those_bytes(gateway: RunningGateway) -> None:
    events = [chunk("a", usage=None), chunk(finish="stop", usage=None)]
    assert await streamed(gateway, [*events, usage_chunk(10, 1), DONE]) == b"".join(events) + DONE


async def test_stream_with_a_chunk_behind_the_usage_keeps_it(gateway: RunningGateway) -> None:
    moderation = chunk(choices=[], usage=None, moderation={"input": {}})
    assert await streamed(gateway, [CHUNKS[0], usage_chunk(10, 1), moderation, DONE]) == CHUNKS[0] + moderation + DONE
    assert (await gateway.charged()).output_tokens == 1


COMPATIBLE: list[tuple[str, dict[str, Any], tuple[int, int, int]]] = [
    ("deepseek", {"usage": usage(10, 3, prompt_cache_hit_tokens=8, completion_tokens_details=None)}, (10, 8, 3)),
    ("groq", {"x_groq": {"id": "req_1", "usage": usage(10, 3, queue_time=0.1)}}, (10, 0, 3)),
    ("openrouter", {"usage": usage(10, 3, cost=0.1, cost_details={"upstream_inference_cost": None})}, (10, 0, 3)),
    ("gemini", {"usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 109}}, (10, 0, 99)),
    ("mistral", {"usage": usage(10, 3, num_cached_tokens=4)}, (10, 4, 3)),
]


async def test_stream_of_a_compatible_server_is_charged_its_figures(gateway: RunningGateway) -> None:
    for number, (name, extra, expected) in enumerate(COMPATIBLE, 1):
        events = [chunk("Hello"), chunk(finish="stop", **extra), DONE]
        assert await streamed(gateway, events) == b"".join(events)
        row = (await gateway.usage(number))[-1]
        assert (row.input_tokens, row.cached_tokens, row.output_tokens) == expected, name
        assert row.source == "reported"


async def test_stream_in_error_that_ends_cleanly_passes_as_it_is(gateway: RunningGateway) -> None:
    error = b'event: error\ndata: {"error":{"message":"Failed","type":"server_error","status_code":400}}\n\n'
    assert await streamed(gateway, [CHUNKS[0], error]) == CHUNKS[0] + error
    row = await gateway.charged()
    assert (row.source, row.output_tokens) == ("counted", 1)


async def test_stream_that_breaks_off_ends_with_an_error_and_without_done(gateway: RunningGateway) -> None:
    got = await streamed(gateway, [CHUNKS[0], CHUNKS[1], b'data: {"half":', Cut.RESET])
    assert got.startswith(CHUNKS[0] + CHUNKS[1] + b'data: {"error":') and b"half" not in got
    assert b"[DONE]" not in got
    error = json.loads(got.rsplit(b"data: ", 1)[1])["error"]
    assert (error["type"], error["code"]) == ("upstream_error", "upstream_broken")
    row = await gateway.charged()
    assert (row.outcome, row.source, row.output_tokens) == ("upstream_failed", "counted", 1)
    assert row.input_tokens == 8
    await gateway.audit()


async def test_stream_that_breaks_off_behind_done_is_complete(gateway: RunningGateway) -> None:
    assert await streamed(gateway, [*CHUNKS, Cut.RESET]) == b"".join(CHUNKS[:3] + CHUNKS[4:])
    row = await gateway.charged()
    assert (row.outcome, row.source) == ("completed", "reported")


async def test_stream_without_a_done_ends_as_the_provider_ends_it(gateway: RunningGateway) -> None:
    assert await streamed(gateway, CHUNKS[:3]) == b"".join(CHUNKS[:3])
    row = await gateway.charged()
    assert (row.outcome, row.source, row.output_tokens) == ("completed", "counted", 1)


async def test_stream_whose_last_event_lacks_its_blank_line_comes_back_whole(gateway: RunningGateway) -> None:
    assert await streamed(gateway, [CHUNKS[0], CHUNKS[1].rstrip(b"\n")]) == CHUNKS[0] + CHUNKS[1].rstrip(b"\n")
    assert await streamed(gateway, [CHUNKS[0], DONE.rstrip(b"\n")]) == CHUNKS[0] + DONE.rstrip(b"\n")


async def test_stream_under_another_content_type_is_not_held_back(gateway: RunningGateway) -> None:
    gate = asyncio.Event()
    headers = {"content-type": "application/octet-stream"}
    gateway.provider.answer(200, headers, [CHUNKS[0], gate, *CHUNKS[1:]], framing="chunked")
    async with gateway.http.stream(
        "POST", "/v1/chat/completions", json=chat_body(stream=True), headers=bearer(await gateway.key())
    ) as answer:
        pieces = answer.aiter_raw()
        assert await asyncio.wait_for(anext(pieces), PATIENCE_SECONDS) == CHUNKS[0]
        gate.set()
        assert b"".join([piece async for piece in pieces]) == b"".join([*CHUNKS[1:3], DONE])


async def test_stream_shows_each_event_before_the_provider_sends_the_next(gateway: RunningGateway) -> None:
    gates = [asyncio.Event() for _ in range(3)]
    events = [chunk("a"), b": still here\n\n", chunk("b"), *CHUNKS[2:]]
    steps: list[Step] = [events[0], gates[0], events[1], gates[1], events[2], gates[2], *events[3:]]
    gateway.provider.answer(200, EVENT_STREAM, steps, framing="chunked")
    async with gateway.http.stream(
        "POST", "/v1/chat/completions", json=chat_body(stream=True), headers=bearer(await gateway.key())
    ) as answer:
        assert answer.headers["cache-control"] == "no-cache" and answer.headers["x-accel-buffering"] == "no"
        pieces = answer.aiter_raw()
        for event, gate in zip(events, gates, strict=False):
            assert await asyncio.wait_for(anext(pieces), PATIENCE_SECONDS) == event
            gate.set()
        assert b"".join([piece async for piece in pieces]) == CHUNKS[2] + DONE


async def test_done_is_held_back_until_the_provider_has_ended_and_the_call_is_charged(gateway: RunningGateway) -> None:
    got = b""
    gateway.provider.answer(200, EVENT_STREAM, list(CHUNKS), framing="chunked")
    async with gateway.http.stream(
        "POST", "/v1/chat/completions", json=chat_body(stream=True), headers=bearer(await gateway.key())
    ) as answer:
        async for piece in answer.aiter_raw():
            got += piece
            if b"[DONE]" in got:
                assert len(await gateway.usage()) == 1
    assert b"[DONE]" in got


async def test_answer_that_is_not_json_comes_back_as_it_is_and_is_counted(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, {"content-type": "text/html"}, b"<html>Hello</html>")
    answer = await gateway.chat(await gateway.key())
    assert (answer.status_code, answer.content) == (200, b"<html>Hello</html>")
    row = await gateway.charged()
    assert (row.source, row.input_tokens) == ("counted", 8) and row.output_tokens > 0


async def test_answer_without_usage_is_counted_by_its_text(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, JSON, completion("Hello there", usage=None))
    await gateway.chat(await gateway.key())
    row = await gateway.charged()
    assert (row.source, row.input_tokens, row.output_tokens) == ("counted", 8, 2)


async def test_answer_whose_usage_says_nothing_is_counted_by_its_text(gateway: RunningGateway) -> None:
    key = await gateway.key()
    gateway.provider.answer(200, JSON, completion("Hello there", usage={}))
    await gateway.chat(key)
    row = await gateway.charged()
    assert (row.source, row.input_tokens, row.output_tokens) == ("counted", 8, 2)


async def test_stream_whose_usage_says_nothing_is_counted_by_its_text(gateway: RunningGateway) -> None:
    steps = [chunk("Hello there"), chunk(usage={}), DONE]
    assert await streamed(gateway, steps) == b"".join(steps)
    row = await gateway.charged()
    assert (row.source, row.output_tokens) == ("counted", 2)


async def test_answer_with_impossible_usage_fails_nobody(gateway: RunningGateway) -> None:
    for figures in ({"prompt_tokens": -1, "completion_tokens": 2**63, "total_tokens": 0}, "many", 7):
        gateway.provider.answer(200, JSON, completion(usage=figures))
        answer = await gateway.chat(await gateway.key())
        assert answer.status_code == 200
    for row in await gateway.usage(3):
        assert row.input_tokens >= 0 and 0 <= row.output_tokens <= 2**53
    await gateway.audit()


async def test_answer_to_a_stream_that_is_plain_json_comes_back_as_it_is(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, JSON, completion())
    answer = await gateway.chat(await gateway.key(), stream=True)
    assert answer.content == completion()
    assert (await gateway.charged()).source == "reported"


async def test_answer_larger_than_what_is_kept_comes_back_whole_and_is_charged(gateway: RunningGateway) -> None:
    body = completion("x" * (17 * 1024 * 1024))
    gateway.provider.answer(200, JSON, body)
    answer = await gateway.chat(await gateway.key())
    assert answer.content == body
    row = await gateway.charged()
    assert (row.input_tokens, row.output_tokens, row.source) == (10, 5, "reported")


async def test_answer_that_breaks_off_is_a_bad_gateway(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, JSON, [completion()[:40], Cut.RESET, completion()[40:]])
    answer = await gateway.chat(await gateway.key())
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_broken")
    row = await gateway.charged()
    assert (row.outcome, row.source, row.input_tokens) == ("upstream_failed", "counted", 8)
    assert row.model == MODEL
