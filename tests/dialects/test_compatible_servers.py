"""What servers that speak OpenAI's format say of usage in words of their own, as they were recorded or documented."""

from typing import Any

import msgspec
import pytest

from gateway.core.call import NOTHING, Call
from gateway.core.money import told_usd
from gateway.core.usage import Usage
from gateway.dialects.chat_completions import ChatCompletions
from gateway.proxy.meter import Meter
from tests.events import DONE, chunk

DELTA = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}


def streamed(*events: bytes) -> Usage | None:
    call = Call(operation="chat", model="m", body=b"", streams=True)
    meter = Meter(ChatCompletions(), call, asked_usage=True, count=len)
    shown = b"".join(map(meter.feed, events)) + meter.finish()
    assert b"Hi" in shown
    return meter.usage


def with_usage(usage: dict[str, Any], **fields: Any) -> bytes:
    """A stream's last choice with figures on it, as most compatible servers send them."""
    return chunk(choices=[DELTA], usage=usage, **fields)


BLOCKS: list[tuple[str, dict[str, Any], tuple[int, int, int, int]]] = [
    ("deepseek", {"prompt_tokens": 14, "completion_tokens": 20, "total_tokens": 34, "prompt_cache_hit_tokens": 8,
                  "prompt_cache_miss_tokens": 6, "prompt_tokens_details": {"cached_tokens": 8},
                  "completion_tokens_details": None}, (14, 8, 20, 0)),
    ("deepseek without details", {"prompt_tokens": 14, "completion_tokens": 20, "prompt_cache_hit_tokens": 8},
     (14, 8, 20, 0)),
    ("openrouter", {"prompt_tokens": 17, "completion_tokens": 177, "total_tokens": 194, "cost": 0.0026805,
                    "is_byok": False, "cost_details": {"upstream_inference_cost": None}, "prompt_tokens_details": {
                        "cached_tokens": 0, "audio_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 160}},
     (17, 0, 177, 160)),
    ("mistral", {"prompt_tokens": 30, "completion_tokens": 4, "total_tokens": 34, "num_cached_tokens": 16},
     (30, 16, 4, 0)),
    ("llama.cpp", {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}, (9, 0, 3, 0)),
    ("ollama", {"prompt_tokens": 26, "completion_tokens": 5, "total_tokens": 31}, (26, 0, 5, 0)),
    ("gemini's compatible endpoint", {"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109},
     (35, 0, 74, 0)),
    ("self-hosted, nulls", {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12,
                            "prompt_tokens_details": None, "completion_tokens_details": None}, (9, 0, 3, 0)),
]  # fmt: skip


@pytest.mark.parametrize(("server", "block", "figures"), BLOCKS, ids=[server for server, _, _ in BLOCKS])
def test_figures_of_a_server_are_read_whole_and_streamed(
    server: str, block: dict[str, Any], figures: tuple[int, int, int, int]
) -> None:
    del server
    whole = ChatCompletions().read_answer(msgspec.json.encode({"choices": [], "usage": block})).usage
    for usage in (whole, streamed(with_usage(block, timings={"predicted_n": 3}), DONE)):
        assert usage is not None
        assert (usage.input_tokens, usage.cached_tokens, usage.output_tokens, usage.reasoning_tokens) == figures


def test_groqs_figures_are_read_where_its_streams_carry_them() -> None:
    block = {"prompt_tokens": 40, "completion_tokens": 6, "total_tokens": 46, "queue_time": 0.17, "total_time": 0.02}
    usage = streamed(chunk(choices=[DELTA], x_groq={"id": "req_1", "usage": block}), DONE)
    assert usage is not None and (usage.input_tokens, usage.output_tokens) == (40, 6)


def test_vllms_figures_on_every_chunk_are_not_added_up() -> None:
    blocks = [{"prompt_tokens": 9, "completion_tokens": n, "total_tokens": 9 + n} for n in (1, 2, 3)]
    usage = streamed(*map(with_usage, blocks), chunk(choices=[], usage=blocks[-1]), DONE)
    assert usage is not None and (usage.input_tokens, usage.output_tokens) == (9, 3)


@pytest.mark.parametrize(
    ("told", "nano"),
    [("0.0026805", 2_680_500), ("0", 0), ("1.5e-7", 150), ("2.5e-9", 2), ("3.5e-9", 4), ("1e-30", 0),
     ("12", 12 * 10**9),
     ("-1", None), ("null", None), ('"0.1"', None), ('{"total_cost": 1}', None), ("1e30", None), ("1e999", None),
     ("9" * 100, None)],
)  # fmt: skip
def test_cost_that_a_provider_tells_is_nano_usd_or_nothing(told: str, nano: int | None) -> None:
    assert told_usd(told) == nano
    body = b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"cost":%b}}' % told.encode()
    usage = ChatCompletions().read_answer(body).usage
    assert usage is not None and usage.upstream_cost_nano_usd == nano


IN_PARTS = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm. "}]},
    {"type": "text", "text": "Hi"},
    {"type": "reference", "reference_ids": [1]},
]


@pytest.mark.parametrize(
    "said",
    [{"content": IN_PARTS}, {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}, {"content": 7}],
    ids=["mistral's parts", "arguments as an object", "nobody knows"],
)
def test_figures_are_read_whatever_an_answer_looks_like(said: dict[str, Any]) -> None:
    body = {"choices": [{"index": 0, "message": said}], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}
    usage = ChatCompletions().read_answer(msgspec.json.encode(body)).usage
    assert usage is not None and (usage.input_tokens, usage.output_tokens) == (9, 3)
    event = {"choices": [{"index": 0, "delta": said}], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}
    assert ChatCompletions().read_event(msgspec.json.encode(event)).usage == usage


def test_text_in_parts_is_counted_as_text() -> None:
    event = msgspec.json.encode({"choices": [{"index": 0, "delta": {"content": IN_PARTS}}]})
    assert ChatCompletions().read_event(event).text == "Hm. Hi"
    called = {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}
    event = msgspec.json.encode({"choices": [{"index": 0, "delta": called}]})
    assert ChatCompletions().read_event(event).text == 'f{"a":1}'


def test_answer_that_nobody_can_read_and_that_has_no_figures_is_all_text() -> None:
    body = msgspec.json.encode({"choices": [{"index": 0, "message": {"content": 7}}]})
    assert ChatCompletions().read_answer(body).usage is None
    assert ChatCompletions().read_answer(body).text == body.decode()
    assert ChatCompletions().read_answer(b"[") is NOTHING
