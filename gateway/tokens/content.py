"""Message content and tool definitions, as chat completions and responses both write them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.tokens.conversation import Choice, Function, ResponseSchema
from gateway.tokens.images import Image, read_image
from gateway.tokens.loose import compact_json, items, mapping, mappings, text

_TEXT_PARTS = frozenset({"text", "input_text", "output_text", "summary_text", "reasoning_text"})


@dataclass(frozen=True, slots=True)
class Content:
    """What a message's content holds; `unseen` when a part is audio, a file, or of a kind we do not know."""

    texts: tuple[str, ...] = ()
    images: tuple[Image, ...] = ()
    unseen: bool = False


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools of a request; `unseen` when one of them is run by the provider, which adds what it finds."""

    functions: tuple[Function, ...] = ()
    custom: tuple[str, ...] = ()
    unseen: bool = False


def read_content(value: object) -> Content:
    """A content string, an array of parts (or bare strings), or nothing."""
    if isinstance(value, str):
        return Content(texts=(value,))
    texts: list[str] = []
    images: list[Image] = []
    unseen = False
    for part in items(value):
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping):
            unseen |= not _read_part(part, texts, images)
    return Content(tuple(texts), tuple(images), unseen)


def _read_part(part: Mapping[str, object], texts: list[str], images: list[Image]) -> bool:
    """Adds the part to texts or images. False when it is of a kind whose tokens cannot be seen."""
    kind = text(part.get("type"))
    if kind in _TEXT_PARTS:
        texts.append(text(part.get("text")))
    elif kind == "refusal":
        texts.append(text(part.get("refusal")))
    elif kind == "image_url" or (kind == "input_image" and not part.get("file_id")):
        images.append(_read_image_part(part))
    else:
        return False
    return True


def _read_image_part(part: Mapping[str, object]) -> Image:
    """Chat nests `{url, detail}`, responses has the two side by side; both shapes are taken from either."""
    source = part.get("image_url")
    holder = source if isinstance(source, Mapping) else {"url": source, "detail": part.get("detail")}
    return read_image(text(holder.get("url")), text(holder.get("detail")))


def read_tools(value: object) -> Tools:
    """The `tools` array: chat nests a function's fields under `function`, responses does not."""
    functions: list[Function] = []
    custom: list[str] = []
    unseen = False
    for tool in mappings(value):
        match tool.get("type", "function"):
            case "function":
                functions.append(read_function(mapping(tool.get("function", tool))))
            case "custom":
                custom.append(compact_json(tool))
            case _:
                unseen = True
    return Tools(tuple(functions), tuple(custom), unseen)


def read_function(definition: Mapping[str, object]) -> Function:
    """`{name, description, parameters}`, as both APIs and the legacy `functions` have it."""
    name, description = text(definition.get("name")), text(definition.get("description"))
    return Function(name, description, mapping(definition.get("parameters")))


def read_choice(value: object) -> Choice:
    """`tool_choice` or the legacy `function_call`: a word, or an object that names a function."""
    if isinstance(value, str):
        return Choice(mode=value)
    chosen = mapping(value)
    name = text(mapping(chosen.get("function", chosen)).get("name"))
    return Choice(mode="required", function=name) if name else Choice()


def read_schema(response_format: object) -> ResponseSchema | None:
    """The schema of a `response_format` (nested under `json_schema`) or of a `text.format` (flat), if it is one."""
    wanted = mapping(response_format)
    if wanted.get("type") != "json_schema":
        return None
    holder = mapping(wanted.get("json_schema", wanted))
    return ResponseSchema(text(holder.get("name")), mapping(holder.get("schema")))


def joined(contents: Sequence[Content]) -> Content:
    """Several contents as one."""
    texts = tuple(part for content in contents for part in content.texts)
    images = tuple(image for content in contents for image in content.images)
    return Content(texts, images, any(content.unseen for content in contents))
