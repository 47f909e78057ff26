"""Mixed traffic with seeded bad luck: a provider that fails in every way, clients of three dialects that leave."""

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests import anthropic_events, gemini_answers
from tests.events import DONE, EVENT_STREAM, JSON, chunk, completion, usage, usage_chunk
from tests.gateway import bearer
from tests.provider import Cut, Request, Step, compose

GIVEN, WRITTEN = 10, 5
"""What the provider says that every call used."""
CAP = 20
LAST = gemini_answers.piece({"text": "lo"}, finish="STOP", usage=gemini_answers.figures(GIVEN, WRITTEN))
NAME = re.compile(rb"(?:claude-|gemini-)?soak-\d+")
PATIENCE_SECONDS = 3.0
SLOWEST_SECONDS = 0.5
FATES = {
    "good": 60, "slow": 15, "closes": 5, "reset": 3, "cut": 4, "stall": 3, "mute": 2, "garbage": 2, "nonsense": 2,
    "429": 2, "500": 2,
}  # fmt: skip
"""How often each way to answer is chosen; the first three are good answers."""
LEAVING = 0.1
"""The part of clients that leave at a random moment."""


@dataclass
class Fickle:
    """A provider. `seen` counts calls by name, `fates` what was done to them."""

    luck: random.Random
    seen: Counter[str] = field(default_factory=Counter)
    fates: Counter[str] = field(default_factory=Counter)

    def __call__(self, request: Request) -> Sequence[Step]:
        named = NAME.search(request.path.encode() + request.body)
        assert named is not None, request
        self.seen[named[0].decode()] += 1
        [fate] = self.luck.choices(list(FATES), list(FATES.values()))
        self.fates[fate] += 1
        head, steps = _answer(request)
        half = len(steps) // 2
        is_stream = head is EVENT_STREAM
        framing: Any = "chunked" if is_stream else "length"
        match fate:
            case "reset":
                return [Cut.RESET]
            case "mute":
                return [Cut.HANG]
            case "garbage":
                return [b"\0\1 no HTTP at all\r\n\r\n", Cut.CLOSE]
            case "nonsense":
                return compose(200, head, b'{"neither":"an answer","nor":')
            case "429" | "500":
                return compose(int(fate), JSON, b'{"error":{"message":"no","type":"error","code":null}}')
            case "cut" | "stall":
                end: Step = Cut.RESET if fate == "cut" else Cut.HANG
                return compose(200, head, [*steps[:half], end, *([] if is_stream else steps[half:])], framing=framing)
            case "slow":
                pause = asyncio.Event()
                asyncio.get_running_loop().call_later(self.luck.uniform(0, SLOWEST_SECONDS), pause.set)
                steps.insert(half, pause)
        whole = compose(200, head, steps, framing=framing)
        return [*whole, Cut.CLOSE] if fate == "closes" else whole


def _answer(request: Request) -> tuple[dict[str, str], list[Step]]:
    """Return headers and body of a good answer, in its dialect, in pieces."""
    path = request.path.partition("?")[0]
    if path.endswith(":streamGenerateContent"):
        return EVENT_STREAM, [gemini_answers.event(gemini_answers.piece({"text": "Hel"})), gemini_answers.event(LAST)]
    if path.endswith(":generateContent"):
        return JSON, _halves(json.dumps(LAST).encode())
    is_stream = bool(request.json().get("stream"))
    if path.endswith("/messages"):
        stream, plain = anthropic_events.stream(), anthropic_events.message()
    else:
        stream = [*map(chunk, "hello"), chunk(finish="stop"), usage_chunk(GIVEN, WRITTEN), DONE]
        plain = completion(usage=usage(GIVEN, WRITTEN))
    return (EVENT_STREAM, list(stream)) if is_stream else (JSON, _halves(plain))


def _halves(whole: bytes) -> list[Step]:
    return [whole[: len(whole) // 2], whole[len(whole) // 2 :]]


def _chat(name: str, stream: bool) -> tuple[str, dict[str, Any], Callable[[str], bool]]:
    body = {"model": name, "messages": anthropic_events.HI, "stream": stream, "max_tokens": CAP}
    return "/v1/chat/completions", body, lambda text: ("data: [DONE]" if stream else '"usage"') in text


def _messages(name: str, stream: bool) -> tuple[str, dict[str, Any], Callable[[str], bool]]:
    body = {"model": f"claude-{name}", "messages": anthropic_events.HI, "stream": stream, "max_tokens": CAP}
    return "/claude/v1/messages", body, lambda text: ("event: message_stop" if stream else '"usage"') in text


def _gemini(name: str, stream: bool) -> tuple[str, dict[str, Any], Callable[[str], bool]]:
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    body = gemini_answers.asking(generationConfig={"maxOutputTokens": CAP})
    return f"/gemini/v1beta/models/gemini-{name}:{verb}", body, lambda text: '"finishReason"' in text


@dataclass
class Crowd:
    """Clients that go on until `ended`. `whole` has the names of calls whose clients saw a good answer's end."""

    luck: random.Random
    keys: Sequence[str]
    address: Callable[[], str | None]
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    calls: int = 0
    left: int = 0
    whole: set[str] = field(default_factory=set)
    answers: Counter[str] = field(default_factory=Counter)

    async def client(self, http: httpx.AsyncClient) -> None:
        """Make one call after the other."""
        while not self.ended.is_set():
            url = self.address()
            if url is None:
                await asyncio.sleep(0.05)
                continue
            self.calls += 1
            is_leaving = self.luck.random() < LEAVING
            patience = self.luck.uniform(0, SLOWEST_SECONDS) if is_leaving else PATIENCE_SECONDS
            try:
                async with asyncio.timeout(patience):
                    await self._call(http, url, f"soak-{self.calls:07d}")
            except TimeoutError:
                self.left += 1
            except (httpx.TransportError, AttributeError):  # httpcore's, of a socket that closes as it is connected
                self.answers["broken"] += 1

    async def _call(self, http: httpx.AsyncClient, url: str, name: str) -> None:
        stream = self.luck.random() < 0.5
        path, body, is_whole = self.luck.choice((_chat, _chat, _messages, _gemini))(name, stream)
        key = self.luck.choice(self.keys)
        async with http.stream("POST", url + path, json=body, headers=bearer(key)) as answer:
            text = (await answer.aread()).decode(errors="replace")
        self.answers[str(answer.status_code)] += 1
        if '"internal_error"' in text:
            self.answers["internal_error"] += 1
        if answer.status_code == 200 and is_whole(text) and '"error"' not in text:
            self.whole.add(_named(path, body))


def _named(path: str, body: dict[str, Any]) -> str:
    """The model that a call asks for: its name on the ledger."""
    found = NAME.search(path.encode() + json.dumps(body).encode())
    assert found is not None
    return found[0].decode()
