"""Providers in trouble, through the whole gateway: the client is told in its dialect, and charged once for what it got.

What each single break does to a connection is proven in tests/upstream; here it is what clients see and pay.
"""

import asyncio
import gzip
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import openai
import pytest

from gateway.core.limits import Interval, Metric
from gateway.core.upstreams import Upstream
from gateway.settings import CatalogSettings
from tests.events import DONE, EVENT_STREAM, JSON, chunk, completion, usage_chunk
from tests.gateway import MODEL, RunningGateway, running_gateway
from tests.provider import Cut, Provider, Request, Script, Step, compose

LIMITS = [(Metric.REQUESTS, Interval.DAY, 9_999), (Metric.COST, Interval.DAY, 10**12), (Metric.CONCURRENCY, None, 500)]
HI_TOKENS = 8
WORDS = ("one", " two")
EVENTS = [*map(chunk, WORDS), usage_chunk(10, 7), DONE]
AT_ONCE = 16
CLIENTS = 200
CALLS = 120
STORM_BODY = b'{"error":{"message":"Slow down.","type":"requests","param":null,"code":"rate_limit_exceeded"}}'


def wire() -> tuple[bytes, list[int]]:
    """Return a whole streamed answer as it is on the wire, and where each of its events is complete."""
    head, *parts = compose(200, EVENT_STREAM, list(EVENTS), framing="chunked")
    sent, complete = head, []
    for part in parts:
        assert isinstance(head, bytes) and isinstance(part, bytes) and isinstance(sent, bytes)
        sent += part
        complete.append(len(sent) - len(b"\r\n"))
    assert isinstance(sent, bytes)
    return sent, complete[: len(EVENTS)]


@pytest.mark.parametrize(("cut", "step"), [(Cut.RESET, 1), (Cut.CLOSE, 7)], ids=["reset", "close"])
async def test_stream_cut_behind_any_byte_is_told_in_the_sdk_and_charged_what_came(
    gateway: RunningGateway, cut: Cut, step: int
) -> None:
    answer, complete = wire()
    # The provider has told its figures with the last byte of their line; the client gets them with the blank line.
    figures_told = complete[len(WORDS)] - len(b"\n\n")
    head_ends = answer.index(b"\r\n\r\n") + 4
    gateway.provider.always(lambda request: [answer[: int(str(request.json()["user"]))], cut])
    client = gateway.openai(await gateway.key(limits=LIMITS))
    turn = asyncio.Semaphore(AT_ONCE)
    seen: dict[str, tuple[int, str, str]] = {}
    lengths = range(0, len(answer), step)

    async def ask(length: int) -> None:
        """Note by the call's id where it was cut, what text the SDK gave and what it raised in the end."""
        said = failure = request_id = ""
        async with turn:
            try:
                raw = await client.chat.completions.with_raw_response.create(
                    model=MODEL, messages=[{"role": "user", "content": "Hi"}], stream=True, user=str(length)
                )
                request_id = raw.headers["x-request-id"]
                async for event in raw.parse():
                    said += event.choices[0].delta.content or ""
            except openai.APIStatusError as error:
                request_id, failure = str(error.request_id), str(error.code)
            except openai.APIError as error:
                failure = str(error.code)
        seen[request_id] = length, said, failure

    await asyncio.gather(*map(ask, lengths))
    assert len(gateway.provider.requests) == len(lengths)

    for row in await gateway.usage(len(lengths)):
        length, said, failure = seen.pop(row.request_id)
        whole = sum(length >= end for end in complete)
        assert said == "".join(WORDS[:whole]), length
        if whole == len(EVENTS):
            assert (failure, row.outcome, row.source, row.output_tokens) == ("", "completed", "reported", 7), length
            continue
        assert failure == ("upstream_unreachable" if length < head_ends else "upstream_broken"), length
        tokens = (10, 7) if length >= figures_told else (HI_TOKENS, whole)
        assert (row.outcome, row.input_tokens, row.output_tokens) == ("upstream_failed", *tokens), length
    assert not seen
    await gateway.audit()


async def test_first_token_that_takes_its_time_is_waited_for(gateway: RunningGateway) -> None:
    """The client sees that the call is under way, others are served meanwhile, and nothing is charged before."""
    gate = asyncio.Event()
    gateway.provider.answer(200, EVENT_STREAM, [gate, *EVENTS], framing="chunked")
    key = await gateway.key(limits=LIMITS)
    stream = await gateway.openai(key).chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Hi"}], stream=True
    )
    gateway.provider.answer(200, JSON, completion())
    assert (await gateway.chat(key)).status_code == 200
    assert len(await gateway.usage()) == 1
    gate.set()
    assert "".join([event.choices[0].delta.content or "" async for event in stream]) == "".join(WORDS)
    assert [row.output_tokens for row in await gateway.usage(2)] == [5, 7]
    await gateway.audit()


async def test_provider_that_closes_connections_at_random_costs_no_call_and_charges_none_twice(
    gateway: RunningGateway,
) -> None:
    """A connection may close while it rests or under a call that reuses it: that call is sent once more, on another."""
    chance = random.Random(1)
    used: set[int] = set()

    def answer(request: Request) -> Script:
        if request.connection in used and chance.random() < 0.3:
            return [chance.choice([Cut.CLOSE, Cut.RESET])]
        used.add(request.connection)
        streams = bool(request.json().get("stream"))
        whole = compose(200, EVENT_STREAM, list(EVENTS), framing="chunked") if streams else compose(200, JSON, PLAIN)
        return [*whole, Cut.CLOSE] if chance.random() < 0.3 else whole

    gateway.provider.always(answer)
    key = await gateway.key(limits=LIMITS)

    async def client(number: int) -> None:
        for call in range(CALLS // 8):
            answered = await gateway.chat(key, user=f"{number}/{call}", stream=call % 2 == 0)
            assert answered.status_code == 200 and (call % 2 or answered.content.endswith(DONE))

    await asyncio.gather(*map(client, range(8)))
    rows = await gateway.usage(CALLS)
    assert {(row.outcome, row.source, row.requests, row.output_tokens) for row in rows} == {
        ("completed", "reported", 1, 7)
    }
    assert len(rows) == CALLS
    sent = Counter(request.json()["user"] for request in gateway.provider.requests)
    assert len(sent) == CALLS and set(sent.values()) == {1, 2}
    await gateway.audit()


async def test_call_that_a_dying_provider_swallowed_is_charged_its_prompt(gateway: RunningGateway) -> None:
    """The connection that it went out on closed without a word, and no other came about: it may have been worked on."""
    gateway.provider.answer(200, JSON, completion())
    key = await gateway.key(limits=LIMITS)
    assert (await gateway.chat(key)).status_code == 200
    gateway.provider.refuse_connections()
    gateway.provider.raw(Cut.CLOSE)
    refused = await gateway.chat(key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (502, "upstream_unreachable")
    row = (await gateway.usage(2))[1]
    assert (row.outcome, row.source, row.input_tokens, row.output_tokens) == (
        "upstream_failed",
        "counted",
        HI_TOKENS,
        0,
    )
    await gateway.audit()


PLAIN = completion(usage={"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17})


async def test_storm_of_429_is_passed_on_and_not_made_larger(gateway: RunningGateway) -> None:
    headers = JSON | {"retry-after": "7"}
    gateway.provider.always(lambda _request: compose(429, headers, STORM_BODY))
    key = await gateway.key(limits=LIMITS)
    answers = await asyncio.gather(*(gateway.chat(key, stream=number % 2 == 0) for number in range(CLIENTS)))
    assert {(answer.status_code, answer.headers["retry-after"], answer.content) for answer in answers} == {
        (429, "7", STORM_BODY)
    }
    assert "x-should-retry" not in answers[0].headers
    assert len(gateway.provider.requests) == CLIENTS
    rows = await gateway.usage(CLIENTS)
    assert {(row.requests, row.succeeded, row.input_tokens, row.cost_nano_usd) for row in rows} == {(1, 0, 0, 0)}
    assert len(rows) == CLIENTS
    await gateway.audit()


async def test_sdk_that_retries_asks_the_provider_as_often_as_it_asks_us(gateway: RunningGateway) -> None:
    gateway.provider.always(lambda _request: compose(503, JSON | {"retry-after-ms": "1"}, b'{"error":{}}'))
    client = gateway.openai(await gateway.key(limits=LIMITS)).with_options(max_retries=2)
    with pytest.raises(openai.InternalServerError):
        await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}])
    assert len(gateway.provider.requests) == len(await gateway.usage(3)) == 3
    await gateway.audit()


def chunked(body: bytes, kind: str = "application/json", more: str = "") -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{more}transfer-encoding: chunked\r\n\r\n"
    return head.encode() + body


GZIP = "content-encoding: gzip\r\n"
GARBAGE: dict[str, bytes] = {
    "another protocol": b"SSH-2.0-OpenSSH_9.9\r\n",
    "NULs": bytes(4096),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "negative length": b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n{}",
    "header without end": b"HTTP/1.1 200 OK\r\na: " + b"b" * 100_000,
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 10_000,
    "no chunk size": chunked(b"hello\r\n"),
    "endless chunk size": chunked(b"f" * 1_000),
    "corrupt gzip": chunked(b"4\r\nsome\r\n0\r\n\r\n", more=GZIP),
    "torn gzip": chunked(b"64\r\n%b\r\n0\r\n\r\n" % gzip.compress(bytes(10**6))[:100], more=GZIP),
    "unasked upgrade": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n",
    "status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
    "status beyond": b"HTTP/1.1 7777777 OK\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_garbage_is_a_bad_gateway_and_poisons_no_connection(gateway: RunningGateway, stream: bool) -> None:
    key = await gateway.key(limits=LIMITS)
    for calls, (name, answer) in enumerate(GARBAGE.items(), start=1):
        gateway.provider.raw(answer, Cut.CLOSE)
        garbled = await gateway.chat(key, stream=stream)
        assert (garbled.status_code, garbled.json()["error"]["type"]) == (502, "upstream_error"), name
        gateway.provider.answer(200, JSON, completion())
        assert (await gateway.chat(key)).status_code == 200, name
        assert len(await gateway.usage(2 * calls)) == 2 * calls, name
    assert len(gateway.provider.requests) == 2 * len(GARBAGE)
    await gateway.audit()


NONSENSE: dict[str, list[Step]] = {
    "no events": [b"\xff\xfe\x00garbage\n\n" * 9],
    "events of no JSON": [b"data: {\n\n", b"data: [1,2\n\n", b"data: \xff\n\n"],
    "events of other JSON": [b"data: 1\n\n", b'data: {"choices":7}\n\n', b'data: {"choices":[7]}\n\n'],
    "absurd figures": [b'data: {"choices":[],"usage":{"prompt_tokens":-5,"completion_tokens":1e308}}\n\n'],
    "figures of words": [b'data: {"choices":[],"usage":{"prompt_tokens":"many","completion_tokens":null}}\n\n'],
    "figures without end": [b'data: {"choices":[],"usage":{"prompt_tokens":' + b"9" * 5_000 + b"}}\n\n"],
    "nothing": [],
}  # fmt: skip


@pytest.mark.parametrize("name", NONSENSE)
async def test_nonsense_in_a_stream_passes_and_is_charged_the_prompt(gateway: RunningGateway, name: str) -> None:
    gateway.provider.answer(200, EVENT_STREAM, [*NONSENSE[name], DONE], framing="chunked")
    answer = await gateway.chat(await gateway.key(limits=LIMITS), stream=True)
    assert answer.status_code == 200 and answer.content.endswith(DONE)
    row = await gateway.charged()
    assert (row.outcome, row.source, row.input_tokens) == ("completed", "counted", HI_TOKENS)
    assert 0 <= row.output_tokens < 100
    await gateway.audit()


async def test_provider_that_says_nothing_more_holds_up_nobody_else(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    """Half-open connections: the peer is gone without a word, in each phase. They end by their deadlines."""

    def impatient(main: Upstream) -> Upstream:
        return replace(main, models=(MODEL,), first_byte_seconds=3.0, idle_seconds=3.0)

    catalog = CatalogSettings((Upstream("other", "openai", provider.base_url, "sk-other"),))
    first, *rest = compose(200, EVENT_STREAM, [*EVENTS[:2], Cut.HANG], framing="chunked")
    assert isinstance(first, bytes)
    silences: list[Script] = [[Cut.HANG], [first[:9], Cut.HANG], [first, Cut.HANG], [first, *rest]]
    provider.always(
        lambda request: (
            silences[int(str(request.json()["user"])) % 4]
            if request.json().get("stream")
            else compose(200, JSON, completion())
        )
    )
    async with running_gateway(sqlite_url, provider, tmp_path, upstream=impatient, catalog=catalog) as gateway:
        key = await gateway.key(limits=LIMITS)
        silent = [asyncio.create_task(gateway.chat(key, stream=True, user=str(number))) for number in range(40)]
        while not all(task.done() for task in silent):
            assert (await gateway.chat(key, model="gpt-4o")).status_code == 200
        answers = [task.result() for task in silent]
        assert Counter(answer.status_code for answer in answers) == {504: 20, 200: 20}
        assert all(b"upstream_timeout" in answer.content for answer in answers)
        rows = [row for row in await gateway.usage() if row.outcome == "upstream_failed"]
        assert Counter((row.input_tokens, row.output_tokens) for row in rows) == {
            (HI_TOKENS, 0): 30,
            (HI_TOKENS, 2): 10,
        }
        await gateway.audit()
