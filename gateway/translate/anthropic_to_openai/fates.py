"""What becomes of each field of Anthropic's messages when a model in OpenAI's format is asked."""

from gateway.translate.anthropic_messages.fates import ELSEWHERE
from gateway.translate.fates import Fates, carried, dropped

FATES: Fates = {
    "model": carried("`model`, behind an alias its real name"),
    "max_tokens": carried("`max_completion_tokens` or `max_tokens`, at most what the model can write; 0 is refused"),
    "messages": carried("`messages`; the last must not be the assistant's"),
    "messages.system": carried("a system message at its place"),
    "messages.text": carried("`content`"),
    "messages.image": carried("`image_url`: base64 as a data URL, http(s) URLs as they are"),
    "messages.document": carried(
        "text as text, a PDF in base64 as `file`, its title and context as text; a PDF behind a URL is refused"
    ),
    "messages.search_result": carried("its title, source and text as text"),
    "messages.tool_use": carried("`tool_calls`"),
    "messages.tool_result": carried(
        "a `tool` message; `is_error` as a word before it; pictures and documents in the user's message behind it"
    ),
    "messages.thinking": dropped("OpenAI's format takes no thoughts back"),
    "messages.redacted_thinking": dropped("only Claude can read it"),
    "messages.server_tool_use": dropped("what Anthropic's own tools did is for Claude"),
    "messages.mcp_tool_use": dropped("what Anthropic's own tools did is for Claude"),
    "messages.container_upload": dropped("there is no container"),
    "messages.citations": dropped("the answer cites nothing", {"enabled": False}, []),
    "messages.caller": dropped("", {"type": "direct"}),
    "messages.cache_control": dropped("OpenAI caches by itself"),
    "system": carried("a system message, its blocks joined"),
    "stop_sequences": carried("`stop`; more than 4 are refused"),
    "stream": carried("`stream`"),
    "temperature": carried("`temperature`; dropped for models that reason"),
    "top_p": carried("`top_p`; dropped for models that reason"),
    "top_k": dropped("OpenAI's format has no word for it"),
    "tools": carried("`tools`, functions; `strict` too; tools of Anthropic's own are refused"),
    "tools.strict": carried("`strict`"),
    "tools.cache_control": dropped("OpenAI caches by itself"),
    "tools.allowed_callers": dropped("", ["direct"]),
    "tools.defer_loading": dropped("all tools are sent", False),
    "tools.eager_input_streaming": dropped("", False),
    "tools.input_examples": dropped("", []),
    "tool_choice": carried(
        "`tool_choice`; `disable_parallel_tool_use` as `parallel_tool_calls`; without tools only `none` and `auto`"
    ),
    "tool_choice.disable_parallel_tool_use": carried("`parallel_tool_calls`"),
    "thinking.display": dropped("thoughts are told as far as the provider tells them", "summarized"),
    "thinking": carried(
        "`reasoning_effort` by its budget: below 4096 low, below 16384 medium, else high; dropped for models that do "
        "not reason"
    ),
    "thinking.budget_tokens": carried("as `thinking`; dropped beside an `effort`"),
    "output_config": carried(
        "`effort` as `reasoning_effort`, before `thinking`; `format` as `response_format`, a `json_schema` only"
    ),
    "output_config.effort": carried("`reasoning_effort`; dropped for models that do not reason"),
    "output_config.task_budget": dropped(),
    "metadata": carried("`user_id` as `user`, if it has at most 64 characters"),
    "service_tier": carried("`standard_only` as `default`; others but `auto` are dropped"),
    "cache_control": dropped("OpenAI caches by itself"),
    **ELSEWHERE,
}  # fmt: skip
