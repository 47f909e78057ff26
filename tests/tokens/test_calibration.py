"""What is learned from providers' figures: bounded, forgotten in bulk, and never of OpenAI's own formulas."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tokens.calibration import LEAST, MOST, MOST_MODELS, UNIT, Calibration
from gateway.tokens.counter import TokenCounter

PROSE = "The quick brown fox jumps over the lazy dog, and then it sleeps under a tree until the sun goes down. " * 20
CHAT = {"messages": [{"role": "user", "content": PROSE}]}


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(-5, 2**31)), max_size=60))
def test_factor_stays_in_bounds_whatever_is_reported(pairs: list[tuple[int, int]]) -> None:
    learned = Calibration()
    for estimated, reported in pairs:
        learned.learn("m", estimated, reported)
    assert LEAST <= learned.factor("m") <= MOST
    assert learned.applied("m", 1_000) == learned.factor("m")


def test_factor_nears_what_is_reported_again_and_again() -> None:
    learned = Calibration()
    for _ in range(60):
        learned.learn("m", 1_000, 1_300)
    assert 1_290 <= learned.factor("m") <= 1_300
    assert learned.factor("another") == UNIT


@pytest.mark.parametrize(("estimated", "reported"), [(99, 200), (0, 5), (1_000, 0)])
def test_prompt_that_says_too_little_teaches_nothing(estimated: int, reported: int) -> None:
    learned = Calibration()
    assert learned.learn("m", estimated, reported) is None
    assert learned.factor("m") == UNIT


def test_names_are_not_kept_without_end() -> None:
    learned = Calibration()
    for number in range(MOST_MODELS + 5):
        learned.learn(f"m{number}", 1_000, 1_500)
    assert learned.factor("m0") == UNIT and learned.factor(f"m{MOST_MODELS + 4}") > UNIT


@pytest.mark.parametrize("model", ["claude-sonnet-4-6", "gemini-2.5-flash", "own-model"])
async def test_estimates_of_prompts_and_answers_follow_but_holds_never_shrink(model: str) -> None:
    counter = TokenCounter()
    before = await counter.prompt("chat", model, CHAT, len(PROSE))
    written = await counter.text(model, PROSE)
    for _ in range(60):
        counter.learn(model, before, before.tokens * 8 // 10)
    after = await counter.prompt("chat", model, CHAT, len(PROSE))
    assert after.tokens == pytest.approx(before.tokens * 0.8, rel=0.02)
    assert (after.estimate, after.held) == (before.tokens, before.tokens)
    assert await counter.text(model, PROSE) == pytest.approx(written * 0.8, rel=0.02)
    for _ in range(60):
        counter.learn(model, after, before.tokens * 12 // 10)
    raised = await counter.prompt("chat", model, CHAT, len(PROSE))
    assert raised.held == raised.tokens == pytest.approx(before.tokens * 1.2, rel=0.02)
    counter.close()


async def test_openais_formulas_are_never_calibrated() -> None:
    counter = TokenCounter()
    before = await counter.prompt("chat", "gpt-4o", CHAT, len(PROSE))
    assert counter.learn("gpt-4o", before, before.tokens * 2) is None
    assert await counter.prompt("chat", "gpt-4o", CHAT, len(PROSE)) == before
    counter.close()
