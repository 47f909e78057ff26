"""Each upstream's own list of models: asked for when first wanted, kept a while, and an old one beats none."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import msgspec

from gateway.core.errors import UpstreamFailed
from gateway.core.upstreams import Provider, Upstream
from gateway.upstream import failures
from gateway.upstream.pool import Pool
from gateway.upstream.providers import SPECIES

_FRESH_SECONDS = 300.0
_RETRY_SECONDS = 30.0  # how long an old list serves before a failed upstream is asked again
_FETCH_SECONDS = 10.0
_MAX_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model that an upstream says it has. `created` is unix seconds; both None where the upstream does not tell."""

    id: str
    created: int | None = None
    owned_by: str | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    upstream: Upstream
    models: tuple[ListedModel, ...]
    until: float


class ModelLists:
    """The lists of all upstreams. `monotonic` gives seconds."""

    def __init__(self, pool: Pool, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._monotonic = monotonic
        self._entries: dict[str, _Entry] = {}
        self._fetching: dict[Upstream, asyncio.Task[tuple[ListedModel, ...]]] = {}

    async def of(self, upstream: Upstream) -> tuple[ListedModel, ...]:
        """The upstream's models in its own order, at most five minutes old unless it fails. Callers at the same time
        share one request. Raises UpstreamFailed when it fails and no earlier list is known.
        """
        entry = self._entries.get(upstream.name)
        if entry is not None and entry.upstream == upstream and self._monotonic() < entry.until:
            return entry.models
        task = self._fetching.get(upstream)
        if task is None:
            task = self._fetching[upstream] = asyncio.create_task(self._refresh(upstream, entry))
            task.add_done_callback(lambda _: self._fetching.pop(upstream, None))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Give up what is being fetched."""
        tasks = tuple(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _refresh(self, upstream: Upstream, known: _Entry | None) -> tuple[ListedModel, ...]:
        fresh_seconds = _FRESH_SECONDS
        try:
            models = await self._fetch(upstream)
        except UpstreamFailed:
            if known is None or known.upstream != upstream:
                raise
            models, fresh_seconds = known.models, _RETRY_SECONDS
        self._entries[upstream.name] = _Entry(upstream, models, self._monotonic() + fresh_seconds)
        return models

    async def _fetch(self, upstream: Upstream) -> tuple[ListedModel, ...]:
        species = SPECIES[upstream.provider]
        try:
            async with asyncio.timeout(_FETCH_SECONDS):
                status, body = await self._get(upstream, species.models_path, species.models_headers)
        except TimeoutError as error:
            raise failures.late(upstream.name) from error
        if status != 200:
            raise failures.broken(upstream.name)
        try:
            return parse_models(upstream.provider, body)
        except msgspec.MsgspecError as error:
            raise failures.broken(upstream.name) from error

    async def _get(self, upstream: Upstream, path: str, headers: tuple[tuple[bytes, bytes], ...]) -> tuple[int, bytes]:
        reply = await self._pool.send(upstream, "GET", path, headers, b"")
        try:
            body = bytearray()
            while piece := await reply.chunk():
                body += piece
                if len(body) > _MAX_BYTES:
                    raise failures.broken(upstream.name)
            return reply.status, bytes(body)
        finally:
            reply.close()


class _OpenAIModel(msgspec.Struct):
    id: str
    created: int | float | None = None
    owned_by: str | None = None


class _AnthropicModel(msgspec.Struct):
    id: str
    created_at: datetime | None = None


class _GeminiModel(msgspec.Struct):
    name: str


class _OpenAIList(msgspec.Struct):
    data: list[_OpenAIModel]


class _AnthropicList(msgspec.Struct):
    data: list[_AnthropicModel]


class _GeminiList(msgspec.Struct):
    models: list[_GeminiModel] = []


def parse_models(provider: Provider, body: bytes) -> tuple[ListedModel, ...]:
    """Read a list in its provider's shape. Raises msgspec.MsgspecError."""
    match provider:
        case "anthropic":
            listed = msgspec.json.decode(body, type=_AnthropicList).data
            return tuple(ListedModel(model.id, _unix(model.created_at), "anthropic") for model in listed)
        case "gemini":
            named = msgspec.json.decode(body, type=_GeminiList).models
            return tuple(ListedModel(model.name.removeprefix("models/"), None, "google") for model in named)
        case _:
            data = msgspec.json.decode(body, type=_OpenAIList).data
            return tuple(
                ListedModel(model.id, None if model.created is None else int(model.created), model.owned_by)
                for model in data
            )


def _unix(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
