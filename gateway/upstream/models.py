"""Each upstream's own list of models: asked for when first wanted, kept a while, and an old one beats none.

An upstream that hangs is waited for once. From then on what is known of it answers, if only that it failed, and it is
asked behind the caller's back.
"""

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
_FAILED_SECONDS = 10.0  # how long one without a list is not asked again
_FETCH_SECONDS = 5.0
_PATIENCE_SECONDS = 0.5  # how long to wait for a newer list where something is known
_MAX_BYTES = 8 * 1024 * 1024
_SERVED_METHODS = frozenset({"generateContent", "embedContent"})
"""Google also lists models that only draw, film or talk live, which no route of the gateway asks."""


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model that an upstream says it has. `created` is unix seconds, the limits are tokens; None where it does not
    tell.
    """

    id: str
    created: int | None = None
    owned_by: str | None = None
    display_name: str | None = None
    input_token_limit: int | None = None
    output_token_limit: int | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    upstream: Upstream
    models: tuple[ListedModel, ...] | UpstreamFailed
    until: float

    def told(self) -> tuple[ListedModel, ...]:
        """Return the list. Raises UpstreamFailed for one that was never had."""
        if isinstance(self.models, UpstreamFailed):
            raise self.models.with_traceback(None)
        return self.models


class ModelLists:
    """The lists of all upstreams. `monotonic` gives seconds; a newer list is waited for `patience_seconds`."""

    def __init__(
        self,
        pool: Pool,
        monotonic: Callable[[], float] = time.monotonic,
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        self._pool = pool
        self._monotonic = monotonic
        self._patience_seconds = patience_seconds
        self._entries: dict[str, _Entry] = {}
        self._fetching: dict[Upstream, asyncio.Task[_Entry]] = {}

    async def of(self, upstream: Upstream) -> tuple[ListedModel, ...]:
        """The upstream's models in its own order, at most five minutes old unless it fails or is slow. Callers at the
        same time share one request. Raises UpstreamFailed when it fails, or failed just now, and no list is known.
        """
        entry = self._entries.get(upstream.name)
        known = entry if entry is not None and entry.upstream == upstream else None
        if known is not None and self._monotonic() < known.until:
            return known.told()
        task = self._fetching.get(upstream)
        if task is None:
            task = self._fetching[upstream] = asyncio.create_task(self._refresh(upstream, known))
            task.add_done_callback(lambda _: self._fetching.pop(upstream, None))
        done, _ = await asyncio.wait((task,), timeout=None if known is None else self._patience_seconds)
        return task.result().told() if done or known is None else known.told()

    async def close(self) -> None:
        """Give up what is being fetched."""
        tasks = tuple(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _refresh(self, upstream: Upstream, known: _Entry | None) -> _Entry:
        models: tuple[ListedModel, ...] | UpstreamFailed
        try:
            models, seconds = await self._fetch(upstream), _FRESH_SECONDS
        except UpstreamFailed as failure:
            if known is None or isinstance(known.models, UpstreamFailed):
                models, seconds = failure, _FAILED_SECONDS
            else:
                models, seconds = known.models, _RETRY_SECONDS
        entry = self._entries[upstream.name] = _Entry(upstream, models, self._monotonic() + seconds)
        return entry

    async def _fetch(self, upstream: Upstream) -> tuple[ListedModel, ...]:
        if upstream.provider == "azure" and upstream.deployments:
            # Azure lists what could be deployed, not what is.
            return tuple(ListedModel(name) for name, _ in upstream.deployments)
        species = SPECIES[upstream.provider]
        try:
            async with asyncio.timeout(_FETCH_SECONDS):
                status, body = await self._get(upstream, species.models_path)
        except TimeoutError as error:
            raise failures.late(upstream.name) from error
        if status != 200:
            raise failures.broken(upstream.name)
        try:
            return parse_models(upstream.provider, body)
        except msgspec.MsgspecError as error:
            raise failures.broken(upstream.name) from error

    async def _get(self, upstream: Upstream, path: str) -> tuple[int, bytes]:
        reply = await self._pool.send(upstream, "GET", path, (), b"")
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
    display_name: str | None = None


class _GeminiModel(msgspec.Struct, rename="camel"):
    name: str
    display_name: str | None = None
    input_token_limit: int | None = None
    output_token_limit: int | None = None
    supported_generation_methods: frozenset[str] = _SERVED_METHODS


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
            return tuple(
                ListedModel(model.id, _unix(model.created_at), "anthropic", model.display_name) for model in listed
            )
        case "gemini":
            named = msgspec.json.decode(body, type=_GeminiList).models
            return tuple(_gemini(model) for model in named if model.supported_generation_methods & _SERVED_METHODS)
        case _:
            data = msgspec.json.decode(body, type=_OpenAIList).data
            return tuple(
                ListedModel(model.id, None if model.created is None else int(model.created), model.owned_by)
                for model in data
            )


def _gemini(model: _GeminiModel) -> ListedModel:
    limits = model.input_token_limit, model.output_token_limit
    return ListedModel(model.name.removeprefix("models/"), None, "google", model.display_name, *limits)


def _unix(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
