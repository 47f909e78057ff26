"""A request for a message as a chat completion's."""

import msgspec

from gateway.core.call import Call
from gateway.core.errors import InvalidRequest
from gateway.core.prices import ModelFacts
from gateway.translate.anthropic_messages.request import (
    Object,
    Request,
    ToolChoice,
    cap_of,
    effort_of,
    own_tools,
    read,
)
from gateway.translate.anthropic_messages.turns import (
    Called,
    Conversation,
    Medium,
    Result,
    Text,
    Thought,
    Turn,
    conversation,
)
from gateway.translate.anthropic_to_openai.body import (
    AssistantMessage,
    Body,
    File,
    FilePart,
    Function,
    FunctionCall,
    ImagePart,
    ImageUrl,
    JsonSchema,
    Message,
    Named,
    NamedTool,
    Part,
    ResponseFormat,
    SystemMessage,
    TextPart,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from gateway.translate.anthropic_to_openai.fates import FATES
from gateway.translate.fates import listable, sort_out

MOST_STOPS = 4
MOST_USER_CHARACTERS = 64
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_SEE_BELOW = "(It is in the next message.)"


def asked_of_openai(call: Call, model: str, facts: ModelFacts) -> tuple[Body, tuple[str, ...]]:
    """Return the request and the fields that were dropped. Raises InvalidRequest that names what can't be carried."""
    asked, fields = read(call)
    lost = sort_out(fields, FATES)
    said = conversation(asked)
    tools = [_tool(tool.name, tool.description, tool.input_schema, tool.strict) for tool in own_tools(asked, "OpenAI")]
    choice, parallel = _choice(asked.tool_choice) if tools else (None, None)
    cap = cap_of(asked, facts, lost)
    body = Body(
        model=model,
        messages=_messages(said),
        max_tokens=cap if facts.cap_field == "max_tokens" else None,
        max_completion_tokens=cap if facts.cap_field == "max_completion_tokens" else None,
        stream=call.streams,
        temperature=_sampler("temperature", asked.temperature, facts, lost),
        top_p=_sampler("top_p", asked.top_p, facts, lost),
        stop=_stops(asked),
        tools=tools,
        tool_choice=choice,
        parallel_tool_calls=parallel,
        response_format=_response_format(asked.schema),
        reasoning_effort=_effort(asked, facts, lost),
        user=_user(asked, lost),
        service_tier=_service_tier(asked, lost),
    )
    return body, listable(lost + said.lost)


def _messages(said: Conversation) -> list[Message]:
    messages: list[Message] = [SystemMessage(said.system)] if said.system else []
    for turn in said.turns:
        match turn.role:
            case "system":
                messages.append(SystemMessage(_text(turn)))
            case "assistant":
                messages += _assistants(turn, said.lost)
            case "user":
                messages += _users(turn)
    return messages


def _assistants(turn: Turn, lost: list[str]) -> list[Message]:
    calls = [
        ToolCall(piece.id, FunctionCall(piece.name, bytes(piece.input).decode()))
        for piece in turn.pieces
        if isinstance(piece, Called)
    ]
    text = _text(turn)
    if any(isinstance(piece, Thought) for piece in turn.pieces):
        lost.append("messages.thinking")
    return [AssistantMessage(text or None, calls)] if text or calls else []


def _users(turn: Turn) -> list[Message]:
    """Return the results, each a message of its own, and then what the user said; pictures in results go there too."""
    messages: list[Message] = []
    parts: list[Part] = []
    for piece in turn.pieces:
        match piece:
            case Result():
                text = piece.text or (_SEE_BELOW if piece.media else "")
                messages.append(ToolMessage(piece.id, f"Error: {text}" if piece.is_error else text))
                parts += map(_medium, piece.media)
            case Medium():
                parts.append(_medium(piece))
            case Text():
                parts.append(TextPart(piece.text))
    if len(parts) == 1 and isinstance(parts[0], TextPart):
        return [*messages, UserMessage(parts[0].text)]
    return [*messages, UserMessage(parts)] if parts else messages


def _text(turn: Turn) -> str:
    return "".join(piece.text for piece in turn.pieces if isinstance(piece, Text))


def _medium(medium: Medium) -> Part:
    if medium.kind == "image":
        return ImagePart(ImageUrl(medium.url or f"data:{medium.media_type};base64,{medium.data}"))
    if medium.url:
        raise InvalidRequest(
            f"`{medium.param}.source`: the gateway fetches no documents, nor does OpenAI; send the PDF in base64.",
            param=f"{medium.param}.source",
        )
    return FilePart(File(f"data:{medium.media_type};base64,{medium.data}"))


def _tool(name: str, description: str | None, schema: Object | None, strict: bool | None) -> Tool:
    return Tool(Function(name, description, schema or None, True if strict else None))


def _choice(choice: ToolChoice | None) -> tuple[str | NamedTool | None, bool | None]:
    """Return how to choose, and whether calls may be parallel; None where OpenAI does by itself what was asked."""
    if choice is None:
        return None, None
    parallel = False if choice.disable_parallel_tool_use else None
    if choice.type == "tool":
        return NamedTool(Named(choice.name or "")), parallel
    return _CHOICES[choice.type], parallel


def _sampler(name: str, value: float | None, facts: ModelFacts, lost: list[str]) -> float | None:
    """Return temperature or top_p. Models that reason refuse all but 1, which is where both are at rest."""
    if value is None or value == 1:
        return None
    if facts.is_reasoning:
        lost.append(name)
        return None
    return value


def _stops(asked: Request) -> list[str]:
    stops = asked.stop_sequences or []
    if len(stops) > MOST_STOPS:
        raise InvalidRequest(f"`stop_sequences`: OpenAI takes at most {MOST_STOPS}.", param="stop_sequences")
    return stops


def _effort(asked: Request, facts: ModelFacts, lost: list[str]) -> str | None:
    """Return how hard to reason: the effort that was asked for, else what the budget of thinking stands for."""
    effort = _EFFORTS.get(asked.effort or "")
    if asked.effort is not None and (effort is None or not facts.is_reasoning):
        lost.append("output_config.effort")
    if not facts.is_reasoning:
        lost += ["thinking"] if asked.thinks else []
        return None
    if effort is not None:
        lost += [] if asked.budget_tokens is None else ["thinking.budget_tokens"]
        return effort
    if asked.thinking is not None and asked.thinking.type == "disabled":
        return "low"
    return None if asked.budget_tokens is None else effort_of(asked.budget_tokens)


def _user(asked: Request, lost: list[str]) -> str | None:
    user = asked.metadata.user_id if asked.metadata is not None else None
    if user is not None and len(user) > MOST_USER_CHARACTERS:
        lost.append("metadata")
        return None
    return user


def _service_tier(asked: Request, lost: list[str]) -> str | None:
    if asked.service_tier == "standard_only":
        return "default"
    if asked.service_tier not in (None, "auto"):
        lost.append("service_tier")
    return None


def _response_format(schema: Object | None) -> ResponseFormat | None:
    if schema is None:
        return None
    return ResponseFormat(JsonSchema("answer", schema, _is_strict(msgspec.json.decode(msgspec.json.encode(schema)))))


def _is_strict(schema: object) -> bool:
    """Tell whether OpenAI takes the schema as strict: each object requires all of its fields and allows no others."""
    if isinstance(schema, list):
        return all(map(_is_strict, schema))
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" and (
        schema.get("additionalProperties") is not False
        or set(schema.get("properties") or ()) != set(schema.get("required") or ())
    ):
        return False
    return all(map(_is_strict, schema.values()))
