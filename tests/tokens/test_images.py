"""An image's size is read from its first bytes, and costs what its model's rule says."""

import base64
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tokens.dimensions import Dimensions, read_dimensions
from gateway.tokens.images import (
    CLAUDE_IMAGES,
    GEMINI_IMAGES,
    PATCH_CAP,
    Image,
    image_tokens,
    is_exact,
    openai_image_rule,
    read_image,
)
from tests.tokens import pictures

_FORMATS = [
    pictures.png,
    pictures.gif,
    pictures.webp_lossy,
    pictures.webp_lossless,
    pictures.webp_extended,
    pictures.jpeg,
]


@pytest.mark.parametrize("draw", _FORMATS)
@pytest.mark.parametrize("size", [(1, 1), (640, 480), (12_000, 9_001)])
def test_size_of_each_format_is_read_from_its_header(draw: Callable[[int, int], bytes], size: tuple[int, int]) -> None:
    assert read_dimensions(pictures.data_url(draw(*size))) == Dimensions(*size)


def test_size_of_a_jpeg_is_found_behind_much_metadata() -> None:
    assert read_dimensions(pictures.data_url(pictures.jpeg(800, 600, metadata_bytes=200_000))) == (800, 600)


def test_size_of_a_jpeg_behind_endless_metadata_is_given_up() -> None:
    assert read_dimensions(pictures.data_url(pictures.jpeg(800, 600, metadata_bytes=2_000_000))) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://example.com/cat.png",
        "data:",
        "data:image/png;base64,",
        "data:image/png;base64,????",
        "data:image/png;base64,é",
        "data:image/png,plain",
        pictures.data_url(b"%PDF-1.7"),
        pictures.data_url(pictures.png(0, 5)),
        pictures.data_url(pictures.png(5, 5)[:20]),
        pictures.data_url(b"\xff\xd8" + b"\xff" * 500),
        pictures.data_url(b"\xff\xd8\xff\xe1\0\0" * 50),
        pictures.data_url(b"RIFF\0\0\0\0WEBPWHAT" + bytes(20)),
    ],
)
def test_url_without_a_readable_size_has_none(url: str) -> None:
    assert read_dimensions(url) is None


@given(st.binary(max_size=200), st.sampled_from(_FORMATS), st.integers(min_value=0, max_value=40))
def test_damaged_header_never_raises(noise: bytes, draw: Callable[[int, int], bytes], keep: int) -> None:
    read_dimensions(pictures.data_url(draw(100, 50)[:keep] + noise))


@pytest.mark.parametrize(
    ("model", "detail", "size", "tokens"),
    [
        ("gpt-4o", "low", (4000, 4000), 85),
        ("gpt-4o", "high", (512, 512), 85 + 170),
        ("gpt-4o", "auto", (513, 512), 85 + 2 * 170),
        ("gpt-4o", "high", (1024, 1024), 85 + 4 * 170),
        ("gpt-4o", "high", (2048, 4096), 85 + 6 * 170),
        ("gpt-4o", "high", (20_000, 10), 85 + 4 * 170),
        ("gpt-4o-mini", "high", (1024, 1024), 2833 + 4 * 5667),
        ("gpt-4.1", "", (100, 100), 85 + 170),
        ("o3", "", (100, 100), 75 + 150),
        ("gpt-5", "", (100, 100), 70 + 140),
        ("gpt-5.1", "", (100, 100), 70 + 140),
        ("computer-use-preview", "", (100, 100), 65 + 129),
        ("gpt-4.1-mini", "", (1024, 1024), 1659),
        ("gpt-4.1-mini", "", (1800, 2400), 2353),
        ("o4-mini", "", (32, 33), 4),
        ("gpt-5-nano", "", (100_000, 100_000), 3742),
    ],
)
def test_image_of_known_size_costs_what_the_vision_guide_says(
    model: str, detail: str, size: tuple[int, int], tokens: int
) -> None:
    image = read_image(pictures.data_url(pictures.png(*size)), detail)
    assert image_tokens(image, openai_image_rule(model)) == tokens


def test_image_behind_a_url_costs_the_most_it_can() -> None:
    image = read_image("https://example.com/cat.png", "auto")
    assert image_tokens(image, openai_image_rule("gpt-4o")) == 85 + 8 * 170
    assert image_tokens(image, openai_image_rule("gpt-5.2")) == PATCH_CAP * 12 // 10 + 1
    assert not is_exact(image, openai_image_rule("gpt-4o"))


def test_image_of_low_detail_is_exact_without_its_size() -> None:
    image = read_image("https://example.com/cat.png", "low")
    assert image_tokens(image, openai_image_rule("gpt-4o")) == 85
    assert is_exact(image, openai_image_rule("gpt-4o"))


@given(st.integers(1, 2**32), st.integers(1, 2**32))
def test_image_of_any_size_costs_at_most_an_unseen_one(width: int, height: int) -> None:
    seen, unseen = Image(Dimensions(width, height), low_detail=False), Image(None, low_detail=False)
    for rule in (openai_image_rule("gpt-4o"), openai_image_rule("gpt-5-mini"), CLAUDE_IMAGES, GEMINI_IMAGES):
        assert 0 < image_tokens(seen, rule) <= image_tokens(unseen, rule)


def test_base64_with_line_breaks_is_read() -> None:
    encoded = base64.encodebytes(pictures.png(300, 200) + bytes(200)).decode()
    assert read_dimensions(f"data:image/png;base64,{encoded}") == (300, 200)
