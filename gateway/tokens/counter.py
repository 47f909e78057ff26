"""What the rest of the gateway counts with: owns the encodings and the threads that long texts are counted in."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import msgspec

from gateway.core.call import Call
from gateway.tokens.calibration import Calibration
from gateway.tokens.encodings import EncodingName, Encodings
from gateway.tokens.estimate import scaled
from gateway.tokens.models import Family, rules_for
from gateway.tokens.prompts import PromptCount, count_prompt

_T = TypeVar("_T")

# 32 KiB of text take about 2 ms, the most that the event loop should be held.
INLINE_BYTES = 32 * 1024
# tiktoken releases the GIL; more threads than the cores of a small machine would only take from the event loop.
_THREADS = 2


class TokenCounter:
    """Created once by the application; `close` when it ends. Never raises but VocabularyError."""

    def __init__(self) -> None:
        self._encodings = Encodings()
        self._calibration = Calibration()
        # Its queue is bounded by the requests in flight, each of which waits for its own count.
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="tokens")

    async def warm(self) -> None:
        """Load o200k, which nearly all models use, so that no call has to wait for it."""
        await self._in_thread(lambda: self._encodings.get(EncodingName.O200K))

    def close(self) -> None:
        """Counts under way end; those that wait are cancelled."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def prompt(self, operation: str, model: str, body: Mapping[str, object], size_bytes: int) -> PromptCount:
        """The prompt tokens of a request body, decoded from `size_bytes` of JSON.

        `operation` is the ledger's word for it. The body may be of any shape: what is text is counted, the rest counts
        as absent.
        """
        rules = rules_for(model)
        encodings = self._encodings

        def work() -> PromptCount:
            return count_prompt(operation, rules, body, size_bytes, encodings.get(rules.encoding).count)

        return self._calibrated(model, await self._run(work, rules.encoding, size_bytes))

    async def prompt_for(self, call: Call, model: str) -> PromptCount:
        """The same of a call, for the model behind an alias; a form's dialect has counted what is in it."""
        if call.media is not None and call.media.input_tokens is not None:
            return PromptCount(call.media.input_tokens, exact=False, unseen=False)
        return await self.prompt_of(call.operation, model, call.body)

    async def prompt_of(self, operation: str, model: str, body: bytes) -> PromptCount:
        """The same of a body that is still JSON; a large one is decoded in the thread too."""
        rules = rules_for(model)
        encodings = self._encodings

        def work() -> PromptCount:
            decoded = msgspec.json.decode(body)
            shaped = decoded if isinstance(decoded, dict) else {}
            return count_prompt(operation, rules, shaped, len(body), encodings.get(rules.encoding).count)

        return self._calibrated(model, await self._run(work, rules.encoding, len(body)))

    async def prompts_of(self, operation: str, model: str, bodies: Sequence[bytes]) -> list[PromptCount]:
        """The same of many bodies, in a thread: the lines of a batch."""
        rules = rules_for(model)
        encodings = self._encodings

        def work() -> list[PromptCount]:
            count = encodings.get(rules.encoding).count
            return [count_prompt(operation, rules, msgspec.json.decode(it), len(it), count) for it in bodies]

        return [self._calibrated(model, counted) for counted in await self._in_thread(work)]

    def learn(self, model: str, counted: PromptCount, reported_tokens: int) -> int | None:
        """Take note of what the provider says that a counted prompt had, all of it text. Returns by how many
        thousandths its estimates are taken from now on, None where nothing was learned.
        """
        if counted.estimate is None:
            return None
        return self._calibration.learn(model, counted.estimate, reported_tokens)

    def _calibrated(self, model: str, counted: PromptCount) -> PromptCount:
        if counted.exact or counted.unseen or rules_for(model).family is Family.OPENAI:
            return counted
        return replace(counted, tokens=self._calibration.applied(model, counted.tokens), estimate=counted.tokens)

    async def text(self, model: str, text: str) -> int:
        """Tokens of a text that a model wrote, by its family's factor."""
        # A character beyond ASCII is up to four bytes; counting them would cost an encoding of the text.
        size_bytes = len(text) if text.isascii() else 4 * len(text)
        return await self._run(lambda: self.text_now(model, text), rules_for(model).encoding, size_bytes)

    def text_now(self, model: str, text: str) -> int:
        """The same at once, for small pieces; waits 0.2 s for the encoding if it was never used before."""
        rules = rules_for(model)
        tokens = scaled(self._encodings.get(rules.encoding).count(text), rules.output_percent)
        return tokens if rules.family is Family.OPENAI else self._calibration.applied(model, tokens)

    async def _run(self, work: Callable[[], _T], encoding: EncodingName, size_bytes: int) -> _T:
        if size_bytes <= INLINE_BYTES and self._encodings.loaded(encoding) is not None:
            return work()
        return await self._in_thread(work)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)
