"""`POST /v1/messages`, plain and streamed: events say their type; figures come first and are corrected at the end."""

from collections.abc import Sequence
from functools import partial

import msgspec

from gateway.core.call import NOTHING, Call, Head, Reading
from gateway.core.errors import InvalidRequest
from gateway.dialects.aliased import Aliased
from gateway.dialects.anthropic import ANTHROPIC
from gateway.dialects.anthropic_usage import UsageBlock, surcharge_percent
from gateway.dialects.json_body import check_model
from gateway.dialects.lenient import names_in, read_lenient, text_of_answer
from gateway.dialects.messages_request import (
    Named,
    decode_request,
    has_escaped_letters,
    is_text_only,
    passed_query,
    references_of,
)

TOOLS_TOKENS = 1_024
"""The prompt that the provider adds for tools has up to about 500 tokens, that for a schema of the answer less."""
TEXT_TOKENS = 128
"""Without them the JSON around the text is larger than what the provider adds."""
_NOTHING_GIVEN = msgspec.Raw(b"")


class Block(msgspec.Struct, gc=False):
    """A content block: everything in it that the model wrote."""

    text: str | None = None
    thinking: str | None = None
    name: str | None = None
    input: msgspec.Raw = _NOTHING_GIVEN


class Delta(msgspec.Struct, gc=False):
    """The delta of a block, or of the message."""

    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    container: Named | None = None


class Message(msgspec.Struct, gc=False):
    """A whole message, or the one at the start of a stream."""

    content: list[Block] | None = None
    usage: UsageBlock | None = None
    container: Named | None = None


class Event(msgspec.Struct, gc=False):
    """A streamed event."""

    type: str = ""
    message: Message | None = None
    content_block: Block | None = None
    delta: Delta | None = None
    usage: UsageBlock | None = None


_FIGURES = names_in(UsageBlock) | {"usage"}
_messages = msgspec.json.Decoder(Message)
_events = msgspec.json.Decoder(Event)


class Messages(Aliased):
    """The messages operation of Anthropic's dialect."""

    operation = "messages"
    dialect = ANTHROPIC
    method = "POST"
    signs: Sequence[bytes] = (b'"message_start"', b'"message_delta"', b'"message_stop"', b'"error"')

    def path(self, call: Call) -> str:
        """Return the path below the upstream's base URL."""
        return f"/v1/messages{call.query}"

    def parse(self, body: bytes, head: Head, /) -> Call:
        """Read a request. Raises InvalidRequest."""
        asked = decode_request(body)
        if asked.max_tokens is None:
            raise InvalidRequest("`max_tokens` is required: the most tokens to write.", param="max_tokens")
        escaped = has_escaped_letters(body)
        return Call(
            self.operation,  # by place: CPython calls with more than 15 keywords at twice the price
            check_model(asked.model),
            body,
            streams=asked.stream is True,
            wants_usage=True,
            output_cap=asked.output_cap,
            service_tier="fast" if asked.is_fast else None,
            text_only=is_text_only(asked, body) and not escaped,
            references=references_of(asked, body),
            costs=asked.uses_of("code_execution") > 0,  # by the hour of a container, which no answer tells
            makes="containers",  # a container, if there is one in the answer
            query=passed_query(head),
            formula_tokens=TOOLS_TOKENS if asked.tools or b'"output_config"' in body else TEXT_TOKENS,
            cache_writes=escaped or b'"cache_control"' in body or b'"caching"' in body,
            cache_writes_1h=escaped or b'"1h"' in body,
            runs=asked.runs,
            web_searches=asked.uses_of("web_search"),
            other_models=asked.other_models,
            surcharge_percent=surcharge_percent(asked.inference_geo),
            thinks=asked.thinks,
        )

    def read_answer(self, body: bytes) -> Reading:
        """Read a whole message. Nobody counts the text of one that says what it used."""
        message, unread = read_lenient(body, _messages)
        if message is None:
            return NOTHING
        usage = message.usage.usage(unread) if message.usage else None
        text = ""
        if usage is None or usage.lacks_output:
            text = text_of_answer(body, unread, _FIGURES) or "".join(map(_text_of, message.content or ()))
        return Reading(usage=usage, text=text, object_id=_id(message.container))

    def read_event(self, data: bytes) -> Reading:
        """Read one event; those of types that came later say nothing."""
        event, unread = read_lenient(data, _events)
        match event:
            case Event(type="content_block_delta", delta=Delta() as delta):
                return Reading(text=delta.text or delta.thinking or delta.partial_json or "")
            case Event(type="content_block_start", content_block=Block() as block):
                return Reading(text=block.text or block.thinking or block.name or "")
            case Event(type="message_start", message=Message(usage=UsageBlock() as usage) as message):
                return Reading(usage=usage.usage(unread), early=True, object_id=_id(message.container))
            case Event(type="message_delta", usage=UsageBlock() as usage):
                told = usage.usage(unread)
                corrects = partial(usage.corrected, unread=unread) if told is not None else None
                container = event.delta.container if event.delta else None
                covers = told is not None and not told.lacks_output
                # Without its output it is as early as the figures that it corrects.
                return Reading(corrects=corrects, early=not covers, covers=covers, object_id=_id(container))
            case Event(type="message_stop"):
                return Reading(ends=True)
            case Event(type="error"):
                return Reading(error=True)
        return NOTHING


def _id(container: Named | None) -> str | None:
    return container.id if container is not None else None


def _text_of(block: Block) -> str:
    given = bytes(block.input).decode(errors="replace")
    return "".join(part for part in (block.text, block.thinking, block.name, given) if part)
