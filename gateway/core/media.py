"""Calls of pictures and sound: what they are measured in beside text, and what is charged that no provider tells.

A provider's own figures always stand. Beside them, and where there are none, such a call is measured by its request:
the pictures asked for, the characters to be read aloud, the length of the audio that was sent.
"""

import msgspec

from gateway.core.model_price import ModelPrice
from gateway.core.rates import MS_PER_HOUR, Rates, Unit, cost_nano_usd
from gateway.core.usage import Usage, checked_usage, with_media

HEARD_MS_PER_TOKEN = 100
SPOKEN_MS_PER_TOKEN = 50
"""How much audio one token of OpenAI's stands for (platform.openai.com/docs/guides/realtime-costs)."""


class Media(msgspec.Struct, frozen=True):
    """What a call asks for that is not text.

    `unit` is what the call is measured in beside tokens. `images` are to be made, in a size and a quality that are None
    where the provider chooses. `characters` are to be read aloud. `audio_ms` of audio was sent, by our best reading,
    and `most_audio_ms` at most.

    In tokens: `input_tokens` and `most_input_tokens` of a request whose body is no JSON, by our best reading and at
    most; None where its text is counted as any other. `output_tokens` is what one choice writes, where nobody tells.
    `is_open` says that something else is charged too, which we cannot read.
    """

    unit: Unit
    images: int = 0
    image_size: str | None = None
    image_quality: str | None = None
    characters: int = 0
    audio_ms: int = 0
    most_audio_ms: int = 0
    input_tokens: int | None = None
    most_input_tokens: int | None = None
    output_tokens: int = 0
    is_open: bool = False


def most_fee_pico(media: Media, price: ModelPrice) -> int:
    """Return the most pico-USD that the call can cost beside its tokens, at any row of the standard price."""
    return max(_fee_pico(media, row.rates) for row in price.standard)


def _fee_pico(media: Media, rates: Rates) -> int:
    audio = -(-media.most_audio_ms * rates.audio_hour // MS_PER_HOUR)
    return media.images * _dearest_image(media, rates) + media.characters * rates.character + audio


def _dearest_image(media: Media, rates: Rates) -> int:
    """Return a picture's price, the dearest of all where the provider chooses the size or the quality."""
    if media.image_size is None or media.image_quality is None:
        return max(rates.images.values(), default=0)
    return rates.image(media.image_quality, media.image_size)


def tells_all(price: ModelPrice | None, reported: Usage | None) -> bool:
    """Tell whether a provider's figures cover everything that the model is paid by."""
    if reported is None or price is None:
        return reported is not None
    told = {
        Unit.TOKENS: reported.total_tokens,
        Unit.IMAGES: reported.images,
        Unit.AUDIO: reported.audio_ms,
        Unit.CHARACTERS: reported.characters,
    }
    return all(told[unit] for unit in price.units)


def with_tokens(media: Media, reported: Usage, *, input_tokens: int, written_tokens: int, spoken_ms: int) -> Usage:
    """Return the provider's figures with tokens of our count in the place of those that it did not tell.

    `input_tokens` are our count of the request, `written_tokens` of what text came back; `spoken_ms` is how much sound
    did, 0 where that cannot be read.
    """
    # Each picture is made and charged as if it had been asked for alone.
    pictures = max(reported.images or media.images, 1)
    spoken = -(-spoken_ms // SPOKEN_MS_PER_TOKEN)
    output = written_tokens or spoken or media.output_tokens * pictures
    tokens = checked_usage(
        input_tokens=input_tokens * pictures,
        input_audio_tokens=min(media.audio_ms // HEARD_MS_PER_TOKEN, input_tokens),
        # What a form of pictures brings is pictures, but for a few words.
        input_image_tokens=input_tokens * pictures
        if media.unit is Unit.IMAGES and media.input_tokens is not None
        else 0,
        output_tokens=output,
        output_image_tokens=output if media.unit is Unit.IMAGES else 0,
        output_audio_tokens=output if media.unit is Unit.CHARACTERS else 0,
    )
    return with_media(
        tokens, images=reported.images, audio_ms=reported.audio_ms, image_size=reported.image_size,
        image_quality=reported.image_quality,
    )  # fmt: skip


def with_measures(media: Media, usage: Usage, spoken_ms: int = 0) -> Usage:
    """Return the usage with every measure that its provider left out, as the request tells it."""
    return with_media(
        usage,
        images=usage.images or media.images,
        audio_ms=usage.audio_ms or media.audio_ms or spoken_ms,
        characters=media.characters,
        image_size=usage.image_size or media.image_size,
        image_quality=usage.image_quality or media.image_quality,
    )


def swept_tokens(media: Media, price: ModelPrice | None, input_tokens: int) -> tuple[int, int]:
    """Return the tokens, in and out, that a call is charged if its process dies: all is taken for done as asked."""
    if price is None or Unit.TOKENS not in price.units:
        return 0, 0
    pictures = max(media.images, 1)
    return input_tokens * pictures, media.output_tokens * pictures


def swept_rates(media: Media, rates: Rates) -> tuple[int, int, int]:
    """Return the rates of a token read and of one made, and the nano-USD beside tokens, of a call that is swept."""
    fee = cost_nano_usd(with_measures(media, Usage()), rates)
    match media.unit:
        case Unit.IMAGES:
            # What a form brings is pictures too.
            return rates.input if media.input_tokens is None else rates.input_image, rates.output_image, fee
        case Unit.AUDIO:
            return rates.input_audio, rates.output, fee
        case _:
            return rates.input, rates.output_audio, fee
