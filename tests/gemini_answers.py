"""Answers, pieces and streams as Google writes them, for scripts of the provider in tests."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from google import genai
from google.genai import types

from gateway.core.upstreams import Upstream
from tests.events import EVENT_STREAM, JSON
from tests.gateway import RunningGateway, running_gateway
from tests.provider import Provider, Step

MODEL = "gemini-2.5-flash"
PLAIN = f"/v1beta/models/{MODEL}:generateContent"
STREAM = f"/v1beta/models/{MODEL}:streamGenerateContent"
EVENTS = f"{STREAM}?alt=sse"
ARRAY_JSON = {"content-type": "application/json; charset=UTF-8"}


@asynccontextmanager
async def gemini_gateway(
    database_url: str, provider: Provider, folder: Path, **settings: Any
) -> AsyncIterator[RunningGateway]:
    """A gateway in front of the scripted provider as Google's."""

    def google(main: Upstream) -> Upstream:
        return replace(main, provider="gemini", base_url=provider.url, models=("gemini-*",))

    async with running_gateway(database_url, provider, folder, upstream=google, **settings) as running:
        yield running


def sdk(gateway: RunningGateway, key: str, version: str | None = None, prefix: str = "") -> genai.Client:
    """Google's own client; without a version the one that it picks itself."""
    options = types.HttpOptions(base_url=f"{gateway.url}{prefix}", api_version=version)
    client = genai.Client(api_key=key, http_options=options)
    gateway.stack.push_async_callback(client.aio.aclose)
    gateway.stack.callback(client.close)
    return client


def asking(text: str = "Hi", **fields: Any) -> dict[str, Any]:
    """The smallest request there is, with these fields beside."""
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], **fields}


def figures(prompt: int = 10, candidates: int | None = 5, **more: Any) -> dict[str, Any]:
    """A usage block; `thoughtsTokenCount` and its like by their own names. The total is their sum."""
    block = {"promptTokenCount": prompt, **more}
    if candidates is not None:
        block["candidatesTokenCount"] = candidates
    counted = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount")
    return block | {"totalTokenCount": sum(block.get(name, 0) for name in counted)}


def piece(*parts: dict[str, Any], finish: str | None = None, usage: dict[str, Any] | None = None, **more: Any) -> Any:
    """A whole answer, or a piece of a stream."""
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0, **more}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": usage or figures(), "modelVersion": MODEL, "responseId": "r1"}


def words(*texts: str) -> list[Any]:
    """The pieces of a streamed text; the figures grow with them."""
    return [
        piece({"text": text}, finish="STOP" if number == len(texts) else None, usage=figures(10, number))
        for number, text in enumerate(texts, 1)
    ]


def event(body: Any) -> bytes:
    """One event as Google writes it."""
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\r\n\r\n"


def array(bodies: list[Any]) -> list[bytes]:
    """The pieces in which an array of these comes."""
    written = [json.dumps(body, indent=2, ensure_ascii=False).encode() for body in bodies]
    return [(b"[" if number == 0 else b"\n,\r\n") + body for number, body in enumerate(written)] + [b"\n]"]


def answers(provider: Provider, body: Any) -> None:
    """Queue a whole answer."""
    provider.answer(200, ARRAY_JSON, json.dumps(body).encode())


def streams(provider: Provider, bodies: list[Any], *more: Step) -> None:
    """Queue a stream of events."""
    provider.answer(200, EVENT_STREAM, [*map(event, bodies), *more], framing="chunked")


def streams_array(provider: Provider, bodies: list[Any]) -> None:
    """Queue a stream in one JSON array."""
    provider.answer(200, ARRAY_JSON, [*array(bodies)], framing="chunked")


def refuses(provider: Provider, status: int, word: str, message: str, **detail: str) -> None:
    """Queue an error."""
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", **detail}] if detail else []
    error = {"code": status, "message": message, "status": word, "details": details}
    provider.answer(status, JSON, json.dumps({"error": error}).encode())
