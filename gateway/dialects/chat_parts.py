"""What a message of OpenAI's format says, in the shapes that servers have for it.

OpenAI writes text, and a function's arguments as JSON in a string, but those of its search for tools as an object.
Mistral's models that reason write a list of parts, their thoughts among them, and its arguments may be an object.
"""

import msgspec


class Part(msgspec.Struct, gc=False):
    """A part of a message: `text`, or the parts that were thought. Others say nothing."""

    text: str | None = None
    thinking: "list[Part] | None" = None


Content = str | list[Part] | None
Arguments = str | dict[str, object] | list[object] | None


def written(content: Content) -> str:
    """Return the text of a message's content, or of a piece of it."""
    if isinstance(content, list):
        return "".join(part.text for part in content if part.text)
    return content or ""


def thought(content: Content) -> str:
    """Return the thoughts among the parts of a message's content."""
    return "".join(written(part.thinking) for part in content if part.thinking) if isinstance(content, list) else ""


def arguments_text(arguments: Arguments) -> str:
    """Return a call's arguments, or a piece of them, as OpenAI writes them."""
    return msgspec.json.encode(arguments).decode() if isinstance(arguments, (dict, list)) else arguments or ""
