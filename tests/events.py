"""Answers and events as OpenAI writes them, for scripts of the provider in tests."""

import json
from typing import Any

JSON = {"content-type": "application/json"}
EVENT_STREAM = {"content-type": "text/event-stream; charset=utf-8"}
DONE = b"data: [DONE]\n\n"


def usage(prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    """A usage block of chat, completions and embeddings."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **more}


def completion(text: str = "Hello", *, model: str = "gpt-4o-mini", **fields: Any) -> bytes:
    """A whole chat completion; `fields` replace or add to its own."""
    message = {"role": "assistant", "content": text}
    body: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model}
    body |= {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage(10, 5)}
    return json.dumps(body | fields).encode()


def event(body: dict[str, Any], name: str | None = None) -> bytes:
    """One event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(body)}\n\n".encode()


def chunk(text: str | None = None, *, finish: str | None = None, **fields: Any) -> bytes:
    """One event of a chat stream."""
    delta = {} if text is None else {"content": text}
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini"}
    return event({**head, "choices": choices, **fields})


def usage_chunk(prompt: int, completion: int) -> bytes:
    """The event that OpenAI sends before [DONE] when usage was asked for."""
    return chunk(choices=[], usage=usage(prompt, completion))


def response(id: str = "resp_1", text: str = "Hello", *, status: str = "completed", **fields: Any) -> dict[str, Any]:
    """A whole response object, with figures unless it is still in progress."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": content}
    done = status == "completed"
    figures = {"input_tokens": 12, "output_tokens": 7, "total_tokens": 19}
    figures |= {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}  # type: ignore[dict-item]
    body: dict[str, Any] = {"id": id, "object": "response", "created_at": 1, "status": status, "model": "gpt-4o-mini"}
    body |= {"output": [message] if done else [], "usage": figures if done else None, "error": None, "tools": []}
    body |= {"parallel_tool_calls": True, "tool_choice": "auto", "incomplete_details": None, "instructions": None}
    return body | {"metadata": {}, "temperature": 1.0, "top_p": 1.0} | fields


def response_events(id: str = "resp_1", words: tuple[str, ...] = ("Hel", "lo")) -> list[bytes]:
    """The events of a streamed response, as they come."""
    text = "".join(words)
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    empty = {"type": "output_text", "text": "", "annotations": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    bodies: list[dict[str, Any]] = [
        {"type": "response.created", "response": response(id, status="in_progress")},
        {"type": "response.in_progress", "response": response(id, status="in_progress")},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **place, "part": empty},
        *({"type": "response.output_text.delta", **place, "delta": word, "logprobs": []} for word in words),
        {"type": "response.output_text.done", **place, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": empty | {"text": text}},
        {"type": "response.output_item.done", "output_index": 0, "item": response(id, text)["output"][0]},
        {"type": "response.completed", "response": response(id, text)},
    ]
    return [event({**body, "sequence_number": n}, body["type"]) for n, body in enumerate(bodies)]
