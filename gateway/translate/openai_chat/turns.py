"""The messages of a chat completion as turns of two speakers, which is how the other providers see a conversation.

System and developer messages are taken out, wherever they stand. What one speaker says in several messages becomes one
turn. All results of the tools that one turn called stand at the head of the next, and each has its call.
"""

import re

import msgspec

from gateway.core.errors import InvalidRequest
from gateway.translate.objects import MOST_LEVELS, object_in
from gateway.translate.openai_chat import media
from gateway.translate.openai_chat.media import Media
from gateway.translate.openai_chat.messages import (
    AudioPart,
    FilePart,
    FunctionCall,
    ImagePart,
    Message,
    Part,
    RefusalPart,
    TextPart,
    ThinkingBlock,
    ToolCall,
    lasts_longer,
)

OPENING = "(The conversation begins.)"
"""Stands in for the user where the first to speak is the assistant: the other providers want the user first."""
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]")
MAX_ID_LENGTH = 64


class Text(msgspec.Struct, frozen=True):
    """Something said. `ends_cached`: a prefix to cache ends here. `signature` is Google's of the thought behind it."""

    text: str
    ends_cached: bool = False
    signature: str | None = None


class Thoughts(msgspec.Struct, frozen=True):
    """What Claude thought before it spoke, signed."""

    blocks: list[ThinkingBlock]


class Called(msgspec.Struct, frozen=True):
    """A tool that the assistant called. `arguments` is a JSON object."""

    id: str
    name: str
    arguments: msgspec.Raw
    signature: str | None = None


class Result(msgspec.Struct, frozen=True):
    """What a tool returned, and the name it was called by."""

    id: str
    name: str
    text: str
    ends_cached: bool = False


Piece = Text | Thoughts | Media | Called | Result


class Turn(msgspec.Struct):
    """All that one speaker says before the other one speaks; results of tools first."""

    is_assistants: bool
    pieces: list[Piece]


class Conversation(msgspec.Struct):
    """What was said. `lost` names what no other provider has a word for."""

    system: list[Text]
    turns: list[Turn]
    lost: list[str]


def conversation(messages: list[Message]) -> Conversation:
    """Read all messages. Raises InvalidRequest that names the message, and what in it makes no sense."""
    reader = _Reader()
    for place, message in enumerate(messages):
        reader.take(place, message)
    return reader.finish()


class _Reader:
    """Takes one message after the other. `_open` are the calls of the last turn that have no result yet."""

    def __init__(self) -> None:
        self._system: list[Text] = []
        self._turns: list[Turn] = []
        self._lost: list[str] = []
        self._open: dict[str, Called] = {}
        self._ids: set[str] = set()
        self._caller = 0

    def take(self, place: int, message: Message) -> None:
        where = f"messages[{place}]"
        if message.name is not None and message.role != "tool":
            self._lost.append("messages.name")
        match message.role:
            case "system" | "developer":
                self._system += self._text_of(message, where)
            case "user":
                self._add(False, self._said(message, where))
            case "assistant":
                self._check_answered()
                self._add(True, self._assistant(place, message, where))
            case "tool":
                self._result(message, where)

    def finish(self) -> Conversation:
        self._check_answered()
        if not self._turns and self._system:
            # Nothing but instructions: they are what is to be answered.
            self._turns.append(Turn(False, list(self._system)))
            self._system = []
        if not self._turns:
            raise InvalidRequest("`messages` must have something in it: every message is empty.", param="messages")
        if self._turns[0].is_assistants:
            self._turns.insert(0, Turn(False, [Text(OPENING)]))
        return Conversation(self._system, self._turns, self._lost)

    def _add(self, is_assistants: bool, pieces: list[Piece]) -> None:
        if not pieces:
            return
        if self._turns and self._turns[-1].is_assistants is is_assistants:
            self._turns[-1].pieces += pieces
        else:
            self._turns.append(Turn(is_assistants, pieces))

    def _said(self, message: Message, where: str) -> list[Piece]:
        """Return what was said, without what is empty: no provider takes an empty text."""
        if message.content is None or isinstance(message.content, str):
            text = message.content or ""
            return [Text(text)] if text.strip() else []
        pieces = [self._part(part, f"{where}.content[{n}]") for n, part in enumerate(message.content)]
        return [piece for piece in pieces if not isinstance(piece, Text) or piece.text.strip()]

    def _text_of(self, message: Message, where: str) -> list[Text]:
        """Return what was said by who can say nothing but text."""
        said = self._said(message, where)
        texts = [piece for piece in said if isinstance(piece, Text)]
        if len(texts) < len(said):
            raise InvalidRequest(
                f"`{where}.content` must be text in a message of the role `{message.role}`.", param=f"{where}.content"
            )
        return texts

    def _part(self, part: Part, param: str) -> Piece:
        match part:
            case TextPart():
                return Text(part.text, self._ends_cached(part))
            case RefusalPart():
                return Text(part.refusal)
            case ImagePart():
                if part.image_url.detail not in media.PLAIN_DETAILS:
                    self._lost.append("messages.image_url.detail")
                return media.image(part, param, ends_cached=self._ends_cached(part))
            case AudioPart():
                return media.audio(part, param)
            case FilePart():
                return media.file(part, param, ends_cached=self._ends_cached(part))

    def _assistant(self, place: int, message: Message, where: str) -> list[Piece]:
        for field in ("audio", "function_call"):
            if getattr(message, field) is not None:
                raise InvalidRequest(
                    f"`{where}.{field}` can't be carried over to this model's provider: "
                    "send what was said as `content` and what was called as `tool_calls`.",
                    param=f"{where}.{field}",
                )
        signed = [block for block in message.thinking_blocks or () if block.signature or block.data]
        pieces: list[Piece] = [Thoughts(signed)] if signed else []
        if len(signed) < len(message.thinking_blocks or ()):
            self._lost.append("messages.thinking_blocks")
        elif message.reasoning_content and not signed:
            self._lost.append("messages.reasoning_content")
        said = self._said(message, where)
        if message.refusal:
            said.append(Text(message.refusal))
        extra = message.extra_content
        if extra is not None and extra.google is not None:
            if said and isinstance(said[-1], Text):
                said[-1] = msgspec.structs.replace(said[-1], signature=extra.google.thought_signature)
            else:
                self._lost.append("messages.extra_content")
        pieces += said
        self._caller = place
        return pieces + [
            self._called(call, f"{where}.tool_calls[{n}]") for n, call in enumerate(message.tool_calls or ())
        ]

    def _called(self, call: ToolCall, param: str) -> Called:
        if call.id in self._open:
            raise InvalidRequest(f"`{param}.id` is the id of another call of this message.", param=f"{param}.id")
        extra = call.extra_content
        signature = extra.google.thought_signature if extra is not None and extra.google is not None else None
        called = Called(self._own_id(call.id), call.function.name, _arguments(call.function, param), signature)
        self._open[call.id] = called
        return called

    def _own_id(self, given: str) -> str:
        """Return the id with nothing in it that Claude refuses, and which no other call of the conversation has."""
        plain = _NOT_IN_IDS.sub("_", given)[:MAX_ID_LENGTH] or "call"
        own, n = plain, 1
        while own in self._ids:
            n += 1
            own = f"{plain[: MAX_ID_LENGTH - 8]}_{n}"
        self._ids.add(own)
        return own

    def _result(self, message: Message, where: str) -> None:
        call = self._open.pop(message.tool_call_id, None) if message.tool_call_id is not None else None
        if call is None:
            raise InvalidRequest(
                f"`{where}.tool_call_id` must be the id of a call in the assistant's message before it that has no "
                "result yet.",
                param=f"{where}.tool_call_id",
            )
        said = self._text_of(message, where)
        is_cached = any(text.ends_cached for text in said)
        result = Result(call.id, call.name, "".join(text.text for text in said), is_cached)
        if self._turns[-1].is_assistants:
            self._turns.append(Turn(False, [result]))
            return
        pieces = self._turns[-1].pieces
        pieces.insert(sum(isinstance(piece, Result) for piece in pieces), result)

    def _check_answered(self) -> None:
        if self._open:
            where = f"messages[{self._caller}].tool_calls"
            missing = ", ".join(f"`{id[:64]}`" for id in self._open)
            raise InvalidRequest(f"`{where}`: there is no `tool` message with the result of {missing}.", param=where)

    def _ends_cached(self, part: TextPart | ImagePart | FilePart) -> bool:
        """Tell whether a prefix to cache ends here. It is kept for 5 minutes: that is what its hold was made for."""
        if lasts_longer(part.cache_control):
            self._lost.append("messages.cache_control.ttl")
        return part.cache_control is not None or part.prompt_cache_breakpoint is not None


def _arguments(call: FunctionCall, param: str) -> msgspec.Raw:
    """Return the arguments, which stand in a string, as the JSON object that they are."""
    arguments = object_in(call.arguments.strip() or "{}")
    if arguments is None:
        raise InvalidRequest(
            f"`{param}.function.arguments` must be a JSON object in a string, of at most {MOST_LEVELS} levels.",
            param=f"{param}.function.arguments",
        )
    return arguments
