"""A chat completion's request as Gemini's."""

import msgspec

from gateway.core.call import Call
from gateway.core.prices import ModelFacts
from gateway.translate.fates import listable, sort_out
from gateway.translate.gemini_content.body import (
    Body,
    FunctionCallingConfig,
    FunctionDeclaration,
    GenerationConfig,
    ThinkingConfig,
    Tool,
    ToolConfig,
)
from gateway.translate.gemini_content.models import thinking_of
from gateway.translate.openai_chat.request import (
    Request,
    checked,
    functions_of,
    mode_of,
    read,
    schema_of,
    stops_of,
)
from gateway.translate.openai_chat.turns import conversation
from gateway.translate.openai_to_gemini.fates import FATES
from gateway.translate.openai_to_gemini.parts import contents_of, instruction_of

SEEDS = range(-(2**31), 2**31)


class Thinking(msgspec.Struct, forbid_unknown_fields=True):
    """`google.thinking_config`."""

    include_thoughts: bool = False
    thinking_budget: int | None = None
    thinking_level: str | None = None


class Google(msgspec.Struct, forbid_unknown_fields=True):
    """`google`: what Google's compatible endpoint takes beside OpenAI's fields, as far as it is the caller's own."""

    thinking_config: Thinking | None = None


class ExtraBody(msgspec.Struct, forbid_unknown_fields=True):
    """`extra_body`."""

    google: Google | None = None


_extras = msgspec.json.Decoder(ExtraBody)


def asked_of_gemini(call: Call, model: str, facts: ModelFacts) -> tuple[Body, tuple[str, ...]]:
    """Return the request and the fields that were dropped. Raises InvalidRequest that names what can't be carried."""
    asked, fields = read(call)
    lost = sort_out(fields, FATES)
    said = conversation(asked.messages)
    tools = _tools(asked, lost)
    body = Body(
        contents=contents_of(said, model, lost),
        system_instruction=instruction_of(said, lost),
        tools=tools,
        tool_config=_tool_config(asked) if tools else None,
        generation_config=_generation_config(call, asked, _thinking(asked, model, facts, lost), lost),
    )
    return body, listable(lost + said.lost)


def _tools(asked: Request, lost: list[str]) -> list[Tool]:
    """Return the functions; one without parameters has no schema."""
    declared = []
    for function, tool in functions_of(asked):
        if function.strict:
            lost.append("tools.strict")
        if tool.cache_control is not None:
            lost.append("tools.cache_control")
        declared.append(FunctionDeclaration(function.name, function.description, function.parameters or None))
    return [Tool(declared)] if declared else []


def _tool_config(asked: Request) -> ToolConfig | None:
    mode, name = mode_of(asked)
    if name is not None:
        return ToolConfig(FunctionCallingConfig("ANY", [name]))
    match mode:
        case "required":
            return ToolConfig(FunctionCallingConfig("ANY"))
        case "none":
            return ToolConfig(FunctionCallingConfig("NONE"))
        case "auto":
            return ToolConfig(FunctionCallingConfig("AUTO"))
        case None:
            return None


def _thinking(asked: Request, model: str, facts: ModelFacts, lost: list[str]) -> ThinkingConfig | None:
    if asked.extra_body is not None:
        extra = checked(_extras, msgspec.json.encode(asked.extra_body), "extra_body")
        if extra.google is not None and extra.google.thinking_config is not None:
            wanted = extra.google.thinking_config
            if asked.reasoning_effort is not None:
                lost.append("reasoning_effort")
            return ThinkingConfig(wanted.include_thoughts, wanted.thinking_budget, wanted.thinking_level)
    if asked.reasoning_effort is None:
        return None
    thinking = thinking_of(asked.reasoning_effort, model, facts)
    if thinking is None and asked.reasoning_effort != "none":
        lost.append("reasoning_effort")
    return thinking


def _generation_config(
    call: Call, asked: Request, thinking: ThinkingConfig | None, lost: list[str]
) -> GenerationConfig | None:
    seed = asked.seed
    if seed is not None and seed not in SEEDS:
        lost.append("seed")
        seed = None
    wanted = asked.response_format
    is_json = wanted is not None and wanted.type != "text"
    config = GenerationConfig(
        max_output_tokens=call.output_cap,
        temperature=asked.temperature,
        top_p=asked.top_p,
        stop_sequences=stops_of(asked),
        candidate_count=call.choices,
        seed=seed,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        response_logprobs=asked.logprobs is True,
        logprobs=asked.top_logprobs or None,
        response_mime_type="application/json" if is_json else None,
        response_json_schema=schema_of(asked),
        thinking_config=thinking,
    )
    return config if config != GenerationConfig() else None
