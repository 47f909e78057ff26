"""The demo upstream in OpenAI's dialect: chat completions, completions, embeddings, responses, models."""

import base64
import hashlib
import itertools
import struct
from collections import OrderedDict
from typing import Literal

import msgspec
from aiohttp import web

from gateway.upstream.demo_speech import (
    CREATED,
    MODELS,
    Saying,
    Speaker,
    event,
    event_stream,
    json_answer,
    text_of,
)

_DONE = b"data: [DONE]\n\n"
_MAX_STORED = 1000
_DIMENSIONS = 1536


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Message(msgspec.Struct):
    content: str | list[object] | None = None


class _Chat(msgspec.Struct):
    model: str
    messages: list[_Message]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None


class _Completion(msgspec.Struct):
    model: str
    prompt: str | list[str]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None


class _Embeddings(msgspec.Struct):
    model: str
    input: str | list[str]
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] = "float"


class _Responses(msgspec.Struct):
    model: str
    input: str | list[object] = ""
    instructions: str | None = None
    stream: bool | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    max_output_tokens: int | None = None


def routes(speaker: Speaker) -> list[web.RouteDef]:
    openai = _OpenAI(speaker)
    return [
        web.post("/v1/chat/completions", openai.chat),
        web.post("/v1/completions", openai.completion),
        web.post("/v1/embeddings", openai.embeddings),
        web.post("/v1/responses", openai.respond),
        web.get("/v1/responses/{id}", openai.stored),
        web.delete("/v1/responses/{id}", openai.forget),
        web.post("/v1/responses/{id}/cancel", openai.cancel),
        web.get("/v1/models", openai.models),
        web.get("/v1/models/{id}", openai.model),
    ]


class _OpenAI:
    """The routes, and the responses that callers asked to store (the newest thousand)."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._stored: OrderedDict[str, dict[str, object]] = OrderedDict()

    async def chat(self, request: web.Request) -> web.StreamResponse:
        asked = msgspec.json.decode(await request.read(), type=_Chat)
        cap = asked.max_completion_tokens or asked.max_tokens
        saying = self._speaker.say(asked.model, [text_of(message.content) for message in asked.messages], cap)
        copies = max(1, min(asked.n or 1, 8))
        head = self._head("chatcmpl", asked.model)
        usage = _usage(saying, copies)
        if asked.stream:
            wanted = asked.stream_options is not None and asked.stream_options.include_usage
            return await event_stream(request, _chat_events(head, saying, copies, usage if wanted else None))
        message = {"role": "assistant", "content": saying.text, "refusal": None}
        choices = [
            {"index": index, "message": message, "logprobs": None, "finish_reason": _finish(saying)}
            for index in range(copies)
        ]
        return json_answer({**head, "object": "chat.completion", "choices": choices, "usage": usage})

    async def completion(self, request: web.Request) -> web.StreamResponse:
        asked = msgspec.json.decode(await request.read(), type=_Completion)
        prompts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
        saying = self._speaker.say(asked.model, prompts, asked.max_tokens)
        head = {**self._head("cmpl", asked.model), "object": "text_completion"}
        if not asked.stream:
            return json_answer(
                {**head, "choices": [_text_choice(saying.text, _finish(saying))], "usage": _usage(saying)}
            )
        events = [event({**head, "choices": [_text_choice(word, None)]}) for word in saying.words]
        events.append(event({**head, "choices": [_text_choice("", _finish(saying))]}))
        if asked.stream_options is not None and asked.stream_options.include_usage:
            events.append(event({**head, "choices": [], "usage": _usage(saying)}))
        return await event_stream(request, [*events, _DONE])

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        asked = msgspec.json.decode(await request.read(), type=_Embeddings)
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        size = max(1, min(asked.dimensions or _DIMENSIONS, 4096))
        vectors = [_vector(text, size) for text in texts]
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": _packed(vector) if asked.encoding_format == "base64" else vector,
            }
            for index, vector in enumerate(vectors)
        ]
        tokens = sum(self._speaker.count(asked.model, text) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return json_answer({"object": "list", "data": data, "model": asked.model, "usage": usage})

    async def respond(self, request: web.Request) -> web.StreamResponse:
        asked = msgspec.json.decode(await request.read(), type=_Responses)
        if asked.previous_response_id is not None and asked.previous_response_id not in self._stored:
            return _unknown("response", asked.previous_response_id)
        inputs = [asked.input] if isinstance(asked.input, str) else [text_of(item) for item in asked.input]
        prompts = ([asked.instructions] if asked.instructions else []) + inputs
        saying = self._speaker.say(asked.model, prompts, asked.max_output_tokens)
        number = self._speaker.next_number()
        response = _response(asked, saying, number)
        if asked.store is not False:
            self._stored[f"resp_demo{number}"] = response
            if len(self._stored) > _MAX_STORED:
                self._stored.popitem(last=False)
        return (
            await event_stream(request, _response_events(response, saying)) if asked.stream else json_answer(response)
        )

    async def stored(self, request: web.Request) -> web.StreamResponse:
        response = self._stored.get(request.match_info["id"])
        return _unknown("response", request.match_info["id"]) if response is None else json_answer(response)

    async def forget(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["id"]
        if self._stored.pop(name, None) is None:
            return _unknown("response", name)
        return json_answer({"id": name, "object": "response", "deleted": True})

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """Everything is complete at once here, and cancelling what is complete returns it unchanged."""
        response = self._stored.get(request.match_info["id"])
        if response is None:
            return _unknown("response", request.match_info["id"])
        if not response["background"]:
            return _error(400, "Only background responses can be cancelled.", None)
        return json_answer(response)

    async def models(self, request: web.Request) -> web.StreamResponse:
        return json_answer({"object": "list", "data": [_model(name) for name in MODELS]})

    async def model(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["id"]
        return json_answer(_model(name)) if name in MODELS else _unknown("model", name)

    def _head(self, prefix: str, model: str) -> dict[str, object]:
        return {"id": f"{prefix}-demo{self._speaker.next_number()}", "created": CREATED, "model": model}


def _finish(saying: Saying) -> str:
    return "length" if saying.cut else "stop"


def _usage(saying: Saying, copies: int = 1) -> dict[str, object]:
    output = saying.output_tokens * copies
    return {
        "prompt_tokens": saying.input_tokens,
        "completion_tokens": output,
        "total_tokens": saying.input_tokens + output,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _chat_events(head: dict[str, object], saying: Saying, copies: int, usage: dict[str, object] | None) -> list[bytes]:
    """Role, words and end of every choice in turn; with usage asked for, `"usage": null` on each and one more chunk."""
    extra = {} if usage is None else {"usage": None}
    base = {**head, "object": "chat.completion.chunk", **extra}

    def chunk(index: int, delta: dict[str, str], finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event({**base, "choices": [choice]})

    events = [chunk(index, {"role": "assistant", "content": ""}) for index in range(copies)]
    events += [chunk(index, {"content": word}) for word, index in itertools.product(saying.words, range(copies))]
    events += [chunk(index, {}, _finish(saying)) for index in range(copies)]
    if usage is not None:
        events.append(event({**base, "choices": [], "usage": usage}))
    return [*events, _DONE]


def _text_choice(text: str, finish: str | None) -> dict[str, object]:
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}


def _response(asked: _Responses, saying: Saying, number: int) -> dict[str, object]:
    message = {
        "id": f"msg_demo{number}",
        "type": "message",
        "role": "assistant",
        "status": "incomplete" if saying.cut else "completed",
        "content": [{"type": "output_text", "text": saying.text, "annotations": [], "logprobs": []}],
    }
    usage = {
        "input_tokens": saying.input_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": saying.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": saying.input_tokens + saying.output_tokens,
    }
    return {
        "id": f"resp_demo{number}",
        "object": "response",
        "created_at": CREATED,
        "status": "incomplete" if saying.cut else "completed",
        "background": bool(asked.background),
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if saying.cut else None,
        "instructions": asked.instructions,
        "max_output_tokens": asked.max_output_tokens,
        "metadata": {},
        "model": asked.model,
        "output": [message],
        "parallel_tool_calls": True,
        "previous_response_id": asked.previous_response_id,
        "store": asked.store is not False,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": usage,
    }


def _response_events(response: dict[str, object], saying: Saying) -> list[bytes]:
    """The event sequence of the Responses API for one message of text, numbered."""
    begun = {**response, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    item = f"msg_{str(response['id']).removeprefix('resp_')}"
    place = {"item_id": item, "output_index": 0, "content_index": 0}
    empty = {"id": item, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    message = msgspec.convert(response["output"], list[object])[0]
    delta = {**place, "logprobs": []}
    sequence: list[tuple[str, dict[str, object]]] = [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
        ("response.output_item.added", {"output_index": 0, "item": empty}),
        ("response.content_part.added", {**place, "part": part}),
        *[("response.output_text.delta", {**delta, "delta": word}) for word in saying.words],
        ("response.output_text.done", {**delta, "text": saying.text}),
        ("response.content_part.done", {**place, "part": {**part, "text": saying.text}}),
        ("response.output_item.done", {"output_index": 0, "item": message}),
        (f"response.{response['status']}", {"response": response}),
    ]
    return [event({"type": name, "sequence_number": n, **data}, name) for n, (name, data) in enumerate(sequence)]


def _vector(text: str, size: int) -> list[float]:
    """Unit length and the same for the same text; it means nothing."""
    seed = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    raw = [byte - 127.5 for byte in itertools.islice(itertools.cycle(seed), size)]
    length = sum(value * value for value in raw) ** 0.5
    return [value / length for value in raw]


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "demo"}


def _unknown(what: str, name: str) -> web.Response:
    return _error(404, f"The {what} '{name}' does not exist.", f"{what}_not_found")


def _error(status: int, message: str, code: str | None) -> web.Response:
    refusal = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return json_answer({"error": refusal}, status)
