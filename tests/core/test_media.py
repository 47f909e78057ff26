"""What calls of pictures and sound hold and are charged where no provider tells."""

import pytest

from gateway.core.call import Call
from gateway.core.estimates import NOTHING_DEMANDED, demand_of
from gateway.core.limits import Demand
from gateway.core.media import Media, swept_rates, swept_tokens, tells_all, with_measures, with_tokens
from gateway.core.model_price import ModelPrice, PriceRow, flat_price
from gateway.core.prices import ModelFacts
from gateway.core.rates import RateCard, Unit, resolve
from gateway.core.usage import Usage, added

FACTS = ModelFacts(16_000, 4_000, False, "max_tokens")
TOKENS = flat_price(resolve(RateCard(5, 10, input_image=8, output_image=40, input_audio=6, output_audio=12)))
BY_PICTURE = flat_price(resolve(RateCard(0, images={"": 40_000, "hd": 80_000, "hd_512x512": 20_000})))
BY_HOUR = flat_price(resolve(RateCard(0, audio_hour=3_600_001)))
BY_CHARACTER = flat_price(resolve(RateCard(0, character=15)))
BOTH = flat_price(resolve(RateCard(5, 10, images={"": 40_000})))
PICTURES = Media(unit=Unit.IMAGES, images=3, output_tokens=500)
HEARD = Media(unit=Unit.AUDIO, audio_ms=2_000, most_audio_ms=9_000, input_tokens=20, most_input_tokens=90)
SPOKEN = Media(unit=Unit.CHARACTERS, characters=7, output_tokens=30)


def demand(media: Media, price: ModelPrice | None, cap: int = 1_000, choices: int = 1) -> Demand:
    call = Call("x", "m", b"{}", output_cap=cap, choices=choices, media=media)
    return demand_of(call, FACTS, () if price is None else (price,), 100, 512, 0)


def test_pictures_by_the_token_hold_the_prompt_and_the_cap_for_each() -> None:
    assert demand(PICTURES, TOKENS, choices=3) == Demand(300, 3_000, 1_536, 8, 40, 0, 3)


@pytest.mark.parametrize(
    ("size", "quality", "dearest"),
    [(None, None, 80_000), ("512x512", None, 80_000), (None, "hd", 80_000), ("512x512", "hd", 20_000),
     ("512x512", "low", 40_000), ("1024x1024", "hd", 80_000)],
)  # fmt: skip
def test_pictures_by_the_piece_hold_the_dearest_that_the_provider_may_choose(
    size: str | None, quality: str | None, dearest: int
) -> None:
    media = Media(unit=Unit.IMAGES, images=3, image_size=size, image_quality=quality, output_tokens=500)
    assert demand(media, BY_PICTURE, choices=3) == Demand(0, 0, 0, 0, 0, 3 * dearest, 3)


def test_audio_by_the_hour_holds_the_longest_it_can_be_rounded_up() -> None:
    assert demand(HEARD, BY_HOUR) == Demand(0, 0, 0, 0, 0, 9_001)


def test_text_by_the_character_holds_exactly_what_it_costs() -> None:
    assert demand(SPOKEN, BY_CHARACTER) == Demand(0, 0, 0, 0, 0, 105)


def test_price_that_will_rise_is_held_already() -> None:
    soon = PriceRow(2**33, 0, -1, resolve(RateCard(0, character=20)))
    assert demand(SPOKEN, ModelPrice((*BY_CHARACTER.standard, soon))).fee_pico == 140


def test_without_a_price_nothing_but_the_call_is_held() -> None:
    assert demand(PICTURES, None) == NOTHING_DEMANDED


@pytest.mark.parametrize(
    ("price", "reported", "all_told"),
    [
        (TOKENS, Usage(input_tokens=1), True),
        (TOKENS, Usage(images=1), False),
        (TOKENS, None, False),
        (BY_PICTURE, Usage(images=1), True),
        (BY_PICTURE, Usage(input_tokens=1), False),
        (BOTH, Usage(images=1), False),
        (BOTH, Usage(images=1, output_tokens=1), True),
        (BY_HOUR, Usage(audio_ms=1), True),
        (BY_CHARACTER, Usage(input_tokens=9, output_tokens=9), False),
        (None, Usage(images=1), True),
        (None, None, False),
    ],
)
def test_provider_tells_all_only_where_it_tells_every_unit_of_the_price(
    price: ModelPrice | None, reported: Usage | None, all_told: bool
) -> None:
    assert tells_all(price, reported) is all_told


def test_tokens_of_pictures_are_counted_for_those_that_came() -> None:
    counted = with_tokens(PICTURES, Usage(images=2), input_tokens=10, written_tokens=0, spoken_ms=0)
    assert counted == Usage(input_tokens=20, output_tokens=1_000, output_image_tokens=1_000, images=2)
    asked = with_tokens(PICTURES, Usage(), input_tokens=10, written_tokens=0, spoken_ms=0)
    assert (asked.input_tokens, asked.output_tokens) == (30, 1_500)


def test_tokens_of_a_form_of_pictures_are_counted_as_pictures() -> None:
    form = Media(unit=Unit.IMAGES, images=2, input_tokens=600, most_input_tokens=9_000, output_tokens=500)
    counted = with_tokens(form, Usage(), input_tokens=600, written_tokens=0, spoken_ms=0)
    assert (counted.input_tokens, counted.input_image_tokens, counted.output_tokens) == (1_200, 1_200, 1_000)


def test_tokens_of_speech_are_counted_by_the_sound_or_else_by_the_text() -> None:
    by_sound = with_tokens(SPOKEN, Usage(), input_tokens=4, written_tokens=0, spoken_ms=1_001)
    assert by_sound == Usage(input_tokens=4, output_tokens=21, output_audio_tokens=21)
    assert with_tokens(SPOKEN, Usage(), input_tokens=4, written_tokens=0, spoken_ms=0).output_tokens == 30


def test_tokens_of_what_was_heard_are_counted_by_its_length_and_what_was_written() -> None:
    counted = with_tokens(HEARD, Usage(), input_tokens=23, written_tokens=9, spoken_ms=0)
    assert counted == Usage(input_tokens=23, input_audio_tokens=20, output_tokens=9)


def test_measures_that_a_provider_tells_stand_and_the_others_are_as_asked() -> None:
    assert with_measures(PICTURES, Usage(images=1)).images == 1
    assert with_measures(PICTURES, Usage()).images == 3
    assert with_measures(HEARD, Usage(audio_ms=1_500)).audio_ms == 1_500
    assert with_measures(HEARD, Usage()).audio_ms == 2_000
    assert with_measures(SPOKEN, Usage(), 800) == Usage(audio_ms=800, characters=7)


def test_swept_call_is_charged_as_if_all_had_been_done() -> None:
    assert swept_tokens(PICTURES, TOKENS, 10) == (30, 1_500)
    assert swept_tokens(PICTURES, BY_PICTURE, 10) == swept_tokens(PICTURES, None, 10) == (0, 0)
    assert swept_rates(PICTURES, TOKENS.standard[0].rates) == (5, 40, 0)
    assert swept_rates(HEARD, TOKENS.standard[0].rates) == (6, 10, 0)
    assert swept_rates(SPOKEN, TOKENS.standard[0].rates) == (5, 12, 0)
    assert swept_rates(PICTURES, BY_PICTURE.standard[0].rates) == (0, 0, 120)


def test_usages_of_several_pictures_add_up() -> None:
    one = Usage(input_tokens=3, output_tokens=5, images=1, image_size="512x512")
    assert added((one, one)) == Usage(input_tokens=6, output_tokens=10, images=2, image_size="512x512")
