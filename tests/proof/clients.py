"""Calls through a real gateway, what their clients heard, what the provider saw, what the ledger has."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import httpx

from tests.events import DONE, EVENT_STREAM, JSON, chunk, completion, usage, usage_chunk
from tests.gateway import bearer
from tests.ledger.books import Reader
from tests.provider import Cut, Request, Step, compose

WORDS = 10
"""What is delivered of a stream before it waits; each word is one token."""
LATE_WORDS = 5
QUICK, LONG, SLOW, SILENT = "quick", "long", "slow", "silent"


@dataclass(eq=False)
class Call:
    """One call and what its client has heard. `kind` tells the provider what to do with it."""

    name: str
    kind: str
    is_stream: bool
    status: int = 0
    words: int = 0
    ended: bool = False
    """The client has seen the end of a good answer."""
    refusal: str = ""
    """What it was told instead of one."""

    async def ask(self, client: httpx.AsyncClient, key: str) -> None:
        """Make the call; a broken connection is an answer too."""
        messages = [{"role": "user", "content": f"{self.kind} {self.name}"}]
        body = {"model": self.name, "messages": messages, "stream": self.is_stream, "max_tokens": 100}
        try:
            async with client.stream("POST", "/v1/chat/completions", json=body, headers=bearer(key)) as answer:
                self.status = answer.status_code
                if self.status != 200:
                    self.refusal = (await answer.aread()).decode()
                elif self.is_stream:
                    await self._listen(answer)
                else:
                    await answer.aread()
                    self.ended = True
        except httpx.TransportError as error:
            self.refusal = repr(error)

    async def _listen(self, answer: httpx.Response) -> None:
        async for line in answer.aiter_lines():
            if line == "data: [DONE]":
                self.ended = True
            elif line.startswith("data: "):
                choices = json.loads(line[6:]).get("choices", ())
                self.words += sum(bool(choice["delta"].get("content")) for choice in choices)


def heard(calls: Sequence[Call], script: "Script") -> list[tuple[str, int, int, int, str]]:
    """Name, status, words, how often the provider saw it and its refusal, of each call: for the words of a failure."""
    return [(call.name, call.status, call.words, script.seen[call.name], call.refusal) for call in calls]


@dataclass
class Script:
    """The provider: quick calls end at once, silent ones are never answered, others wait in the middle for `further`.

    After that long ones end, and slow ones say a little more and never end. `seen` counts the calls by name; `strike`
    is called before the `quick_left`-th of the quick ones is answered.
    """

    seen: Counter[str] = field(default_factory=Counter)
    further: asyncio.Event = field(default_factory=asyncio.Event)
    quick_left: int = 0
    strike: Callable[[], None] = lambda: None

    def __call__(self, request: Request) -> Sequence[Step]:
        asked = request.json()
        kind, name = asked["messages"][0]["content"].split(" ")  # type: ignore[index]
        self.seen[name] += 1
        if kind == SILENT:
            return [Cut.HANG]
        if kind == QUICK:
            self.quick_left -= 1
            if self.quick_left == 0:
                self.strike()
        if asked["stream"]:
            return compose(200, EVENT_STREAM, self._events(kind), framing="chunked")
        whole = completion(usage=usage(12, WORDS))
        waits: dict[str, list[Step]] = {
            QUICK: [whole],
            LONG: [whole[:100], self.further, whole[100:]],
            SLOW: [whole[:100], self.further, whole[100:200], Cut.HANG, whole[200:]],
        }
        return compose(200, JSON, waits[kind])

    def _events(self, kind: str) -> list[Step]:
        words: list[Step] = [chunk(" hello") for _ in range(WORDS)]
        end: list[Step] = [chunk(finish="stop"), usage_chunk(12, WORDS), DONE]
        if kind == QUICK:
            return [*words, *end]
        if kind == LONG:
            return [*words[1:], self.further, words[0], *end]
        return [*words, self.further, *words[:LATE_WORDS], Cut.HANG]


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the ledger, as far as it says what became of a call."""

    entry: str
    source: str
    outcome: str
    input_tokens: int
    output_tokens: int


async def entries(reader: Reader) -> dict[str, list[Entry]]:
    """Return the ledger's rows by the name of their call."""
    found: dict[str, list[Entry]] = {}
    rows = await reader.rows(
        "SELECT requested_model, entry, source, outcome, input_tokens, output_tokens FROM usage ORDER BY settled_at_us"
    )
    for name, *rest in rows:
        found.setdefault(name, []).append(Entry(*rest))
    return found
