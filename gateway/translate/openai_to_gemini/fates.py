"""What becomes of each field of OpenAI's chat completions when Gemini is asked."""

from gateway.translate.fates import Fates, carried, dropped, refused

FATES: Fates = {
    "model": carried("the path, behind an alias its real name"),
    "messages": carried("`contents`; neighbours of one role become one, the first is always a user's"),
    "messages.system": carried("system and developer messages, wherever they stand, become `systemInstruction`"),
    "messages.name": dropped(),
    "messages.tool_calls": carried(
        "`functionCall` and `functionResponse`, each needs its call; with `extra_content.google.thought_signature`"
    ),
    "messages.image_url": carried(
        "data URLs as `inlineData`, https URLs as `fileData`; http URLs and files in Google's store are refused"
    ),
    "messages.image_url.detail": dropped("", "auto"),
    "messages.file": carried("`file_data` as `inlineData`; `file_id` is refused"),
    "messages.file.filename": dropped(),
    "messages.input_audio": carried("`inlineData`"),
    "messages.reasoning_content": dropped("Gemini takes back its signatures, not its thoughts"),
    "messages.thinking_blocks": dropped("they are Claude's"),
    "messages.cache_control": dropped("Gemini caches by itself"),
    "messages.cache_control.ttl": dropped("", "5m"),
    "messages.extra_content": carried("`thoughtSignature`, on the last text or on calls; dropped where there is none"),
    "messages.images": dropped("pictures of the assistant's go back in a user's message"),
    "messages.annotations": dropped("", []),
    "max_tokens": carried("`maxOutputTokens`"),
    "max_completion_tokens": carried("`maxOutputTokens`"),
    "stream": carried("`streamGenerateContent`"),
    "stream_options": carried("the usage chunk comes if `include_usage` asks for it"),
    "stream_options.include_obfuscation": dropped("", False),
    "temperature": carried("`temperature`"),
    "top_p": carried("`topP`"),
    "stop": carried("`stopSequences`"),
    "tools": carried("`functionDeclarations`, functions only"),
    "tools.strict": dropped("", False),
    "tools.cache_control": dropped("Gemini caches by itself"),
    "tool_choice": carried(
        "`functionCallingConfig`; `allowed_tools` sends only those; without tools only `none` and `auto`"
    ),
    "parallel_tool_calls": dropped("", True),
    "response_format": carried("`json_schema`: `responseJsonSchema`; `json_object`: JSON as `responseMimeType`"),
    "response_format.json_schema": carried("as it is"),
    "response_format.description": dropped("say it in the schema's own"),
    "reasoning_effort": carried(
        "`thinkingConfig`: a level, for 2.5 a budget, and thoughts are shown; dropped where a model has none"
    ),
    "extra_body": carried(
        "`google.thinking_config` as `thinkingConfig`; goes before `reasoning_effort`, which is dropped"
    ),
    "n": carried("`candidateCount`"),
    "logprobs": carried("`responseLogprobs`"),
    "top_logprobs": carried("`logprobs`"),
    "seed": carried("`seed`, if it has no more than 32 bits"),
    "frequency_penalty": carried("`frequencyPenalty`"),
    "presence_penalty": carried("`presencePenalty`"),
    "audio": refused("this translation carries no speech"),
    "modalities": refused("this translation carries no speech", ["text"]),
    "web_search_options": refused("it searches the web only through Google's own API, as a tool"),
    "moderation": refused("only OpenAI moderates its completions"),
    "functions": refused("it was replaced by `tools`", []),
    "function_call": refused("it was replaced by `tool_choice`", "none", "auto"),
    "logit_bias": dropped("", {}),
    "prediction": dropped(),
    "verbosity": dropped("", "medium"),
    "store": dropped("", False),
    "metadata": dropped("", {}),
    "service_tier": dropped("", "auto", "default"),
    "user": dropped(),
    "safety_identifier": dropped(),
    "thinking": dropped("it is Claude's"),
    "prompt_cache_key": dropped(),
    "prompt_cache_options": dropped(),
    "prompt_cache_retention": dropped(),
}  # fmt: skip
