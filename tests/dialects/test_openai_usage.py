"""Usage blocks of OpenAI's chats, responses and embeddings, read as genai-prices reads them."""

import json
from typing import Any

import genai_prices
import pytest
from genai_prices import Usage as Oracle
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.usage import Usage
from gateway.dialects.chat_completions import ChatCompletions
from gateway.dialects.embeddings import Embeddings
from gateway.dialects.responses import Responses
from tests.recorded import Recorded, recorded_streams

COUNT = st.integers(0, 1_000_000)
MODEL = "gpt-4o-audio-preview"
COUNTED = {
    "/v1/chat/completions": ("prompt_tokens", "completion_tokens"),
    "/v1/responses": ("input_tokens", "output_tokens"),
}


def parts(total: int, count: int) -> st.SearchStrategy[list[int]]:
    """So many disjoint parts of a total."""
    cuts = st.lists(st.integers(0, total), min_size=count, max_size=count).map(sorted)
    return cuts.map(lambda found: [after - before for before, after in zip([0, *found], found, strict=False)])


@st.composite
def chats(draw: st.DrawFn) -> dict[str, Any]:
    """What a chat tells. Only audio that was not read from the cache is told apart."""
    given_tokens, written = draw(COUNT), draw(COUNT)
    cached, heard = draw(parts(given_tokens, 2))
    thought, spoken = draw(parts(written, 2))
    block: dict[str, Any] = {"prompt_tokens": given_tokens, "completion_tokens": written}
    block["total_tokens"] = given_tokens + written
    if draw(st.booleans()):
        block["prompt_tokens_details"] = {"cached_tokens": cached, "audio_tokens": heard}
        block["completion_tokens_details"] = {"reasoning_tokens": thought, "audio_tokens": spoken}
    return block


@st.composite
def responses(draw: st.DrawFn) -> dict[str, Any]:
    """What a response tells."""
    given_tokens, written = draw(COUNT), draw(COUNT)
    block: dict[str, Any] = {"input_tokens": given_tokens, "output_tokens": written}
    block["total_tokens"] = given_tokens + written
    if draw(st.booleans()):
        block["input_tokens_details"] = {"cached_tokens": draw(st.integers(0, given_tokens))}
        block["output_tokens_details"] = {"reasoning_tokens": draw(st.integers(0, written))}
    return block


def assert_alike(read: Usage | None, oracle: Oracle) -> None:
    assert read is not None
    assert (read.input_tokens, read.cached_tokens, read.input_audio_tokens) == (
        oracle.input_tokens, oracle.cache_read_tokens or 0, oracle.input_audio_tokens or 0,
    )  # fmt: skip
    assert (read.output_tokens, read.output_audio_tokens) == (
        oracle.output_tokens or 0, oracle.output_audio_tokens or 0,
    )  # fmt: skip


@given(block=chats())
def test_chat_is_read_as_genai_prices_reads_it(block: dict[str, Any]) -> None:
    answer = {"model": MODEL, "choices": [], "usage": block}
    oracle = genai_prices.extract_usage(answer, provider_id="openai", api_flavor="chat").usage
    assert_alike(ChatCompletions().read_answer(json.dumps(answer).encode()).usage, oracle)


@given(block=responses())
def test_response_is_read_as_genai_prices_reads_it(block: dict[str, Any]) -> None:
    answer = {"id": "resp_1", "model": "gpt-5", "status": "completed", "output": [], "usage": block}
    oracle = genai_prices.extract_usage(answer, provider_id="openai", api_flavor="responses").usage
    assert_alike(Responses().read_answer(json.dumps(answer).encode()).usage, oracle)


@given(count=COUNT)
def test_embeddings_are_read_as_genai_prices_reads_them(count: int) -> None:
    answer = {"model": "text-embedding-3-small", "usage": {"prompt_tokens": count, "total_tokens": count}}
    oracle = genai_prices.extract_usage(answer, provider_id="openai", api_flavor="embeddings").usage
    assert_alike(Embeddings().read_answer(json.dumps(answer).encode()).usage, oracle)


def streams_of(path: str) -> list[Recorded]:
    """Those whose provider counts as OpenAI does: elsewhere hidden thoughts are in the total alone."""
    told = [(one, one.usage) for one in recorded_streams() if one.path == path]
    return [one for one, usage in told if usage and sum(usage[name] for name in COUNTED[path]) == usage["total_tokens"]]


@pytest.mark.parametrize("recorded", streams_of("/v1/responses"), ids=lambda one: one.name)
def test_recorded_responses_are_read_as_genai_prices_reads_them(recorded: Recorded) -> None:
    answer = {"model": "gpt-5", "usage": recorded.usage}
    oracle = genai_prices.extract_usage(answer, provider_id="openai", api_flavor="responses").usage
    assert_alike(Responses().read_answer(json.dumps(answer).encode()).usage, oracle)


@pytest.mark.parametrize("recorded", streams_of("/v1/chat/completions"), ids=lambda one: one.name)
def test_recorded_chats_are_read_as_genai_prices_reads_them(recorded: Recorded) -> None:
    answer = {"model": MODEL, "usage": recorded.usage}
    oracle = genai_prices.extract_usage(answer, provider_id="openai", api_flavor="chat").usage
    assert_alike(ChatCompletions().read_answer(json.dumps(answer).encode()).usage, oracle)
