"""More calls than the gateway can take: turns stay short, those that came first are served, the rest is told so."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.core.errors import ServiceUnavailable
from gateway.core.limits import Interval, Metric
from gateway.proxy.turnstile import CALLS_PER_TURN, Turnstile
from tests.events import DONE, EVENT_STREAM, JSON, chunk, completion, usage_chunk
from tests.gateway import LOOK_SECONDS, RunningGateway, chat_body, running_gateway
from tests.ledger import books
from tests.ledger.chaos import chaos
from tests.ledger.running import on_postgres
from tests.patience import PATIENCE_SECONDS
from tests.provider import Provider, Step, compose

LIMITS = [(Metric.REQUESTS, Interval.DAY, 99_999), (Metric.COST, Interval.DAY, 10**12)]
ROOM = 4
CROWD = 400
GEMINI = "/v1beta/models/gemini-2.5-flash:generateContent"
PATHS = ("/v1/chat/completions", "/openai/v1/responses", "/v1/messages", GEMINI)


@pytest.fixture
async def narrow(sqlite_url: str, provider: Provider, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    """A gateway in which only a few calls may wait."""
    async with running_gateway(sqlite_url, provider, tmp_path, max_waiting=ROOM) as running:
        yield running


@asynccontextmanager
async def held_up(gateway: RunningGateway) -> AsyncIterator[None]:
    """Let no call be admitted meanwhile: another process writes to the database."""
    foreign = books.foreign(gateway.app._settings.database_url)
    await books.lock(foreign)
    try:
        yield
    finally:
        foreign.execute("ROLLBACK")
        foreign.close()


async def waiting(gateway: RunningGateway, calls: int) -> None:
    """Return when so many calls wait to be admitted, as the gateway itself says."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await figure(gateway, "gateway_calls_waiting") != calls:
            pass


async def figure(gateway: RunningGateway, name: str) -> float:
    text = (await gateway.http.get("/metrics")).text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))


async def test_turn_begins_so_many_calls_in_the_order_in_which_they_came() -> None:
    turnstile = Turnstile(3 * CALLS_PER_TURN)
    turns = [turnstile.enter() for _ in range(3 * CALLS_PER_TURN)]
    assert [turn is None for turn in turns] == [index < CALLS_PER_TURN for index in range(len(turns))]
    assert turnstile.waiting == 2 * CALLS_PER_TURN
    left = [turn for turn in turns if turn is not None]
    for begun in (0, CALLS_PER_TURN, 2 * CALLS_PER_TURN):
        assert [turn.done() for turn in left] == [index < begun for index in range(len(left))]
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert turnstile.enter() is None


async def test_line_that_is_full_takes_nobody_until_it_moves() -> None:
    turnstile = Turnstile(CALLS_PER_TURN)
    for _ in range(2 * CALLS_PER_TURN):
        turnstile.enter()
    assert turnstile.is_full
    with pytest.raises(ServiceUnavailable):
        turnstile.enter()
    await asyncio.sleep(0)
    assert not turnstile.is_full and turnstile.enter() is not None
    turnstile.at_desk = CALLS_PER_TURN
    assert turnstile.is_full and turnstile.turned_away == 1


async def test_health_checks_go_past_a_crowd(capfd: pytest.CaptureFixture[str], narrow: RunningGateway) -> None:
    """More wait than begin in one turn: who asks whether the process lives is answered as its request is read."""
    key = await narrow.key()
    narrow.app._rooms.house.turnstile.at_desk += CALLS_PER_TURN + 1  # type: ignore[union-attr]
    reader, writer = await asyncio.open_connection("127.0.0.1", narrow.port)
    for ends in (b"", b"connection: close\r\n"):
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + ends + b"\r\n")
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)).lower()
        assert head.startswith(b"http/1.1 200 ") and b"x-request-id: req_" in head and b"content-length: 0" in head
        assert (b"connection: close" in head) == bool(ends)
    assert await asyncio.wait_for(reader.read(), PATIENCE_SECONDS) == b""
    writer.close()
    narrow.app._rooms.house.turnstile.at_desk -= CALLS_PER_TURN + 1  # type: ignore[union-attr]
    narrow.provider.chat("Hello")
    assert (await narrow.chat(key)).status_code == 200
    records = ""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while "/v1/chat/completions" not in records:
            await asyncio.sleep(LOOK_SECONDS)
            records += "".join(capfd.readouterr())
    assert "/healthz" not in records  # the application was not asked


async def test_calls_beyond_those_that_may_wait_are_refused_in_their_dialect(narrow: RunningGateway) -> None:
    narrow.provider.always(lambda _request: compose(200, JSON, completion()))
    key = await narrow.key(limits=LIMITS)
    assert (await narrow.chat(key)).status_code == 200
    async with held_up(narrow):
        early = [asyncio.create_task(narrow.chat(key)) for _ in range(ROOM)]
        await waiting(narrow, ROOM)
        refused = await asyncio.gather(*(narrow.post(key, path, chat_body()) for path in PATHS))
        paged = await narrow.post(key, PATHS[0], chat_body(), origin="https://chat.example.com")
        health = await narrow.http.get("/healthz")
    for path, answer in zip(PATHS, refused, strict=True):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), path
        assert answer.headers["x-request-id"].startswith("req_") and "more calls than it can take" in answer.text
    assert [said(answer) for answer in refused] == [
        "service_unavailable_error", "service_unavailable_error", "overloaded_error", "UNAVAILABLE",
    ]  # fmt: skip
    assert (paged.status_code, paged.headers["access-control-allow-origin"]) == (503, "*")
    assert health.status_code == 200
    assert {(await call).status_code for call in early} <= {200, 503}
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await figure(narrow, "gateway_calls_turned_away_total") != len(PATHS) + 1:
            pass
    assert (await narrow.chat(key)).status_code == 200
    assert len(await narrow.usage()) == len(narrow.provider.requests)
    await narrow.audit()


@on_postgres
async def test_calls_whose_keys_are_being_read_wait_too(database_url: str, provider: Provider, tmp_path: Path) -> None:
    async with (
        chaos(database_url) as relay,
        running_gateway(relay.url, provider, tmp_path, max_waiting=ROOM) as narrow,
    ):
        keys = [await narrow.key() for _ in range(ROOM)]
        relay.blackhole()
        early = [asyncio.create_task(narrow.chat(key)) for key in keys]
        await waiting(narrow, ROOM)
        refused = await narrow.chat(keys[0])
        assert refused.status_code == 503 and "more calls than it can take" in refused.text
        assert {(await call).status_code for call in early} == {503}
        await waiting(narrow, 0)
        relay.mend()


def said(answer: httpx.Response) -> str:
    error = answer.json()["error"]
    return str(error.get("status") or error["type"])


async def test_crowd_is_served_as_far_as_there_is_room_and_streams_go_on(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    gate = asyncio.Event()
    events: list[Step] = [chunk("one"), gate, chunk(" two"), usage_chunk(10, 7), DONE]
    provider.answer(200, EVENT_STREAM, events, framing="chunked")
    provider.always(lambda _request: compose(200, JSON, completion()))
    async with running_gateway(sqlite_url, provider, tmp_path, max_waiting=CROWD // 4) as gateway:
        key = await gateway.key(limits=LIMITS)
        stream = asyncio.create_task(gateway.chat(key, stream=True))
        await provider.request()
        connections = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(CROWD)]
        for _, writer in connections:
            writer.write(asked(key))
        answers = Counter([await answered(reader) for reader, _ in connections])
        gate.set()
        assert (await stream).content.endswith(DONE)
        for _, writer in connections:
            writer.close()
        assert set(answers) == {(200, False), (503, True)}
        assert answers[200, False] >= CROWD // 4
        assert len(provider.requests) == answers[200, False] + 1 == len(await gateway.usage(answers[200, False] + 1))
        await gateway.audit()


def asked(key: str, **fields: Any) -> bytes:
    body = json.dumps(chat_body(**fields)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def answered(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """Return an answer's status, and whether it says when to come back."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
    return int(head.split()[1]), b"retry-after: 1\r\n" in head
