"""`POST /v1/completions`, the legacy one: chat's streams and usage around a plain prompt."""

from typing import Annotated

import msgspec

from gateway.core.call import Call, Head
from gateway.dialects.chat_completions import ChatCompletions, StreamOptions
from gateway.dialects.json_body import check_model, decode
from gateway.dialects.openai import Choices, is_text_only

DEFAULT_MAX_TOKENS = 16
"""What the API itself caps at when the request sets no `max_tokens`."""


class Request(msgspec.Struct, gc=False):
    """The fields of a request that the gateway acts on."""

    model: str
    prompt: str | list[str | int | list[int]] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None
    n: Choices | None = None
    best_of: Choices | None = None


DECISIVE = (b'"model"', b'"stream"', b'"stream_options"', b'"max_tokens"', b'"n"', b'"best_of"', b'"prompt"')
_requests = msgspec.json.Decoder(Request)


class Completions(ChatCompletions):
    """The completions operation of OpenAI's dialect; answers are read as chat's are."""

    operation = "completions"

    def path(self, call: Call) -> str:
        """Return the path below the upstream's base URL."""
        del call
        return "/completions"

    def parse(self, body: bytes, _head: Head, /) -> Call:
        """Read a request. Each prompt of a list has choices of its own. Raises InvalidRequest."""
        asked = decode(body, _requests, DECISIVE)
        many = asked.prompt if isinstance(asked.prompt, list) else []
        prompts = len(many) if many and not isinstance(many[0], int) else 1
        return Call(
            operation=self.operation,
            model=check_model(asked.model),
            body=body,
            streams=asked.stream is True,
            wants_usage=asked.stream_options is not None and asked.stream_options.include_usage is True,
            output_cap=asked.max_tokens if asked.max_tokens is not None else DEFAULT_MAX_TOKENS,
            cap_field="max_tokens",
            choices=max(asked.n or 1, asked.best_of or 1) * prompts,
            text_only=is_text_only(body),
        )
