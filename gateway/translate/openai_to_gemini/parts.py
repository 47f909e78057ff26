"""A conversation's turns as Gemini's contents."""

from collections.abc import Mapping

import msgspec

from gateway.translate.gemini_content.body import Blob, Content, FunctionCall, FunctionResponse, Part
from gateway.translate.gemini_content.media import fetched, returned
from gateway.translate.gemini_content.models import UNSIGNED, wants_signatures
from gateway.translate.openai_chat.media import Media
from gateway.translate.openai_chat.turns import Called, Conversation, Result, Text, Thoughts, Turn

_IMAGE_TYPES: Mapping[str, str] = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif",
    "heic": "image/heic", "heif": "image/heif",
}  # fmt: skip


def contents_of(said: Conversation, model: str, lost: list[str]) -> list[Content]:
    """Return the turns; adds to `lost` what Gemini has no part for. Raises InvalidRequest for a URL it won't take."""
    contents = [content for turn in said.turns for content in _contents(turn, lost)]
    return [_signed(content) for content in contents] if wants_signatures(model) else contents


def instruction_of(said: Conversation, lost: list[str]) -> Content | None:
    """Return the system's messages."""
    return Content([_part(text, lost) for text in said.system]) if said.system else None


def _contents(turn: Turn, lost: list[str]) -> list[Content]:
    """Return one content or two: results of functions want one of their own, right behind their calls."""
    if turn.is_assistants:
        own = [piece for piece in turn.pieces if not isinstance(piece, Thoughts)]
        if len(own) < len(turn.pieces):
            lost.append("messages.thinking_blocks")
        return [Content([_part(piece, lost) for piece in own], "model")] if own else []
    results = [piece for piece in turn.pieces if isinstance(piece, Result)]
    others = [piece for piece in turn.pieces if not isinstance(piece, Result | Thoughts)]
    return [Content([_part(piece, lost) for piece in pieces], "user") for pieces in (results, others) if pieces]


def _part(piece: Text | Called | Result | Media, lost: list[str]) -> Part:
    match piece:
        case Text():
            if piece.ends_cached:
                lost.append("messages.cache_control")
            return Part(text=piece.text, thought_signature=piece.signature)
        case Called():
            call = FunctionCall(piece.name, piece.arguments, piece.id)
            return Part(function_call=call, thought_signature=piece.signature)
        case Result():
            if piece.ends_cached:
                lost.append("messages.cache_control")
            return Part(function_response=FunctionResponse(piece.name, returned(piece.text), piece.id))
        case Media():
            if piece.ends_cached:
                lost.append("messages.cache_control")
            if piece.name is not None:
                lost.append("messages.file.filename")
            return _medium(piece)


def _medium(medium: Media) -> Part:
    if not medium.url:
        return Part(inline_data=Blob(medium.media_type, medium.data))
    suffix = medium.url.partition("?")[0].partition("#")[0].rpartition(".")[2].lower()
    return fetched(medium.url, _IMAGE_TYPES.get(suffix, ""), f"{medium.param}.image_url.url", "a data URL")


def _signed(content: Content) -> Content:
    """Return a content whose calls may stand there: where the client has lost the signature, the first gets a mark."""
    called = [n for n, part in enumerate(content.parts) if part.function_call is not None]
    if not called or content.parts[called[0]].thought_signature is not None:
        return content
    content.parts[called[0]] = msgspec.structs.replace(content.parts[called[0]], thought_signature=UNSIGNED)
    return content
