"""The messages of a request as they were sent. Shapes: openai-python's types, and what servers have added to them."""

from typing import Literal

import msgspec

Object = dict[str, msgspec.Raw]
"""A JSON object whose values are passed on as they are."""
_USUAL_TTL = b'"5m"'


class TextPart(msgspec.Struct, tag="text", forbid_unknown_fields=True, gc=False):
    """Text. `cache_control` is Anthropic's word and `prompt_cache_breakpoint` OpenAI's: a prefix to cache ends here."""

    text: str
    cache_control: Object | None = None
    prompt_cache_breakpoint: Object | None = None


class RefusalPart(msgspec.Struct, tag="refusal", forbid_unknown_fields=True, gc=False):
    """What the model said instead of an answer."""

    refusal: str


class ImageUrl(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Where an image is, or the image itself as a data URL."""

    url: str
    detail: str | None = None


class ImagePart(msgspec.Struct, tag="image_url", forbid_unknown_fields=True, gc=False):
    """An image."""

    image_url: ImageUrl
    cache_control: Object | None = None
    prompt_cache_breakpoint: Object | None = None


class InputAudio(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Sound in base64."""

    data: str
    format: Literal["wav", "mp3"]


class AudioPart(msgspec.Struct, tag="input_audio", forbid_unknown_fields=True, gc=False):
    """Sound."""

    input_audio: InputAudio


class File(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A file: its content, or the id of one that lies at OpenAI."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(msgspec.Struct, tag="file", forbid_unknown_fields=True, gc=False):
    """A file."""

    file: File
    cache_control: Object | None = None
    prompt_cache_breakpoint: Object | None = None


Part = TextPart | RefusalPart | ImagePart | AudioPart | FilePart


class GoogleContent(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What Google adds."""

    thought_signature: str | None = None


class ExtraContent(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`extra_content`: where Google's own compatible endpoint keeps what OpenAI has no field for."""

    google: GoogleContent | None = None


class FunctionCall(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What the model called. `arguments` are JSON in a string."""

    name: str
    arguments: str = ""


class ToolCall(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One of `tool_calls`."""

    function: FunctionCall
    id: str = ""
    type: Literal["function"] = "function"
    extra_content: ExtraContent | None = None


class ThinkingBlock(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One of `thinking_blocks`: what Claude thought, signed, or as a secret that only it can read."""

    type: Literal["thinking", "redacted_thinking"]
    thinking: str = ""
    signature: str | None = None
    data: str | None = None


class Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Any message."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    audio: object = None
    function_call: object = None
    reasoning_content: str | None = None
    thinking_blocks: list[ThinkingBlock] | None = None
    extra_content: ExtraContent | None = None


def lasts_longer(cache_control: Object | None) -> bool:
    """Tell whether a prefix is to be cached for longer than the usual 5 minutes."""
    return cache_control is not None and bytes(cache_control.get("ttl", _USUAL_TTL)) != _USUAL_TTL
