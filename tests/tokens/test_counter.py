"""The counter the gateway holds: short counts at once, long ones off the event loop, any input."""

import asyncio
import time

import pytest

from gateway.tokens.counter import INLINE_BYTES, TokenCounter


async def test_short_prompt_with_a_loaded_encoding_is_counted_without_waiting(counter: TokenCounter) -> None:
    await counter.warm()
    counting = counter.prompt("chat", "gpt-4o", {"messages": [{"role": "user", "content": "hello"}]}, 60)
    with pytest.raises(StopIteration) as finished:
        counting.send(None)
    assert finished.value.value.tokens == 8


async def test_encoding_not_loaded_yet_is_loaded_off_the_loop() -> None:
    counter = TokenCounter()
    try:
        result = await counter.prompt("completions", "text-davinci-003", {"prompt": "hello"}, 20)
    finally:
        counter.close()
    assert result.tokens == 1


@pytest.mark.parametrize("character", [" ", "🙂", "\ud83d", "a"])
async def test_long_hostile_text_leaves_the_loop_free(character: str, counter: TokenCounter) -> None:
    await counter.warm()
    counting = asyncio.create_task(counter.text("gpt-4o", character * 1_000_000))
    longest = 0.0
    while not counting.done():
        before = time.process_time()
        await asyncio.sleep(0)
        longest = max(longest, time.process_time() - before)
    assert await counting > 0
    assert longest < 0.5


async def test_text_counts_alike_inline_in_a_thread_and_at_once(counter: TokenCounter) -> None:
    await counter.warm()
    short = "hello world. " * 100
    long = short * (2 * INLINE_BYTES // len(short))
    assert await counter.text("gpt-4o", short) == counter.text_now("gpt-4o", short)
    assert await counter.text("gpt-4o", long) == counter.text_now("gpt-4o", long)


async def test_text_of_another_family_has_its_output_factor(counter: TokenCounter) -> None:
    text = "hello " * 100
    plain = counter.text_now("gpt-4o", text)
    assert counter.text_now("claude-sonnet-4-5", text) == -(-plain * 120 // 100)
    assert counter.text_now("llama-3.3-70b", text) == plain


async def test_many_prompts_at_once_are_all_counted(counter: TokenCounter) -> None:
    body: dict[str, object] = {"input": "hello " * 20_000}
    counts = await asyncio.gather(*(counter.prompt("embeddings", "gpt-4o", body, 120_000) for _ in range(20)))
    assert {count.tokens for count in counts} == {20_001}
