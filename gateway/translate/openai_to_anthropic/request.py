"""A chat completion's request as Claude's."""

import msgspec

from gateway.core.call import Call
from gateway.core.errors import InvalidRequest
from gateway.core.prices import ModelFacts
from gateway.translate.fates import listable, sort_out
from gateway.translate.openai_chat.messages import Object, lasts_longer
from gateway.translate.openai_chat.request import Request, checked, functions_of, mode_of, read, schema_of, stops_of
from gateway.translate.openai_chat.turns import Called, Conversation, Result, Text, Thoughts, conversation
from gateway.translate.openai_to_anthropic.blocks import messages_of, text_block
from gateway.translate.openai_to_anthropic.body import (
    CACHED,
    Adaptive,
    Body,
    Budget,
    Disabled,
    Format,
    Metadata,
    OutputConfig,
    TextBlock,
    ToolChoiceParam,
    ToolParam,
)
from gateway.translate.openai_to_anthropic.fates import FATES
from gateway.translate.openai_to_anthropic.models import budget_of, effort_of, traits_of
from gateway.translate.openai_to_anthropic.schema import fitted

JSON_ONLY = TextBlock("Answer with one JSON object and nothing else: no text around it, no code fence.")
"""What OpenAI's JSON mode promises; Claude has no such mode."""
NO_TOOLS = ToolChoiceParam("none")
_OBJECT = msgspec.Raw(b'"object"')
_EMPTY = msgspec.Raw(b"{}")


class Thoughtful(msgspec.Struct, gc=False):
    """Of `thinking`, in the client's own words, what must fit below the cap."""

    budget_tokens: int | None = None


_thoughtful = msgspec.json.Decoder(Thoughtful)

Thinking = Budget | Adaptive | Disabled | Object | None


def asked_of_claude(call: Call, model: str, facts: ModelFacts) -> tuple[Body, tuple[str, ...]]:
    """Return the request and the fields that were dropped. Raises InvalidRequest that names what can't be carried."""
    asked, fields = read(call)
    lost = sort_out(fields, FATES)
    said = conversation(asked.messages)
    if any(isinstance(piece, Text | Called) and piece.signature for turn in said.turns for piece in turn.pieces):
        lost.append("messages.extra_content")
    max_tokens = call.output_cap or facts.max_output_tokens
    tools, choice = _tools(asked, lost), _choice(asked)
    if not tools:
        tools, choice = _tools_of_old(said), NO_TOOLS
    thinking, effort = _thinking(asked, model, max_tokens, _must_call(choice), said, lost)
    temperature, top_p = _samplers(asked, model, thinking, lost)
    body = Body(
        model=model,
        max_tokens=max_tokens,
        messages=messages_of(said.turns),
        system=_system(asked, said),
        stream=call.streams,
        temperature=temperature,
        top_p=top_p,
        stop_sequences=_stops(asked),
        tools=tools,
        tool_choice=choice if tools else None,
        thinking=thinking,
        output_config=_output_config(asked, effort, lost),
        metadata=_metadata(asked, lost),
        service_tier=_service_tier(asked, lost),
    )
    return body, listable(lost + said.lost)


def _system(asked: Request, said: Conversation) -> list[TextBlock]:
    system = [text_block(text) for text in said.system]
    if asked.response_format is not None and asked.response_format.type == "json_object":
        system.append(JSON_ONLY)
    return system


def _tools(asked: Request, lost: list[str]) -> list[ToolParam]:
    tools = []
    for place, (function, tool) in enumerate(functions_of(asked)):
        schema, strict = _input_schema(function.parameters), False
        if function.strict:
            schema, strict = _strict(schema, f"tools[{place}].function.parameters", lost)
        cached = CACHED if tool.cache_control is not None else None
        if lasts_longer(tool.cache_control):
            lost.append("tools.cache_control.ttl")
        tools.append(ToolParam(function.name, schema, function.description, strict, cached))
    return tools


def _strict(schema: Object, param: str, lost: list[str]) -> tuple[Object, bool]:
    """Return a schema that Claude keeps to strictly; one that it can't keep to is told it as any other is."""
    try:
        fitting, words = fitted(schema, param)
    except InvalidRequest:
        lost.append("tools.strict")
        return schema, False
    lost += [f"tools.{keyword}" for keyword in words]
    return fitting, True


def _tools_of_old(said: Conversation) -> list[ToolParam]:
    """Return the tools that were called before: Claude reads no calls of tools that are not declared."""
    called = [piece for turn in said.turns for piece in turn.pieces if isinstance(piece, Called)]
    return [ToolParam(name, _input_schema(None)) for name in dict.fromkeys(call.name for call in called)]


def _input_schema(parameters: Object | None) -> Object:
    """Return the schema as Claude wants it: its `type` must be there, and a function without parameters has one too."""
    if not parameters:
        return {"type": _OBJECT, "properties": _EMPTY}
    return {"type": _OBJECT, **parameters}


def _choice(asked: Request) -> ToolChoiceParam | None:
    mode, name = mode_of(asked)
    alone = asked.parallel_tool_calls is False
    if name is not None:
        return ToolChoiceParam("tool", name, alone)
    match mode:
        case "required":
            return ToolChoiceParam("any", None, alone)
        case "none":
            return NO_TOOLS
        case "auto":
            return ToolChoiceParam("auto", None, alone)
        case None:
            return ToolChoiceParam("auto", None, True) if alone else None


def _must_call(choice: ToolChoiceParam | None) -> bool:
    return choice is not None and choice.type in ("any", "tool")


def _thinking(
    asked: Request, model: str, max_tokens: int, must_call: bool, said: Conversation, lost: list[str]
) -> tuple[Thinking, str | None]:
    """Return how to think and with which effort. What there is no room for is dropped."""
    effort = asked.reasoning_effort
    if asked.thinking is not None:
        checked(_thoughtful, msgspec.json.encode(asked.thinking), "thinking")
        if effort is not None:
            lost.append("reasoning_effort")
        return asked.thinking, None
    if effort is None:
        return None, None
    traits = traits_of(model)
    if effort == "none":
        return (Disabled() if traits.thinks_unasked else None), None
    if traits.thinks == "by_effort":
        # A call that must end in a certain tool leaves no room for thinking.
        return (None if must_call else Adaptive()), effort_of(effort, model)
    budget = budget_of(effort, max_tokens)
    if traits.thinks == "never" or budget is None or must_call or _thoughts_are_gone(said):
        lost.append("reasoning_effort")
        return None, None
    return Budget(budget), None


def _thoughts_are_gone(said: Conversation) -> bool:
    """Tell whether Claude is to go on from a call without what it thought before it: with a budget it refuses to."""
    last = said.turns[-1]
    if last.is_assistants:
        return not isinstance(last.pieces[0], Thoughts)
    return isinstance(last.pieces[0], Result) and not isinstance(said.turns[-2].pieces[0], Thoughts)


def _samplers(asked: Request, model: str, thinking: Thinking, lost: list[str]) -> tuple[float | None, float | None]:
    """Return temperature and top_p as the model takes them. 1 is where both are at rest, so it is left out."""
    temperature = None if asked.temperature is None or asked.temperature == 1 else min(asked.temperature, 1.0)
    top_p = None if asked.top_p == 1 else asked.top_p
    traits = traits_of(model)
    if asked.temperature is not None and asked.temperature > 1:
        lost.append("temperature")
    if not traits.samples or not (thinking is None or isinstance(thinking, Disabled)):
        lost += [name for name, value in (("temperature", temperature), ("top_p", top_p)) if value is not None]
        return None, None
    if traits.one_sampler and temperature is not None and top_p is not None:
        lost.append("top_p")
        top_p = None
    return temperature, top_p


def _stops(asked: Request) -> list[str]:
    stops = stops_of(asked)
    if any(not stop.strip() for stop in stops):
        raise InvalidRequest("`stop`: Claude takes no stop sequence of white space only.", param="stop")
    return stops


def _output_config(asked: Request, effort: str | None, lost: list[str]) -> OutputConfig | None:
    schema = schema_of(asked)
    if schema is None:
        return OutputConfig(effort) if effort is not None else None
    fitting, words = fitted(schema, "response_format.json_schema.schema")
    lost += [f"response_format.{keyword}" for keyword in words]
    return OutputConfig(effort, Format(fitting))


def _metadata(asked: Request, lost: list[str]) -> Metadata | None:
    user = asked.safety_identifier or asked.user
    if asked.user and asked.user != user:
        lost.append("user")
    return Metadata(user) if user else None


def _service_tier(asked: Request, lost: list[str]) -> str | None:
    if asked.service_tier == "default":
        return "standard_only"
    if asked.service_tier not in (None, "auto"):
        lost.append("service_tier")
    return None
