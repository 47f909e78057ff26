"""A conversation's turns as Claude's messages."""

import binascii
from collections.abc import Sequence

from gateway.core.errors import InvalidRequest
from gateway.translate.fates import refusal
from gateway.translate.openai_chat.media import Media
from gateway.translate.openai_chat.turns import Called, Piece, Result, Text, Thoughts, Turn
from gateway.translate.openai_to_anthropic.body import (
    CACHED,
    Base64Source,
    Block,
    CacheControl,
    DocumentBlock,
    ImageBlock,
    MessageParam,
    RedactedThinkingParam,
    TextBlock,
    TextSource,
    ThinkingParam,
    ToolResultBlock,
    ToolUseBlock,
    UrlSource,
)
from gateway.translate.openai_to_anthropic.fates import FATES

IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")


def messages_of(turns: Sequence[Turn]) -> list[MessageParam]:
    """Return the turns. Raises InvalidRequest for media that Claude does not take."""
    messages = [_message(turn) for turn in turns]
    last = messages[-1]
    if last.role == "assistant" and isinstance(said := last.content[-1], TextBlock):
        # Claude goes on from here, and refuses to go on from white space.
        last.content[-1] = TextBlock(said.text.rstrip(), said.cache_control)
    return messages


def text_block(text: Text) -> TextBlock:
    """Return a text."""
    return TextBlock(text.text, _cached(text.ends_cached))


def _message(turn: Turn) -> MessageParam:
    blocks = [block for piece in turn.pieces for block in _blocks(piece)]
    return MessageParam("assistant" if turn.is_assistants else "user", blocks)


def _blocks(piece: Piece) -> list[Block]:
    match piece:
        case Text():
            return [text_block(piece)]
        case Called():
            return [ToolUseBlock(piece.id, piece.name, piece.arguments)]
        case Result():
            return [ToolResultBlock(piece.id, piece.text, _cached(piece.ends_cached))]
        case Thoughts():
            return [
                ThinkingParam(block.thinking, block.signature or "")
                if block.type == "thinking"
                else RedactedThinkingParam(block.data or "")
                for block in piece.blocks
            ]
        case Media():
            return [_medium(piece)]


def _medium(medium: Media) -> Block:
    match medium.kind:
        case "image":
            return ImageBlock(_image_source(medium), _cached(medium.ends_cached))
        case "file":
            return DocumentBlock(_document_source(medium), medium.name, _cached(medium.ends_cached))
        case _:
            raise refusal("messages.input_audio", FATES["messages.input_audio"], medium.param)


def _image_source(image: Media) -> Base64Source | UrlSource:
    if image.url:
        return UrlSource(image.url)
    if image.media_type not in IMAGE_TYPES:
        raise InvalidRequest(
            f"`{image.param}.image_url.url`: Claude takes images of {', '.join(IMAGE_TYPES)}, not of "
            f"{image.media_type[:64]}.",
            param=f"{image.param}.image_url.url",
        )
    return Base64Source(image.media_type, image.data)


def _document_source(file: Media) -> Base64Source | TextSource:
    if file.media_type == "application/pdf":
        return Base64Source(file.media_type, file.data)
    if file.media_type.startswith("text/"):
        try:
            return TextSource(binascii.a2b_base64(file.data).decode())
        except (binascii.Error, UnicodeError):
            raise InvalidRequest(
                f"`{file.param}.file.file_data` must be UTF-8 text in base64.", param=f"{file.param}.file.file_data"
            ) from None
    raise InvalidRequest(
        f"`{file.param}.file.file_data`: Claude takes files of application/pdf and plain text, not of "
        f"{file.media_type[:64]}.",
        param=f"{file.param}.file.file_data",
    )


def _cached(ends_cached: bool) -> CacheControl | None:
    return CACHED if ends_cached else None
