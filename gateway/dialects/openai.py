"""OpenAI's dialect: its errors and its usage figures. Shapes: openai-openapi and openai-python's types."""

from typing import Annotated

import msgspec

from gateway.core.errors import GatewayError
from gateway.core.money import told_usd
from gateway.core.usage import Usage, checked_usage
from gateway.dialects.lenient import names_in

TokenCap = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Choices = Annotated[int, msgspec.Meta(ge=1, le=128)]

# Wherever one of these stands, the size of the body does not bound its tokens.
# An escaped letter could hide one of them, and no client needs one.
MEDIA_SIGNS = (b"image", b"input_file", b'"file"', b"audio", b"video", b"file_id", b"\\u00")


class Details(msgspec.Struct, gc=False):
    """Parts of the prompt or of the answer; servers leave out or null what they do not count."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None
    reasoning_tokens: int | None = None


class UsageBlock(msgspec.Struct, gc=False):
    """`usage` of chat, completions and embeddings (prompt, completion) and of responses (input, output)."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None
    input_tokens_details: Details | None = None
    output_tokens_details: Details | None = None
    prompt_cache_hit_tokens: int | None = None
    num_cached_tokens: int | None = None
    cost: msgspec.Raw = msgspec.Raw()


FIGURES = names_in(UsageBlock) | {"usage", "x_groq"}
"""Where they stand in an answer, there is no text."""
MOST_TOKENS = 2**31
"""A thousand times the largest context window there is."""
_NO_DETAILS = Details()
_NO_TOTALS = (None, None, None, None, None)


def usage_from(block: UsageBlock | None, service_tier: str | None) -> Usage | None:
    """Map OpenAI's figures: details are parts of their totals, as in our own record.

    None without any of the totals: an empty block says nothing, and what it leaves out was not free. None too for
    totals that no model could reach: such figures are a fault of the provider's, and then our own count stands.
    `prompt_cache_hit_tokens` is DeepSeek's word and `num_cached_tokens` Mistral's. Gemini's compatible endpoint leaves
    thinking out of the completion but not out of the total, so the total decides where it is larger. `cost` is what
    OpenRouter charged, in USD. Of a prompt or a completion that is not told, or not so that it could be read, the total
    tells, else our own count does.
    """
    if block is None or _totals(block) == _NO_TOTALS:
        return None
    if any(total is not None and not 0 <= total <= MOST_TOKENS for total in _totals(block)):
        return None
    given = block.prompt_tokens if block.prompt_tokens is not None else block.input_tokens
    written = block.completion_tokens if block.completion_tokens is not None else block.output_tokens
    lacks_input = given is None and (block.total_tokens is None or written is None)
    lacks_output = written is None and (block.total_tokens is None or given is None)
    completion = written or 0
    prompt = max((block.total_tokens or 0) - completion, 0) if given is None else given
    inside = block.prompt_tokens_details or block.input_tokens_details or _NO_DETAILS
    outside = block.completion_tokens_details or block.output_tokens_details or _NO_DETAILS
    cached = inside.cached_tokens
    if cached is None:
        cached = block.prompt_cache_hit_tokens if block.prompt_cache_hit_tokens is not None else block.num_cached_tokens
    if block.total_tokens is not None:
        completion = max(completion, block.total_tokens - prompt)
    usage = checked_usage(
        input_tokens=prompt,
        cached_tokens=cached,
        cache_write_tokens=inside.cache_write_tokens,
        input_audio_tokens=inside.audio_tokens,
        input_image_tokens=inside.image_tokens,
        output_tokens=completion,
        reasoning_tokens=outside.reasoning_tokens,
        output_audio_tokens=outside.audio_tokens,
        service_tier=None if service_tier in (None, "default", "auto") else service_tier,
    )
    if lacks_input or lacks_output:
        usage = msgspec.structs.replace(usage, lacks_input=lacks_input, lacks_output=lacks_output)
    cost = bytes(block.cost)
    return msgspec.structs.replace(usage, upstream_cost_nano_usd=told_usd(cost.decode())) if cost else usage


def _totals(block: UsageBlock) -> tuple[int | None, ...]:
    return (
        block.prompt_tokens, block.completion_tokens, block.input_tokens, block.output_tokens, block.total_tokens,
    )  # fmt: skip


class _ErrorDetail(msgspec.Struct, gc=False):
    """`error` of an error answer; servers put numbers into `code` too."""

    type: str | None = None
    code: str | int | None = None
    message: str | None = None


class _ErrorAnswer(msgspec.Struct, gc=False):
    """An error answer."""

    error: _ErrorDetail | None = None


_errors = msgspec.json.Decoder(_ErrorAnswer)
_OUR_BILL = frozenset(
    {
        "insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded", "organization_usage_limit_exceeded", "billing_not_active",
    }
)  # fmt: skip
_ABOUT_A_KEY = ("api key", "api-key", "organization", "project", "permission", "country", "region", "billing", "access")


class OpenAI:
    """How OpenAI's clients expect errors."""

    name = "openai"

    def error_body(self, error: GatewayError, _request_id: str) -> bytes:
        """Render `{"error": {message, type, param, code}}`, all four always there."""
        return msgspec.json.encode(
            {"error": {"message": error.message, "type": error.kind, "param": error.param, "code": error.code}}
        )

    def error_event(self, error: GatewayError, request_id: str) -> bytes:
        """Render the error chunk on which the SDKs raise."""
        return b"data: " + self.error_body(error, request_id) + b"\n\n"

    def blames_our_account(self, status: int, body: bytes) -> bool:
        """Tell whether a provider's error is about the gateway's key or bill, so that no caller can mend it.

        True for every 401 and 402, a 429 of our own exhausted quota, and a 403 that speaks of keys or permissions.
        """
        if status in (401, 402):
            return True
        if status not in (403, 429):
            return False
        try:
            detail = _errors.decode(body).error or _ErrorDetail()
        except (msgspec.MsgspecError, RecursionError):
            return status == 403
        if status == 429:
            return detail.type == "insufficient_quota" or detail.code in _OUR_BILL
        return any(word in (detail.message or "").lower() for word in _ABOUT_A_KEY) or not detail.message


OPENAI = OpenAI()


def is_text_only(body: bytes) -> bool:
    """Tell whether the body's size in bytes bounds its tokens."""
    # Not `in`: for bytes that first raises an error of its own, which costs more than the search.
    for sign in MEDIA_SIGNS:  # noqa: SIM110 - a generator costs more than all of its turns
        if body.find(sign) >= 0:
            return False
    return True
