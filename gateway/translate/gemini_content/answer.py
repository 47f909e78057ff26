"""Gemini's answers, whole or in pieces, and its errors. Shapes: python-genai's types.

A piece of a stream has the shape of a whole answer.
"""

from collections.abc import Mapping

import msgspec

FILTERS = frozenset(
    {
        "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION", "MODEL_ARMOR", "JAILBREAK",
    }
)  # fmt: skip
STATUSES: Mapping[str, int] = {"RESOURCE_EXHAUSTED": 429, "UNAVAILABLE": 503, "INTERNAL": 500, "DEADLINE_EXCEEDED": 504}


class FunctionCall(msgspec.Struct, gc=False):
    """A function that the model calls."""

    name: str
    args: msgspec.Raw = msgspec.Raw(b"{}")
    id: str = ""


class Blob(msgspec.Struct, rename="camel", gc=False):
    """Bytes in base64."""

    mime_type: str = ""
    data: str = ""


class Part(msgspec.Struct, rename="camel", gc=False):
    """One part of any kind."""

    text: str | None = None
    thought: bool = False
    thought_signature: str | None = None
    function_call: FunctionCall | None = None
    inline_data: Blob | None = None


class Content(msgspec.Struct, gc=False):
    """What one candidate says."""

    parts: list[Part] | None = None


class Logprob(msgspec.Struct, rename="camel", gc=False):
    """A token that was or could have been written."""

    token: str = ""
    log_probability: float = 0.0


class TopLogprobs(msgspec.Struct, gc=False):
    """The likeliest tokens at one place."""

    candidates: list[Logprob] | None = None


class LogprobsResult(msgspec.Struct, rename="camel", gc=False):
    """The probabilities of all tokens."""

    chosen_candidates: list[Logprob] | None = None
    top_candidates: list[TopLogprobs] | None = None


class Candidate(msgspec.Struct, rename="camel", gc=False):
    """One answer, or a piece of it."""

    content: Content | None = None
    finish_reason: str | None = None
    index: int = 0
    logprobs_result: LogprobsResult | None = None


class PromptFeedback(msgspec.Struct, rename="camel", gc=False):
    """Why a prompt was not answered at all."""

    block_reason: str | None = None
    block_reason_message: str | None = None


class RetryInfo(msgspec.Struct, rename="camel", gc=False):
    """One of an error's details; most are of other kinds."""

    retry_delay: str | None = None


class Error(msgspec.Struct, gc=False):
    """What went wrong."""

    code: int | None = None
    message: str = ""
    details: list[RetryInfo] | None = None


class Answer(msgspec.Struct, rename="camel", gc=False):
    """A whole answer, or a piece of one, or an error."""

    candidates: list[Candidate] | None = None
    prompt_feedback: PromptFeedback | None = None
    error: Error | None = None


_answers = msgspec.json.Decoder(Answer)
_errors = msgspec.json.Decoder(Answer | list[Answer])


def read(body: bytes) -> Answer | None:
    """Return an answer or a piece of one, None for what is none."""
    try:
        return _answers.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return None


def error_in(body: bytes) -> Error | None:
    """Return the error in an answer, which Google sometimes puts into a list."""
    try:
        answers = _errors.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return None
    answer = answers if isinstance(answers, Answer) else next(iter(answers), Answer())
    return answer.error


def retry_delay(error: Error) -> float | None:
    """Return the seconds after which to come back, told as `"34s"` or `"34.07s"`."""
    for detail in error.details or ():
        number, unit = (detail.retry_delay or "")[:-1], (detail.retry_delay or "")[-1:]
        if unit == "s" and number.replace(".", "", 1).isdecimal():
            return float(number)
    return None
