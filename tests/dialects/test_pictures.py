"""How many tokens a picture is, and what an answer of megabytes says of itself at its ends."""

import json

import pytest

from gateway.core.call import NOTHING
from gateway.core.usage import Usage
from gateway.dialects.pictures import Order, media_of, most_tokens, read_picture_event, read_pictures
from tests.media import image_usage, images_answer

HUGE = "A" * 400_000


def order(quality: str | None, size: str | None, output_format: str | None = None, partial: int = 0) -> Order:
    return Order(1, size, quality, output_format, partial)


@pytest.mark.parametrize(
    ("quality", "size", "tokens"),
    [
        # What OpenAI's own calculator says for gpt-image-2.
        ("high", "1024x1024", 7_024),
        ("high", "1792x1024", 5_063),
        ("high", "3584x2048", 12_329),
        ("medium", "1024x1024", 1_756),
        ("low", "1024x1024", 196),
        # What gpt-image-1 is charged at high quality, where that is more.
        ("high", "1024x1536", 6_240),
        ("high", "1536x1024", 6_240),
        ("auto", "auto", 7_024),
        (None, None, 7_024),
        ("hd", "0x0", 7_024),
    ],
)
def test_picture_that_nobody_reports_is_as_many_tokens(quality: str | None, size: str | None, tokens: int) -> None:
    assert media_of(order(quality, size)).output_tokens == tokens


@pytest.mark.parametrize("quality", ["low", "medium", "high", "xhigh", "max", "auto", None, "unheard-of"])
@pytest.mark.parametrize("size", ["1024x1024", "1024x1536", "1536x1024", "3840x2160", "auto", None, "x" * 500])
def test_picture_is_held_for_no_less_than_it_is_counted(quality: str | None, size: str | None) -> None:
    asked = order(quality, size)
    assert most_tokens(asked) >= media_of(asked).output_tokens > 0


def test_partial_pictures_are_held_too() -> None:
    assert most_tokens(order("low", None, partial=3)) == most_tokens(order("low", None)) + 300


def test_animation_is_held_as_the_largest_picture() -> None:
    assert most_tokens(order("high", "512x512", "gif")) > most_tokens(order("high", "2048x2048"))


def test_size_and_quality_that_the_provider_chooses_are_unknown() -> None:
    media = media_of(order("auto", "auto"))
    assert (media.image_size, media.image_quality, media.is_open) == (None, None, False)
    assert media_of(order("high", "1x1 or so")).image_size is None
    assert media_of(order("HIGH QUALITY", None)).image_quality is None
    assert media_of(order(None, None, "svg")).is_open and media_of(order(None, None, "SVG")).is_open


def usage_of(body: bytes) -> Usage:
    usage = read_pictures(body).usage
    assert usage is not None
    return usage


def test_answer_tells_tokens_number_size_and_quality() -> None:
    block = image_usage(text=10, pictures=90) | {"output_tokens_details": {"image_tokens": 4_000, "text_tokens": 160}}
    usage = usage_of(images_answer(3, usage=block))
    assert usage == Usage(
        input_tokens=100, input_image_tokens=90, output_tokens=4_160, output_image_tokens=4_000, images=3,
        image_size="1024x1024", image_quality="high",
    )  # fmt: skip


def test_answer_without_details_wrote_pictures_alone() -> None:
    assert usage_of(images_answer()).output_image_tokens == 4_160


def test_answer_without_usage_tells_the_number_alone() -> None:
    usage = usage_of(b'{"created":1,"data":[{"url":"https://x/1"},{"url":"https://x/2"}]}')
    assert (usage.total_tokens, usage.images, usage.image_size) == (0, 2, None)


def long_answer(*, usage_first: bool, indent: int | None = None) -> bytes:
    pictures = {"data": [{"b64_json": HUGE, "revised_prompt": 'a "usage" of {cats}'}] * 2}
    rest = {"size": "1536x1024", "quality": "low", "usage": image_usage()}
    body = {"created": 1} | (rest | pictures if usage_first else pictures | rest)
    return json.dumps(body, indent=indent).encode()


@pytest.mark.parametrize("indent", [None, 2])
def test_long_answer_is_read_at_its_end(indent: int | None) -> None:
    usage = usage_of(long_answer(usage_first=False, indent=indent))
    assert (usage.output_tokens, usage.image_size, usage.image_quality) == (4_160, "1536x1024", "low")


def test_long_answer_is_read_at_its_beginning_where_its_usage_stands_there() -> None:
    assert usage_of(long_answer(usage_first=True)).output_tokens == 4_160


def test_long_answer_whose_middle_is_gone_is_read_all_the_same() -> None:
    for usage_first in (True, False):
        whole = long_answer(usage_first=usage_first)
        usage = usage_of(whole[:65_536] + b"\0" + whole[-65_536:])
        assert (usage.output_tokens, usage.images) == (4_160, 0)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[1]", b'{"data":7}', b'"usage"', b'{"usage":', b'{"x":"' + b"A" * 300_000 + b'"usage"']
)
def test_answer_that_is_none_says_nothing(body: bytes) -> None:
    assert read_pictures(body) is NOTHING


@pytest.mark.parametrize("size", [7, "x" * 1_000, "1024\x00x1024", None])
def test_size_that_is_none_is_left_out(size: object) -> None:
    reading = read_pictures(images_answer(size=size))
    assert reading is NOTHING or (reading.usage is not None and reading.usage.image_size is None)


def test_finished_picture_of_a_stream_completes_a_choice() -> None:
    for kind in ("image_generation", "image_edit"):
        body = json.dumps({"type": f"{kind}.completed", "b64_json": "A", "usage": image_usage(), "size": "1024x1024"})
        reading = read_picture_event(body.encode())
        assert reading.completes and reading.corrects is not None
        usage = reading.corrects(Usage(images=1, output_tokens=40))
        assert usage is not None and (usage.images, usage.output_tokens) == (2, 4_200)
        assert not read_picture_event(body.replace("completed", "partial_image").encode()).completes
    assert read_picture_event(b'{"type":"error","error":{"message":"No."}}').error
    assert read_picture_event(b"[DONE]").ends and read_picture_event(b"{") is NOTHING
