"""What becomes of each field of Anthropic's messages when Gemini is asked."""

from gateway.translate.anthropic_messages.fates import ELSEWHERE
from gateway.translate.fates import Fates, carried, dropped

FATES: Fates = {
    "model": carried("the path, behind an alias its real name"),
    "max_tokens": carried("`maxOutputTokens`, at most what the model can write; 0 is refused"),
    "messages": carried("`contents`; the last must not be the assistant's"),
    "messages.system": carried("a part of `systemInstruction`"),
    "messages.text": carried("`text`"),
    "messages.image": carried("`inlineData`, https URLs as `fileData`; http URLs and Google's store are refused"),
    "messages.document": carried(
        "text as text, a PDF as `inlineData` or behind an https URL as `fileData`, its title and context as text"
    ),
    "messages.search_result": carried("its title, source and text as text"),
    "messages.tool_use": carried("`functionCall`"),
    "messages.tool_result": carried(
        "`functionResponse`; with `is_error` its text is an `error`; pictures and documents come behind it"
    ),
    "messages.thinking": carried("`thoughtSignature`, if it came from here; else dropped"),
    "messages.redacted_thinking": dropped("only Claude can read it"),
    "messages.server_tool_use": dropped("what Anthropic's own tools did is for Claude"),
    "messages.mcp_tool_use": dropped("what Anthropic's own tools did is for Claude"),
    "messages.container_upload": dropped("there is no container"),
    "messages.citations": dropped("the answer cites nothing", {"enabled": False}, []),
    "messages.caller": dropped("", {"type": "direct"}),
    "messages.cache_control": dropped("Gemini caches by itself"),
    "system": carried("`systemInstruction`"),
    "stop_sequences": carried("`stopSequences`"),
    "stream": carried("`streamGenerateContent`"),
    "temperature": carried("`temperature`"),
    "top_p": carried("`topP`"),
    "top_k": carried("`topK`"),
    "tools": carried("`functionDeclarations`; tools of Anthropic's own are refused"),
    "tools.strict": dropped("", False),
    "tools.cache_control": dropped("Gemini caches by itself"),
    "tools.allowed_callers": dropped("", ["direct"]),
    "tools.defer_loading": dropped("all tools are sent", False),
    "tools.eager_input_streaming": dropped("", False),
    "tools.input_examples": dropped("", []),
    "tool_choice": carried("`functionCallingConfig`; without tools only `none` and `auto`"),
    "tool_choice.disable_parallel_tool_use": dropped("", False),
    "thinking.display": dropped("thoughts are told as far as the provider tells them", "summarized"),
    "thinking": carried(
        "`thinkingConfig`: a budget, or a level from 3 on, and thoughts are shown; without it the least that the model "
        "can think; dropped for models that do not reason"
    ),
    "thinking.budget_tokens": carried("as `thinking`; dropped beside an `effort`, and above 24576, which is sent then"),
    "output_config": carried(
        "`effort` as `thinkingConfig`, before a budget; `format` as `responseJsonSchema`, a `json_schema` only"
    ),
    "output_config.effort": carried(
        "`thinkingConfig`; dropped without `thinking`, and for models that do not reason"
    ),
    "output_config.task_budget": dropped(),
    "metadata": dropped(),
    "service_tier": dropped("", "auto", "standard_only"),
    "cache_control": dropped("Gemini caches by itself"),
    **ELSEWHERE,
}  # fmt: skip
