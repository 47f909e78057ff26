"""The messages of a request as turns: what the client and the model said, which tools were called, what they returned.

Blocks that mean nothing to another provider are left out and named: what Claude thought in secret, what Anthropic's own
tools did. Each result has its call. Text in documents and search results is text.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from gateway.core.errors import InvalidRequest
from gateway.translate.anthropic_messages.request import MARKS, SECRETS, Block, Message, Request, Source, means_nothing

Role = Literal["user", "assistant", "system"]
_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}


class Text(msgspec.Struct, frozen=True):
    """Something said."""

    text: str


class Thought(msgspec.Struct, frozen=True):
    """What the model thought before it went on, and the mark by which its provider knows it again."""

    text: str
    signature: str


class Medium(msgspec.Struct, frozen=True):
    """A picture or a document: either `data` in base64, or a `url`. `param` is where it stands in the body."""

    kind: Literal["image", "document"]
    param: str
    media_type: str = ""
    data: str = ""
    url: str = ""


class Called(msgspec.Struct, frozen=True):
    """A tool that the model called. `input` is a JSON object."""

    id: str
    name: str
    input: msgspec.Raw


class Result(msgspec.Struct, frozen=True):
    """What a tool returned, and the name that it was called by."""

    id: str
    name: str
    text: str
    media: list[Medium]
    is_error: bool


Piece = Text | Thought | Medium | Called | Result
_SAYS: Mapping[Role, tuple[type, ...]] = {
    "user": (Text, Medium, Result), "assistant": (Text, Thought, Called), "system": (Text,),
}  # fmt: skip
"""What each may say."""


class Turn(msgspec.Struct):
    """All that one speaker says before another one speaks."""

    role: Role
    pieces: list[Piece]


class Conversation(msgspec.Struct):
    """What was said. `lost` names what no other provider has a word for."""

    system: str
    turns: list[Turn]
    lost: list[str]


def conversation(asked: Request) -> Conversation:
    """Read system and messages. Raises InvalidRequest that says where something makes no sense or can't be carried."""
    reader = _Reader()
    for place, message in enumerate(asked.messages):
        reader.take(message, f"messages[{place}]")
    return Conversation(reader.system(asked.system), reader.finish(), reader.lost)


class _Reader:
    """Takes one message after the other. `_open` are the calls of the last turn that have no result yet."""

    def __init__(self) -> None:
        self.lost: list[str] = []
        self._turns: list[Turn] = []
        self._open: dict[str, Called] = {}

    def system(self, system: str | list[Block]) -> str:
        """Return the instructions as one text."""
        if isinstance(system, str):
            return system
        self._note_cache(system)
        for place, block in enumerate(system):
            if block.type != "text":
                param = f"system[{place}].type"
                raise InvalidRequest(f"`{param}`: a system prompt is made of `text` alone.", param=param)
        return "\n\n".join(block.text for block in system if block.text)

    def take(self, message: Message, where: str) -> None:
        role = _ROLES.get(message.role)
        if role is None:
            raise InvalidRequest(f"`{where}.role` must be `user`, `assistant` or `system`.", param=f"{where}.role")
        if role == "assistant":
            self._check_answered(where)
        if isinstance(message.content, str):
            pieces: list[Piece] = [Text(message.content)] if message.content else []
        else:
            self._note_cache(message.content)
            pieces = [
                piece
                for n, block in enumerate(message.content)
                for piece in _said_by(role, self._block(block, f"{where}.content[{n}]"), f"{where}.content[{n}]")
            ]
        if self._turns and self._turns[-1].role == role:
            self._turns[-1].pieces += pieces
        elif pieces:
            self._turns.append(Turn(role, pieces))

    def finish(self) -> list[Turn]:
        if not self._turns:
            raise InvalidRequest("`messages` must have something in it: every message is empty.", param="messages")
        if self._turns[-1].role == "assistant":
            raise InvalidRequest(
                "`messages` ends with what the assistant said, and this model's provider goes on from no answer that "
                "was begun; end with a user message.",
                param="messages",
            )
        self._check_answered("messages")
        return self._turns

    def _check_answered(self, where: str) -> None:
        """All calls of a turn have their results before the assistant speaks again."""
        if self._open:
            missing = ", ".join(f"`{id[:64]}`" for id in self._open)
            raise InvalidRequest(f"`{where}`: there is no `tool_result` for {missing} before it.", param=where)

    def _block(self, block: Block, param: str) -> list[Piece]:
        if block.type in MARKS:
            return []
        if means_nothing(block.type):
            self.lost.append(f"messages.{block.type if block.type in SECRETS else 'server_tool_use'}")
            return []
        if block.type not in _READERS:
            raise InvalidRequest(
                f"`{param}.type`: `{block.type[:64]}` is no content that can be carried over to this model's provider.",
                param=f"{param}.type",
            )
        return _READERS[block.type](self, block, param)

    def _said(self, block: Block, _param: str) -> list[Piece]:
        return [Text(block.text)] if block.text else []

    def _thought(self, block: Block, _param: str) -> list[Piece]:
        return [Thought(block.thinking, block.signature)]

    def _summary(self, block: Block, _param: str) -> list[Piece]:
        return [Text(block.content)] if isinstance(block.content, str) and block.content else []

    def _found(self, block: Block, param: str) -> list[Piece]:
        origin = block.source if isinstance(block.source, str) else None
        pieces = self._blocks(block.content or "", f"{param}.content")
        texts = [piece.text for piece in pieces if isinstance(piece, Text)]
        return [Text(_joined([block.title, origin, *texts]))]

    def _called(self, block: Block, param: str) -> list[Piece]:
        if not bytes(block.input).lstrip().startswith(b"{"):
            raise InvalidRequest(f"`{param}.input` must be an object.", param=f"{param}.input")
        called = self._open[block.id] = Called(block.id, block.name, block.input)
        return [called]

    def _image(self, block: Block, param: str) -> list[Piece]:
        source = _source(block, param)
        match source.type:
            case "base64":
                return [Medium("image", param, source.media_type, source.data)]
            case "url" if _is_web(source.url):
                return [Medium("image", param, url=source.url)]
        raise _no_source(param, "a picture in base64 or at an http(s) URL")

    def _document(self, block: Block, param: str) -> list[Piece]:
        source = _source(block, param)
        about = _joined([block.title, block.context])
        match source.type:
            case "text":
                return [Text(_joined([about, source.data]))]
            case "content":
                pieces = self._blocks(source.content, f"{param}.source.content")
                return [Text(about), *pieces] if about else pieces
            case "base64":
                document = Medium("document", param, source.media_type, source.data)
                return [Text(about), document] if about else [document]
            case "url" if _is_web(source.url):
                document = Medium("document", param, "application/pdf", url=source.url)
                return [Text(about), document] if about else [document]
        raise _no_source(param, "a text, content, or a PDF in base64 or at an http(s) URL")

    def _result(self, block: Block, param: str) -> list[Piece]:
        call = self._open.pop(block.tool_use_id, None)
        if call is None:
            raise InvalidRequest(
                f"`{param}.tool_use_id` must be the id of a `tool_use` in the assistant's message before it that has "
                "no result yet.",
                param=f"{param}.tool_use_id",
            )
        pieces = self._blocks(block.content or "", f"{param}.content")
        texts = [piece.text for piece in pieces if isinstance(piece, Text)]
        media = [piece for piece in pieces if isinstance(piece, Medium)]
        return [Result(block.tool_use_id, call.name, "\n".join(texts), media, block.is_error is True)]

    def _blocks(self, content: str | list[Block], param: str) -> list[Piece]:
        """Read content inside of a block."""
        if isinstance(content, str):
            return [Text(content)] if content else []
        self._note_cache(content)
        return [piece for n, block in enumerate(content) for piece in self._block(block, f"{param}[{n}]")]

    def _note_cache(self, blocks: Sequence[Block]) -> None:
        if any(block.cache_control is not None for block in blocks):
            self.lost.append("messages.cache_control")


_READERS: Mapping[str, Callable[[_Reader, Block, str], list[Piece]]] = {
    "text": _Reader._said,
    "thinking": _Reader._thought,
    "compaction": _Reader._summary,
    "search_result": _Reader._found,
    "image": _Reader._image,
    "document": _Reader._document,
    "tool_use": _Reader._called,
    "tool_result": _Reader._result,
}
"""What can be carried over, and who reads it."""


def _said_by(role: Role, pieces: list[Piece], param: str) -> list[Piece]:
    """Return what a block says. Raises InvalidRequest for what nobody of the role can say."""
    if not all(isinstance(piece, _SAYS[role]) for piece in pieces):
        raise InvalidRequest(
            f"`{param}.type`: a message of the role `{role}` can't have this content.", param=f"{param}.type"
        )
    return pieces


def _source(block: Block, param: str) -> Source:
    if not isinstance(block.source, Source):
        raise InvalidRequest(f"`{param}.source` is missing.", param=f"{param}.source")
    return block.source


def _no_source(param: str, wanted: str) -> InvalidRequest:
    return InvalidRequest(f"`{param}.source` must be {wanted} for this model's provider.", param=f"{param}.source")


def _is_web(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _joined(texts: Sequence[str | None]) -> str:
    return "\n".join(text for text in texts if text)
