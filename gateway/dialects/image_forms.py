"""`POST /v1/images/edits` and `/v1/images/variations`: pictures from pictures, sent as a form."""

from dataclasses import dataclass

from gateway.core.call import Call, Dialect, Head, Reading
from gateway.core.errors import InvalidRequest
from gateway.dialects.form import Form, read_form, reread
from gateway.dialects.image_generations import SIGNS
from gateway.dialects.json_body import check_model
from gateway.dialects.openai import OPENAI
from gateway.dialects.pictures import (
    INPUT_PICTURE_TOKENS,
    MOST_INPUT_PICTURE_TOKENS,
    MOST_PARTIAL,
    Order,
    media_of,
    most_tokens,
    read_picture_event,
    read_pictures,
)

MOST_PICTURES = 128
BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class ImageForm:
    """An operation of OpenAI's dialect that makes pictures from pictures."""

    operation: str
    place: str
    dialect: Dialect = OPENAI
    method: str = "POST"
    signs: tuple[bytes, ...] = SIGNS

    def path(self, call: Call) -> str:
        """Return the path below the upstream's base URL."""
        del call
        return self.place

    def parse(self, body: bytes, head: Head, /) -> Call:
        """Read a request. Raises InvalidRequest."""
        form = read_form(body, head.headers)
        order = _order(form)
        text, pictures = _input(form)
        return Call(
            operation=self.operation,
            model=check_model(form.text("model") or ""),
            body=body,
            streams=form.flag("stream"),
            wants_usage=True,
            output_cap=most_tokens(order),
            choices=order.count,
            text_only=False,
            references=form.references(),
            media=media_of(
                order,
                input_tokens=text // BYTES_PER_TOKEN + pictures * INPUT_PICTURE_TOKENS,
                most_input_tokens=text + pictures * MOST_INPUT_PICTURE_TOKENS,
            ),
        )

    def rewrite(self, call: Call, *, model: str, output_cap: int | None, cap_field: str, ask_usage: bool) -> bytes:
        """Return the client's own bytes unless the model is an alias."""
        del output_cap, cap_field, ask_usage
        return reread(call.body).replaced({"model": model}) if model != call.model else call.body

    def read_answer(self, body: bytes) -> Reading:
        """Read usage and the number of pictures, not the pictures."""
        return read_pictures(body)

    def read_event(self, data: bytes) -> Reading:
        """Read one event."""
        return read_picture_event(data)


def _order(form: Form) -> Order:
    return Order(
        count=form.whole("n", MOST_PICTURES) or 1,
        size=form.text("size"),
        quality=form.text("quality"),
        output_format=form.text("output_format"),
        partial_images=form.whole("partial_images", MOST_PARTIAL, least=0) or 0,
    )


def _input(form: Form) -> tuple[int, int]:
    """Return how many bytes of text and how many pictures the model is given."""
    pictures = [part for part in form.named("image", "mask", "markup") if part.is_file]
    if not any(part.name == "image" for part in pictures):
        raise InvalidRequest("`image` must be one or more files, sent with a filename each.", param="image")
    prompt = form.field("prompt")
    return prompt.size if prompt is not None else 0, len(pictures)


EDITS = ImageForm("images.edits", "/images/edits")
VARIATIONS = ImageForm("images.variations", "/images/variations")
