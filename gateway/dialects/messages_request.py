"""A request for messages, or for their tokens to be counted: what of its body the gateway acts on."""

import re
from collections.abc import Iterator
from typing import Annotated

import msgspec

from gateway.core.call import Head
from gateway.core.errors import InvalidRequest
from gateway.dialects.json_body import decode
from gateway.dialects.references import Pairs, as_pairs, fields_of

OutputCap = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
"""0 writes the prompt to the cache and nothing else."""
UNBOUNDED_USES = 5
"""What a call is held for where a tool has no `max_uses`; more is an overrun."""


class Named(msgspec.Struct, gc=False):
    """Something at the provider: `container` in its long form, a new one where it has no id."""

    id: str | None = None


class Typed(msgspec.Struct, gc=False):
    """Something of which only the kind matters."""

    type: str | None = None


class Tool(msgspec.Struct, gc=False):
    """A tool; its type decides who runs it. An adviser is a model."""

    type: str | None = None
    model: str | None = None
    max_uses: Annotated[int, msgspec.Meta(ge=1, le=1_000)] | None = None

    def uses_as(self, kind: str) -> int:
        """Return how often it may be used at most, 0 unless it is of a kind, whatever its version."""
        if self.type is None or not self.type.startswith(f"{kind}_"):
            return 0
        return self.max_uses or UNBOUNDED_USES


class Fallback(msgspec.Struct, gc=False):
    """A model that answers if the one that was called declines."""

    model: str
    max_tokens: OutputCap | None = None
    speed: str | None = None


class ContextManagement(msgspec.Struct, gc=False):
    """What the provider may do with the prompt before it reads it."""

    edits: list[Typed] | None = None


class Request(msgspec.Struct, gc=False):
    """The fields that the gateway acts on."""

    model: str
    messages: list[msgspec.Raw]
    max_tokens: OutputCap | None = None
    stream: bool | None = None
    speed: str | None = None
    inference_geo: str | None = None
    thinking: Typed | None = None
    tools: list[Tool] | None = None
    container: str | Named | None = None
    fallbacks: list[Fallback] | None = None
    context_management: ContextManagement | None = None
    thread: Typed | None = None

    @property
    def output_cap(self) -> int:
        """The most tokens that any model may write, 0 without a cap."""
        return max(self.max_tokens or 0, *(fallback.max_tokens or 0 for fallback in self.fallbacks or ()), 0)

    @property
    def is_fast(self) -> bool:
        """True where a model may answer at the fast speed, which has a price of its own."""
        return self.speed == "fast" or any(fallback.speed == "fast" for fallback in self.fallbacks or ())

    @property
    def other_models(self) -> tuple[str, ...]:
        """The models that may be asked besides, each once: fallbacks and advisers."""
        named = [tool.model for tool in self.tools or () if tool.model is not None]
        return tuple(dict.fromkeys([*(fallback.model for fallback in self.fallbacks or ()), *named]))

    @property
    def runs(self) -> int:
        """How often the prompt may be read and an answer written: by fallbacks, advisers, and to sum it up."""
        edits = self.context_management.edits if self.context_management else None
        compactions = sum((edit.type or "").startswith("compact_") for edit in edits or ())
        return 1 + len(self.fallbacks or ()) + compactions + self.uses_of("advisor")

    @property
    def thinks(self) -> bool | None:
        """Whether the model is asked to think, None where it may do as it does by itself."""
        return None if self.thinking is None else self.thinking.type != "disabled"

    def uses_of(self, kind: str) -> int:
        """Return how often tools of a kind may be used at most."""
        return sum(tool.uses_as(kind) for tool in self.tools or ())


DECISIVE = (
    b'"model"', b'"messages"', b'"max_tokens"', b'"stream"', b'"system"', b'"tools"', b'"speed"', b'"thinking"',
    b'"container"', b'"mcp_servers"', b'"fallbacks"', b'"context_management"', b'"thread"',
)  # fmt: skip
CLIENT_TOOLS = frozenset({"custom", None})
# Where one of these stands, the size of the body does not bound its tokens. In a text their quotes would be escaped.
_UNSEEN_SIGNS = (b'"image"', b'"document"', b'"file_id"', b'"container', b'"mcp_servers"')
_ESCAPED_LETTER = re.compile(rb"\\u00[2-7]")
"""It could hide a sign, and no client needs one."""
_CLIENTS_OWN = frozenset({"input", "input_schema", "metadata"})
_requests = msgspec.json.Decoder(Request)


def decode_request(body: bytes) -> Request:
    """Read a body's fields. Raises InvalidRequest, also for threads: what lies in one nobody here could count."""
    asked = decode(body, _requests, DECISIVE)
    if asked.thread is not None:
        raise InvalidRequest("Threads are not served; send the whole conversation in `messages`.", param="thread")
    return asked


def passed_query(head: Head) -> str:
    """Return what of the query the provider gets: `?beta=true`, which SDKs add for beta features, and nothing else."""
    return "?beta=true" if b"beta=true" in head.query.split(b"&") else ""


def has_escaped_letters(body: bytes) -> bool:
    """Tell whether a letter is written as its number, so that names in the body cannot be found by their bytes."""
    return b"\\u00" in body and _ESCAPED_LETTER.search(body) is not None


def is_text_only(asked: Request, body: bytes) -> bool:
    """Tell whether the body's size in bytes bounds its tokens, but for what the provider adds for plain tools."""
    if any(tool.type not in CLIENT_TOOLS for tool in asked.tools or ()):
        return False
    return not any(sign in body for sign in _UNSEEN_SIGNS)


def references_of(asked: Request, body: bytes) -> tuple[str, ...]:
    """Return the ids of the container, its skills and all files that a request names, each once.

    What stands in one object twice is read twice: the provider may see the other one.
    """
    found = [asked.container] if isinstance(asked.container, str) else []
    if isinstance(asked.container, Named) or b'"file_id"' in body or has_escaped_letters(body):
        for name, value in fields_of(as_pairs(body)):
            if name == "container":
                found += _of_container(value)
            elif name in ("messages", "system"):
                found += _files(value)
    return tuple(dict.fromkeys(filter(None, found)))


def _of_container(value: object) -> Iterator[str]:
    """Yield a container's id, and its skills' but for those that Anthropic offers to everybody."""
    for name, inside in fields_of(value):
        if name == "id" and isinstance(inside, str):
            yield inside
        elif name == "skills" and isinstance(inside, list):
            for skill in inside:
                fields = fields_of(skill)
                if any(name == "type" and kind != "anthropic" for name, kind in fields):
                    yield from (id for name, id in fields if name == "skill_id" and isinstance(id, str))


def _files(value: object) -> Iterator[str]:
    """Yield the ids of files in content. What the provider's own tools made is only told of there, not opened again."""
    if isinstance(value, list) and not isinstance(value, Pairs):
        for element in value:
            yield from _files(element)
        return
    fields = fields_of(value)
    kinds = [kind for name, kind in fields if name == "type"]
    if kinds and all(isinstance(kind, str) and kind.endswith("_tool_result") for kind in kinds):
        return
    for name, inside in fields:
        if name == "file_id" and isinstance(inside, str):
            yield inside
        elif name not in _CLIENTS_OWN:
            yield from _files(inside)
