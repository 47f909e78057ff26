"""What becomes of each field of OpenAI's chat completions when Claude is asked."""

from gateway.translate.fates import Fates, carried, dropped, refused

FATES: Fates = {
    "model": carried("`model`, behind an alias its real name"),
    "messages": carried("`messages`; neighbours of one role become one, the first is always a user's"),
    "messages.system": carried("system and developer messages, wherever they stand, become `system`"),
    "messages.name": dropped(),
    "messages.tool_calls": carried("`tool_use`; all results of a turn in one user message, each needs its call"),
    "messages.image_url": carried("`image`: data URLs of jpeg, png, gif and webp as base64, http(s) URLs as `url`"),
    "messages.image_url.detail": dropped("", "auto"),
    "messages.file": carried("`document`: PDF and plain text in `file_data`; `file_id` is refused"),
    "messages.file.filename": carried("`title`"),
    "messages.input_audio": refused("Claude takes no sound"),
    "messages.reasoning_content": dropped("Claude takes back only what is signed: send `thinking_blocks` back"),
    "messages.thinking_blocks": carried("`thinking` and `redacted_thinking`, as they came"),
    "messages.cache_control": carried("`cache_control` of 5 minutes; `prompt_cache_breakpoint` too"),
    "messages.cache_control.ttl": dropped("what is written is kept for 5 minutes", "5m"),
    "messages.extra_content": dropped("Google's signatures are Gemini's"),
    "messages.images": dropped("pictures of the assistant's go back in a user's message"),
    "messages.annotations": dropped("", []),
    "max_tokens": carried("`max_tokens`; without it the model's maximum"),
    "max_completion_tokens": carried("`max_tokens`"),
    "stream": carried("`stream`"),
    "stream_options": carried("the usage chunk comes if `include_usage` asks for it"),
    "stream_options.include_obfuscation": dropped("", False),
    "temperature": carried(
        "`temperature`, at most 1, and named as dropped above it; dropped while Claude thinks, and from Opus 4.7 on"
    ),
    "top_p": carried("`top_p`; dropped beside `temperature`, and as `temperature` is"),
    "stop": carried("`stop_sequences`; one of white space only is refused"),
    "tools": carried(
        "`tools`, functions only; `strict` too, with its schema as below; `strict` is dropped where Claude could not "
        "keep to it"
    ),
    "tools.strict": carried("`strict`, as above"),
    "tools.cache_control": carried("`cache_control` of 5 minutes"),
    "tool_choice": carried("`tool_choice`; `allowed_tools` sends only those; without tools only `none` and `auto`"),
    "parallel_tool_calls": carried("`disable_parallel_tool_use`"),
    "response_format": carried("`json_schema`: `output_config.format`; `json_object`: an instruction in `system`"),
    "response_format.json_schema": carried(
        "types, `properties`, `required`, `items`, `enum`, `const`, `anyOf`, `allOf`, `$ref`, known formats; `oneOf` "
        "is `anyOf`; bounds, patterns and other keywords go into the description and are named as dropped; objects "
        "with properties that are not named, schemas without a type and circles of `$ref` are refused"
    ),
    "response_format.description": dropped("say it in the schema's own"),
    "reasoning_effort": carried(
        "`output_config.effort` with adaptive thinking, before 4.6 a budget of thinking; dropped where a tool must be "
        "called, or there is no room to think"
    ),
    "thinking": carried("`thinking`, as Anthropic has it; goes before `reasoning_effort`, which is dropped"),
    "user": carried("`metadata.user_id`; dropped beside another `safety_identifier`"),
    "safety_identifier": carried("`metadata.user_id`, before `user`"),
    "service_tier": carried("`default` is `standard_only`; other tiers are dropped"),
    "n": refused("Claude gives one answer; send `n` requests", 1),
    "logprobs": refused("Claude tells no probabilities", False),
    "top_logprobs": refused("Claude tells no probabilities", 0),
    "audio": refused("Claude does not speak"),
    "modalities": refused("Claude answers with text only", ["text"]),
    "web_search_options": refused("it searches the web only through Anthropic's own API, as a tool"),
    "moderation": refused("only OpenAI moderates its completions"),
    "functions": refused("it was replaced by `tools`", []),
    "function_call": refused("it was replaced by `tool_choice`", "none", "auto"),
    "frequency_penalty": dropped("", 0),
    "presence_penalty": dropped("", 0),
    "logit_bias": dropped("", {}),
    "seed": dropped(),
    "prediction": dropped(),
    "verbosity": dropped("", "medium"),
    "store": dropped("", False),
    "metadata": dropped("", {}),
    "prompt_cache_key": dropped(),
    "prompt_cache_options": dropped(),
    "prompt_cache_retention": dropped(),
    "extra_body": dropped(),
}  # fmt: skip
