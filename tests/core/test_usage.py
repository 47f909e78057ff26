"""Usage: whatever a provider reports becomes a record that holds together."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.usage import MAX_COUNT, OtherModel, Usage, checked_usage, with_media

MEDIA = ("images", "audio_ms", "characters")
WORDS = (
    "service_tier",
    "image_size",
    "image_quality",
    "surcharge_percent",
    "is_clamped",
    "others",
    "lacks_input",
    "lacks_output",
)
COUNTS = [name for name in Usage.__struct_fields__ if name not in (*MEDIA, *WORDS, "upstream_cost_nano_usd")]
SMALL = st.integers(-5, 60) | st.none()
WILD = st.integers(-(2**70), 2**70) | st.none()


def assert_holds_together(usage: Usage) -> None:
    assert min(msgspec.structs.astuple(usage)[: len(COUNTS)]) >= 0
    assert max(usage.input_tokens, usage.output_tokens, usage.web_searches) <= MAX_COUNT
    assert usage.cached_audio_tokens <= usage.input_audio_tokens
    assert usage.cached_image_tokens <= usage.input_image_tokens
    assert usage.cached_audio_tokens + usage.cached_image_tokens <= usage.cached_tokens
    fresh_media = (
        usage.input_audio_tokens - usage.cached_audio_tokens + usage.input_image_tokens - usage.cached_image_tokens
    )
    writes = usage.cache_write_tokens + usage.cache_write_1h_tokens
    assert usage.cached_tokens + writes + fresh_media <= usage.input_tokens
    assert usage.reasoning_tokens + usage.output_audio_tokens + usage.output_image_tokens <= usage.output_tokens


@given(st.fixed_dictionaries({name: SMALL for name in COUNTS}) | st.fixed_dictionaries({name: WILD for name in COUNTS}))
def test_usage_from_any_integers_holds_together(counts: dict[str, int | None]) -> None:
    assert_holds_together(checked_usage(**counts))  # type: ignore[arg-type]  # service_tier is not among the names


@given(st.fixed_dictionaries({name: SMALL for name in COUNTS}))
def test_usage_checked_twice_stays_as_it_is(counts: dict[str, int | None]) -> None:
    once = checked_usage(**counts)  # type: ignore[arg-type]  # service_tier is not among the names
    again = checked_usage(**{name: getattr(once, name) for name in COUNTS})
    assert msgspec.structs.replace(again, is_clamped=once.is_clamped) == once
    assert not again.is_clamped


def test_usage_of_nothing_is_zero() -> None:
    usage = checked_usage()
    assert usage == Usage()
    assert usage.total_tokens == 0


def test_usage_that_fits_is_kept_unflagged() -> None:
    usage = checked_usage(
        input_tokens=100, cached_tokens=80, output_tokens=20, reasoning_tokens=20, service_tier="flex"
    )
    assert (usage.cached_tokens, usage.reasoning_tokens, usage.total_tokens) == (80, 20, 120)
    assert usage.service_tier == "flex"
    assert not usage.is_clamped


@pytest.mark.parametrize(
    ("reported", "kept"),
    [
        ({"input_tokens": -1}, {"input_tokens": 0}),
        ({"input_tokens": 2**63}, {"input_tokens": MAX_COUNT}),
        ({"input_tokens": 10, "cached_tokens": 11}, {"cached_tokens": 10}),
        (
            {"input_tokens": 10, "cached_tokens": 8, "cache_write_tokens": 5},
            {"cached_tokens": 8, "cache_write_tokens": 2},
        ),
        ({"output_tokens": 10, "reasoning_tokens": 12}, {"reasoning_tokens": 10}),
        ({"web_searches": -3}, {"web_searches": 0}),
        ({"input_tokens": 9, "cached_tokens": 9, "cached_audio_tokens": 4}, {"cached_audio_tokens": 0}),
    ],
)
def test_usage_that_contradicts_itself_is_clamped_and_flagged(reported: dict[str, int], kept: dict[str, int]) -> None:
    usage = checked_usage(**reported)  # type: ignore[arg-type]  # service_tier is not among the names
    assert {name: getattr(usage, name) for name in kept} == kept
    assert usage.is_clamped


def test_usage_with_more_cached_and_audio_than_input_infers_cached_audio() -> None:
    usage = checked_usage(input_tokens=100, cached_tokens=80, input_audio_tokens=50)
    assert usage.cached_audio_tokens == 30
    assert usage.input_audio_tokens == 50
    assert not usage.is_clamped


@given(st.fixed_dictionaries({name: st.integers(-(2**70), 2**70) for name in MEDIA}))
def test_media_from_any_integers_are_in_range_and_tell_when_they_were_not(counts: dict[str, int]) -> None:
    made = with_media(Usage(input_tokens=7), image_size="1024x1024", **counts)  # type: ignore[arg-type] # counts only
    assert {name: getattr(made, name) for name in MEDIA} == {
        name: min(max(count, 0), MAX_COUNT) for name, count in counts.items()
    }
    assert made.is_clamped == any(not 0 <= count <= MAX_COUNT for count in counts.values())
    assert (made.input_tokens, made.image_size) == (7, "1024x1024")


def test_other_models_count_in_the_whole_call() -> None:
    other = OtherModel("claude-y", Usage(input_tokens=5, cached_tokens=2, output_tokens=3))
    usage = Usage(input_tokens=10, output_tokens=1, service_tier="fast", others=(other,))
    assert usage.whole() == Usage(input_tokens=15, cached_tokens=2, output_tokens=4, service_tier="fast")
    assert Usage(others=(other,)).is_nothing is False
    assert (plain := Usage(input_tokens=1)).whole() is plain
