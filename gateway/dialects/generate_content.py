"""`POST /{version}/models/{model}:generateContent` and `:streamGenerateContent`."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated

import msgspec

from gateway.core.call import NOTHING, Call, Head, Reading
from gateway.core.usage import Usage
from gateway.dialects.gemini import (
    GEMINI,
    asks_events,
    check_same_model,
    decisive,
    is_text_only,
    may_sound,
    one_spelling,
    place,
    read_model,
)
from gateway.dialects.gemini_references import references_in
from gateway.dialects.gemini_usage import UsageMetadata, paid_searches
from gateway.dialects.json_body import decode
from gateway.dialects.lenient import Unread, names_in, read_lenient, text_of_answer

OutputCap = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Candidates = Annotated[int, msgspec.Meta(ge=1, le=128)]


class GenerationConfig(msgspec.Struct, gc=False):
    """`generationConfig`; Google reads each field in two spellings."""

    camel_cap: OutputCap | None = msgspec.field(default=None, name="maxOutputTokens")
    snake_cap: OutputCap | None = msgspec.field(default=None, name="max_output_tokens")
    camel_count: Candidates | None = msgspec.field(default=None, name="candidateCount")
    snake_count: Candidates | None = msgspec.field(default=None, name="candidate_count")
    camel_modalities: list[str] | None = msgspec.field(default=None, name="responseModalities")
    snake_modalities: list[str] | None = msgspec.field(default=None, name="response_modalities")

    @property
    def cap(self) -> int | None:
        """The cap of one candidate, its thoughts included."""
        return one_spelling(self.camel_cap, self.snake_cap, "generationConfig.maxOutputTokens")

    @property
    def count(self) -> int:
        """How many candidates."""
        return one_spelling(self.camel_count, self.snake_count, "generationConfig.candidateCount") or 1

    @property
    def modalities(self) -> list[str] | None:
        """What the answer may be made of, None for what the model makes by itself."""
        return one_spelling(self.camel_modalities, self.snake_modalities, "generationConfig.responseModalities")


class Request(msgspec.Struct, gc=False):
    """The fields of a request that the gateway acts on."""

    contents: list[msgspec.Raw]
    model: str | None = None
    camel_config: GenerationConfig | None = msgspec.field(default=None, name="generationConfig")
    snake_config: GenerationConfig | None = msgspec.field(default=None, name="generation_config")
    camel_tier: str | None = msgspec.field(default=None, name="serviceTier")
    snake_tier: str | None = msgspec.field(default=None, name="service_tier")
    tools: list[dict[str, msgspec.Raw]] | None = None

    @property
    def config(self) -> GenerationConfig:
        """The configuration, an empty one where there is none."""
        return one_spelling(self.camel_config, self.snake_config, "generationConfig") or GenerationConfig()

    @property
    def tier(self) -> str | None:
        """The service tier that is asked for, None for the standard one."""
        tier = (one_spelling(self.camel_tier, self.snake_tier, "serviceTier") or "").lower()
        tier = tier.removeprefix("service_tier_")
        return None if tier in ("", "standard", "unspecified") else tier


class FunctionCall(msgspec.Struct, gc=False):
    """A function call; it comes whole."""

    name: str | None = None
    args: msgspec.Raw = msgspec.Raw()


class Code(msgspec.Struct, gc=False):
    """Code that the model wrote, or what it printed."""

    code: str | None = None
    output: str | None = None


class Part(msgspec.Struct, gc=False):
    """A part of a candidate: everything in it that the model wrote."""

    text: str | None = None
    function_call: FunctionCall | None = msgspec.field(default=None, name="functionCall")
    executable_code: Code | None = msgspec.field(default=None, name="executableCode")
    code_execution_result: Code | None = msgspec.field(default=None, name="codeExecutionResult")


class Content(msgspec.Struct, gc=False):
    """A candidate's content."""

    parts: list[Part] | None = None


class Grounding(msgspec.Struct, gc=False):
    """`groundingMetadata`: the searches that were made."""

    queries: list[str] | None = msgspec.field(default=None, name="webSearchQueries")


class Candidate(msgspec.Struct, gc=False):
    """One of the answers."""

    content: Content | None = None
    finish: str | None = msgspec.field(default=None, name="finishReason")
    grounding: Grounding | None = msgspec.field(default=None, name="groundingMetadata")


class Answer(msgspec.Struct, gc=False):
    """A whole answer or a piece of a stream."""

    candidates: list[Candidate] | None = None
    usage: UsageMetadata | None = msgspec.field(default=None, name="usageMetadata")
    model: str | None = msgspec.field(default=None, name="modelVersion")
    error: object = None


DECISIVE = decisive("contents", "model", "generationConfig", "serviceTier", "tools", "cachedContent")
INSIDE = decisive("maxOutputTokens", "candidateCount", "responseModalities")
HELD_SEARCHES = 5
"""How many searches a call with such a tool is held for: the model decides, and more is an overrun."""
_SEARCHING = frozenset({"googleSearch", "google_search", "googleSearchRetrieval", "google_search_retrieval"})
_DECLARED = frozenset({"functionDeclarations", "function_declarations"})
"""All that a tool has which the client runs itself."""
_TOLD = _SEARCHING | _DECLARED | {
    "codeExecution", "code_execution", "urlContext", "url_context", "computerUse", "computer_use",
}  # fmt: skip
"""Tools that cost their tokens, and searches that are told. What others cost, maps say, no answer tells."""
_FIGURES = names_in(UsageMetadata) | {"usageMetadata"}
_requests = msgspec.json.Decoder(Request)
_answers = msgspec.json.Decoder(Answer)


class GenerateContent:
    """The one operation that writes; streamed in events where `alt=sse` asks for them, else in one JSON array."""

    operation = "generate_content"
    dialect = GEMINI
    method = "POST"
    signs = (b'"usageMetadata"', b'"error"')

    def __init__(self, version: str, *, streams: bool) -> None:
        self._version = version
        self._streams = streams

    def path(self, call: Call) -> str:
        """Return the path below the upstream's base URL."""
        if not self._streams:
            return place(self._version, call, "generateContent")
        return place(self._version, call, "streamGenerateContent") + ("" if call.in_array else "?alt=sse")

    def parse(self, body: bytes, head: Head, /) -> Call:
        """Read a request. Raises InvalidRequest, NotFound."""
        model, events = read_model(head), asks_events(head, streams=self._streams)
        asked = decode(body, _requests, DECISIVE, INSIDE)
        check_same_model(asked.model, model)
        config = asked.config
        draws = config.modalities is None or any(each.upper() == "IMAGE" for each in config.modalities)
        tools = asked.tools or ()
        hosted = any(not tool.keys() <= _DECLARED for tool in tools)
        return Call(
            operation=self.operation,
            model=model,
            body=body,
            streams=self._streams,
            wants_usage=True,
            output_cap=config.cap,
            cap_field="maxOutputTokens",
            choices=config.count,
            service_tier=asked.tier,
            text_only=not hosted and is_text_only(body),
            has_audio=may_sound(body),
            draws=draws,
            references=references_in(body),
            costs=any(not tool.keys() <= _TOLD for tool in tools),
            web_searches=HELD_SEARCHES if any(tool.keys() & _SEARCHING for tool in tools) else 0,
            in_array=self._streams and not events,
        )

    def rewrite(self, call: Call, *, model: str, output_cap: int | None, cap_field: str, ask_usage: bool) -> bytes:
        """Return the client's own bytes unless a cap must be set, or an alias stands in the body too."""
        del cap_field, ask_usage
        if output_cap is None and model == call.model:
            return call.body
        fields = msgspec.json.decode(call.body, type=dict[str, msgspec.Raw])
        if "model" in fields:
            fields["model"] = msgspec.Raw(msgspec.json.encode(f"models/{model}"))
        if output_cap is not None:
            name = "generation_config" if _has(fields, "generation_config") else "generationConfig"
            fields[name] = _capped(fields.get(name), output_cap)
        return msgspec.json.encode(fields)

    def read_answer(self, body: bytes) -> Reading:
        """Read usage and text of a whole answer."""
        answer, unread = read_lenient(body, _answers)
        if answer is None:
            return NOTHING
        usage = _usage(answer, unread)
        # Nobody counts the text of an answer that says what it used.
        if usage is not None and not usage.lacks_output:
            return Reading(usage=usage)
        text = text_of_answer(body, unread, _FIGURES) or "".join(map(_text, answer.candidates or ()))
        return Reading(usage=usage, text=text)

    def read_event(self, data: bytes) -> Reading:
        """Read one piece of a stream. Its figures stand for all before it, but for the searches made until then.

        Those that tell of no output are from before the answer, unless they come with its end.
        """
        answer, unread = read_lenient(data, _answers)
        if answer is None:
            return NOTHING
        usage = _usage(answer, unread)
        covers = usage is not None and usage.output_tokens > 0 and not usage.lacks_output
        return Reading(
            corrects=partial(_after, usage) if usage is not None else None,
            early=not covers and all(candidate.finish is None for candidate in answer.candidates or ()),
            covers=covers,
            error=bool(answer.error),
            text="" if covers else "".join(map(_text, answer.candidates or ())),
        )


def _has(fields: Mapping[str, msgspec.Raw], name: str) -> bool:
    return name in fields and bytes(fields[name]) != b"null"


def _capped(config: msgspec.Raw | None, output_cap: int) -> msgspec.Raw:
    """Return the generation config with a cap, which the client has not set in it."""
    given = msgspec.json.decode(config, type=dict[str, msgspec.Raw] | None) if config is not None else None
    fields = given or {}
    fields.pop("max_output_tokens", None)  # a null
    return msgspec.Raw(msgspec.json.encode({**fields, "maxOutputTokens": output_cap}))


def _usage(answer: Answer, unread: Unread) -> Usage | None:
    return answer.usage.usage(_searches(answer), unread) if answer.usage is not None else None


def _after(usage: Usage, earlier: Usage | None) -> Usage:
    """Return figures that come behind earlier ones: only these may tell of the searches."""
    if earlier is None or earlier.web_searches <= usage.web_searches:
        return usage
    return msgspec.structs.replace(usage, web_searches=earlier.web_searches)


def _searches(answer: Answer) -> int:
    queries: list[str] = []
    for candidate in answer.candidates or ():
        if candidate.grounding is not None:
            queries += candidate.grounding.queries or ()
    return paid_searches(queries, answer.model) if queries else 0


def _text(candidate: Candidate) -> str:
    """Return all that the model wrote into a candidate: what is counted when the provider does not say."""
    words: list[str | None] = []
    for part in (candidate.content.parts if candidate.content else None) or ():
        words.append(part.text)
        if part.function_call is not None:
            words += [part.function_call.name, bytes(part.function_call.args).decode()]
        words += [code.code or code.output for code in (part.executable_code, part.code_execution_result) if code]
    return "".join(word for word in words if word)
