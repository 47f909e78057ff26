"""`POST /v1/audio/transcriptions` and `/v1/audio/translations`: audio sent as a form, text back.

The usage is either tokens or seconds. Answers as plain text or subtitles carry none, and neither do translations.
"""

from dataclasses import dataclass
from decimal import Decimal

import msgspec

from gateway.core.call import NOTHING, Call, Dialect, Head, Reading
from gateway.core.media import HEARD_MS_PER_TOKEN, Media
from gateway.core.rates import Unit
from gateway.core.sound import length_of
from gateway.core.usage import Usage, checked_usage, with_media
from gateway.dialects.form import Form, read_form, reread
from gateway.dialects.json_body import check_model
from gateway.dialects.openai import MOST_TOKENS, OPENAI

BYTES_PER_TOKEN = 4
REFERENCE_TOKENS = 100
"""A sample of a known speaker's voice is 10 seconds at most."""
FIRST_OUTPUT_TOKENS = 2_000
MS_PER_OUTPUT_TOKEN = 250
"""Nobody says more than four tokens a second for long."""
MOST_SECONDS = 10**7


class Details(msgspec.Struct, gc=False):
    """Parts of the input."""

    audio_tokens: int | None = None


class UsageBlock(msgspec.Struct, gc=False):
    """`usage`: of type tokens or of type duration."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    input_token_details: Details | None = None
    seconds: Decimal | None = None


class Answer(msgspec.Struct, gc=False):
    """An answer or an event."""

    type: str = ""
    text: str | None = None
    delta: str | None = None
    usage: UsageBlock | None = None
    duration: Decimal | None = None
    error: object = None


_answers = msgspec.json.Decoder(Answer)


@dataclass(frozen=True, slots=True)
class Transcriptions:
    """An operation of OpenAI's dialect that writes down what is said."""

    operation: str
    place: str
    dialect: Dialect = OPENAI
    method: str = "POST"
    signs: tuple[bytes, ...] = (b"text.done", b'"usage"', b'"error"', b"[DONE]")

    def path(self, call: Call) -> str:
        """Return the path below the upstream's base URL."""
        del call
        return self.place

    def parse(self, body: bytes, head: Head, /) -> Call:
        """Read a request. Raises InvalidRequest."""
        form = read_form(body, head.headers)
        media = _media(form)
        return Call(
            operation=self.operation,
            model=check_model(form.text("model") or ""),
            body=body,
            streams=form.flag("stream"),
            wants_usage=True,
            output_cap=FIRST_OUTPUT_TOKENS + media.most_audio_ms // MS_PER_OUTPUT_TOKEN,
            text_only=False,
            has_audio=True,
            references=form.references(),
            media=media,
        )

    def rewrite(self, call: Call, *, model: str, output_cap: int | None, cap_field: str, ask_usage: bool) -> bytes:
        """Return the client's own bytes unless the model is an alias."""
        del output_cap, cap_field, ask_usage
        return reread(call.body).replaced({"model": model}) if model != call.model else call.body

    def read_answer(self, body: bytes) -> Reading:
        """Read an answer in JSON; NOTHING for plain text and subtitles."""
        answer = _decoded(body)
        if answer is None:
            return NOTHING
        return Reading(usage=_usage(answer), text=answer.text or "")

    def read_event(self, data: bytes) -> Reading:
        """Read one event: deltas of the text, and an end that tells the usage."""
        if data.startswith(b"[DONE]"):
            return Reading(ends=True)
        answer = _decoded(data)
        if answer is None:
            return NOTHING
        return Reading(
            usage=_usage(answer),
            ends=answer.type == "transcript.text.done",
            error=answer.type == "error" or bool(answer.error),
            text=answer.delta or "",
        )


def _media(form: Form) -> Media:
    length = length_of(form.content(form.file("file")))
    references = form.named("known_speaker_references")
    text = sum(part.size for part in form.parts if not part.is_file and part not in references)
    most = -(-length.most_ms // HEARD_MS_PER_TOKEN) + text + len(references) * REFERENCE_TOKENS
    return Media(
        unit=Unit.AUDIO,
        audio_ms=length.ms,
        most_audio_ms=length.most_ms,
        input_tokens=-(-length.ms // HEARD_MS_PER_TOKEN) + text // BYTES_PER_TOKEN,
        most_input_tokens=most,
    )


def _decoded(body: bytes) -> Answer | None:
    try:
        return _answers.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return None


def _usage(answer: Answer) -> Usage | None:
    """Map the figures. None without any, and for figures that no recording can have: those are a provider's fault."""
    block = answer.usage or UsageBlock()
    seconds = block.seconds if block.seconds is not None else answer.duration
    totals = (block.input_tokens or 0, block.output_tokens or 0)
    if any(totals) and all(0 <= total <= MOST_TOKENS for total in totals):
        audio = (block.input_token_details or Details()).audio_tokens
        tokens = checked_usage(input_tokens=totals[0], input_audio_tokens=audio, output_tokens=totals[1])
        return with_media(tokens, audio_ms=tokens.input_audio_tokens * HEARD_MS_PER_TOKEN)
    if seconds is not None and seconds.is_finite() and 0 < seconds <= MOST_SECONDS:
        return with_media(Usage(), audio_ms=int(seconds * 1000))
    return None


TRANSCRIPTIONS = Transcriptions("audio.transcriptions", "/audio/transcriptions")
TRANSLATIONS = Transcriptions("audio.translations", "/audio/translations")
