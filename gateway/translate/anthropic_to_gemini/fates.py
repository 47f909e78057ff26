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
    "messages.document": carried("text as text, a PDF as `inlineData` or behind an https URL as `fileData`"),
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
    "messages.cache_control": dropped("Gemini caches by itself"),
    "system": carried("`systemInstruction`"),
    "stop_sequences": carried("`stopSequences`"),
    "stream": carried("`streamGenerateContent`"),
    "temperature": carried("`temperature`"),
    "top_p": carried("`topP`"),
    "top_k": carried("`topK`"),
    "tools": carried("`functionDeclarations`; tools of Anthropic's own are refused"),
    "tool_choice": carried("`functionCallingConfig`; `disable_parallel_tool_use` has no effect"),
    "thinking": carried(
        "`thinkingConfig`: a budget, or a level from 3 on, and thoughts are shown; without it the least that the model "
        "can think"
    ),
    "output_config": carried("`effort` as `thinkingConfig`, before a budget; `format` as `responseJsonSchema`"),
    "metadata": dropped(),
    "service_tier": dropped("", "auto", "standard_only"),
    "cache_control": dropped("Gemini caches by itself"),
    **ELSEWHERE,
}  # fmt: skip
