"""A request for a message as Gemini's."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from gateway.core.call import Call
from gateway.core.prices import ModelFacts
from gateway.translate.anthropic_messages.request import Request, ToolChoice, cap_of, effort_of, own_tools, read
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
from gateway.translate.anthropic_to_gemini.fates import FATES
from gateway.translate.anthropic_to_gemini.signatures import sent_back
from gateway.translate.fates import listable, sort_out
from gateway.translate.gemini_content.body import (
    Blob,
    Body,
    Content,
    FunctionCall,
    FunctionCallingConfig,
    FunctionDeclaration,
    FunctionResponse,
    GenerationConfig,
    Part,
    ThinkingConfig,
    Tool,
    ToolConfig,
)
from gateway.translate.gemini_content.media import fetched, returned
from gateway.translate.gemini_content.models import BUDGETS, UNSIGNED, thinking_of, wants_signatures
from gateway.translate.openai_chat.request import Effort

_MODES: Mapping[str, Literal["AUTO", "ANY", "NONE"]] = {"auto": "AUTO", "any": "ANY", "none": "NONE"}
_EFFORTS: Mapping[str, Effort] = {"low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}


def asked_of_gemini(call: Call, model: str, facts: ModelFacts) -> tuple[Body, tuple[str, ...]]:
    """Return the request and the fields that were dropped. Raises InvalidRequest that names what can't be carried."""
    asked, fields = read(call)
    lost = sort_out(fields, FATES)
    said = conversation(asked)
    functions = _functions(asked, lost)
    body = Body(
        contents=_contents(said, model),
        system_instruction=_instruction(said),
        tools=[Tool(functions)] if functions else [],
        tool_config=_tool_config(asked.tool_choice, lost) if functions else None,
        generation_config=GenerationConfig(
            max_output_tokens=cap_of(asked, facts, lost),
            temperature=asked.temperature,
            top_p=asked.top_p,
            top_k=asked.top_k,
            stop_sequences=asked.stop_sequences or [],
            response_mime_type="application/json" if asked.schema is not None else None,
            response_json_schema=asked.schema,
            thinking_config=_thinking(asked, model, facts, lost),
        ),
    )
    return body, listable(lost + said.lost)


def _functions(asked: Request, lost: list[str]) -> list[FunctionDeclaration]:
    tools = own_tools(asked, "Google")
    if any(tool.strict for tool in tools):
        lost.append("tools.strict")
    return [FunctionDeclaration(tool.name, tool.description, tool.input_schema or None) for tool in tools]


def _instruction(said: Conversation) -> Content | None:
    texts = [said.system, *(_text(turn) for turn in said.turns if turn.role == "system")]
    parts = [Part(text=text) for text in texts if text]
    return Content(parts) if parts else None


def _contents(said: Conversation, model: str) -> list[Content]:
    """Return the turns. Results of functions want a content of their own, right behind their calls."""
    contents: list[Content] = []
    for turn in said.turns:
        if turn.role == "assistant":
            parts = _assistants(turn, said.lost, signs=wants_signatures(model))
            contents += [Content(parts, "model")] if parts else []
        elif turn.role == "user":
            contents += [Content(parts, "user") for parts in _users(turn) if parts]
    return contents


def _assistants(turn: Turn, lost: list[str], *, signs: bool) -> list[Part]:
    """Return what the model said. A signature goes to what came behind the thought."""
    parts: list[Part] = []
    signature: str | None = None
    for piece in turn.pieces:
        match piece:
            case Thought():
                if signature is not None or sent_back(piece.signature) is None:
                    lost.append("messages.thinking")
                signature = sent_back(piece.signature) or signature
            case Text():
                parts.append(Part(text=piece.text, thought_signature=signature))
                signature = None
            case Called():
                if signature is None and signs and not any(part.function_call for part in parts):
                    signature = UNSIGNED
                call = FunctionCall(piece.name, piece.input, piece.id)
                parts.append(Part(function_call=call, thought_signature=signature))
                signature = None
    if signature is not None:
        lost.append("messages.thinking")
    return parts


def _users(turn: Turn) -> tuple[list[Part], list[Part]]:
    """Return the results, and what the user said; pictures in results go there too."""
    results: list[Part] = []
    others: list[Part] = []
    for piece in turn.pieces:
        match piece:
            case Result():
                results.append(Part(function_response=FunctionResponse(piece.name, _returned(piece), piece.id)))
                others += map(_medium, piece.media)
            case Medium():
                others.append(_medium(piece))
            case Text():
                others.append(Part(text=piece.text))
    return results, others


def _returned(result: Result) -> msgspec.Raw:
    """Return a result as the object that Gemini wants: itself if it is one, else with its text in it."""
    if result.is_error:
        return msgspec.Raw(msgspec.json.encode({"error": result.text}))
    return returned(result.text)


def _medium(medium: Medium) -> Part:
    if not medium.url:
        return Part(inline_data=Blob(medium.media_type, medium.data))
    return fetched(medium.url, medium.media_type, f"{medium.param}.source.url", "it in base64")


def _text(turn: Turn) -> str:
    return "".join(piece.text for piece in turn.pieces if isinstance(piece, Text))


def _tool_config(choice: ToolChoice | None, lost: list[str]) -> ToolConfig | None:
    if choice is None:
        return None
    if choice.disable_parallel_tool_use:
        lost.append("tool_choice.disable_parallel_tool_use")
    if choice.type == "tool":
        return ToolConfig(FunctionCallingConfig("ANY", [choice.name or ""]))
    return ToolConfig(FunctionCallingConfig(_MODES[choice.type]))


def _thinking(asked: Request, model: str, facts: ModelFacts, lost: list[str]) -> ThinkingConfig | None:
    """Return how to think. Gemini thinks unasked and within the cap, which Anthropic's clients leave for the answer."""
    effort = _EFFORTS.get(asked.effort or "")
    if asked.effort is not None and (effort is None or not asked.thinks or not facts.is_reasoning):
        lost.append("output_config.effort")
    if not asked.thinks:
        return thinking_of("none", model, facts)
    if not facts.is_reasoning:
        lost.append("thinking")
        return None
    budget = asked.budget_tokens
    if budget is not None and (effort is not None or budget > BUDGETS["high"]):
        lost.append("thinking.budget_tokens")
    if effort is None and budget is not None and "2.5" in model:
        return ThinkingConfig(include_thoughts=True, thinking_budget=min(budget, BUDGETS["high"]))
    return thinking_of(effort or (effort_of(budget) if budget is not None else "high"), model, facts)
