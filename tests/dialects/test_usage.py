"""What OpenAI's usage blocks are taken for."""

import msgspec
import pytest

from gateway.dialects.chat_completions import ChatCompletions

ANSWER = {"choices": [{"message": {"content": "Hello"}}]}


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"prompt_tokens": 2**53, "completion_tokens": 1},
        {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2**40},
        {"prompt_tokens": -1, "completion_tokens": 5},
    ],
    ids=["empty", "more input than any model reads", "more in all than any model handles", "negative"],
)
def test_figures_that_cannot_be_are_not_taken(usage: dict[str, int]) -> None:
    reading = ChatCompletions().read_answer(msgspec.json.encode({**ANSWER, "usage": usage}))
    assert reading.usage is None


def test_total_counts_where_the_completion_leaves_thinking_out() -> None:
    usage = {"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109}
    reading = ChatCompletions().read_answer(msgspec.json.encode({**ANSWER, "usage": usage}))
    assert reading.usage is not None
    assert reading.usage.output_tokens == 74
