"""The demo upstream in Anthropic's and Google's own dialects, as far as plain text goes."""

import msgspec
from aiohttp import web

from gateway.upstream.demo_speech import MODELS, Saying, Speaker, event, event_stream, json_answer, text_of


class _Turn(msgspec.Struct):
    content: str | list[object] = ""


class _Messages(msgspec.Struct):
    model: str
    messages: list[_Turn]
    max_tokens: int | None = None  # count_tokens has none
    system: str | list[object] = ""
    stream: bool = False


class _Generation(msgspec.Struct, rename="camel"):
    max_output_tokens: int | None = None


class _Generate(msgspec.Struct, rename="camel"):
    contents: list[object]
    system_instruction: object = None
    generation_config: _Generation | None = None


def routes(speaker: Speaker) -> list[web.RouteDef]:
    anthropic, gemini = _Anthropic(speaker), _Gemini(speaker)
    return [
        # With the version twice too: it stands in the demo's own base URL, and in the paths of these two.
        *[web.post(f"{base}/v1/messages", anthropic.messages) for base in ("", "/v1")],
        *[web.post(f"{base}/v1/messages/count_tokens", anthropic.count_tokens) for base in ("", "/v1")],
        web.get("/v1beta/models", gemini.models),
        *[
            web.post(f"{base}/{version}/models/{{model}}:{{verb}}", gemini.call)
            for base in ("", "/v1")
            for version in ("v1", "v1beta")
        ],
    ]


class _Anthropic:
    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker

    async def messages(self, request: web.Request) -> web.StreamResponse:
        asked = msgspec.json.decode(await request.read(), type=_Messages)
        saying = self._say(asked)
        head: dict[str, object] = {
            "id": f"msg_demo{self._speaker.next_number()}",
            "type": "message",
            "role": "assistant",
            "model": asked.model,
        }
        if asked.stream:
            return await event_stream(request, _anthropic_events(head, saying))
        content = [{"type": "text", "text": saying.text}]
        return json_answer({**head, "content": content, **_stop(saying), "usage": _anthropic_usage(saying)})

    async def count_tokens(self, request: web.Request) -> web.StreamResponse:
        asked = msgspec.json.decode(await request.read(), type=_Messages)
        return json_answer({"input_tokens": self._say(asked).input_tokens})

    def _say(self, asked: _Messages) -> Saying:
        system = [text_of(asked.system)] if asked.system else []
        prompts = system + [text_of(turn.content) for turn in asked.messages]
        return self._speaker.say(asked.model, prompts, asked.max_tokens)


class _Gemini:
    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker

    async def models(self, request: web.Request) -> web.StreamResponse:
        methods = ["generateContent", "countTokens"]
        listed = [{"name": f"models/{name}", "supportedGenerationMethods": methods} for name in MODELS]
        return json_answer({"models": listed})

    async def call(self, request: web.Request) -> web.StreamResponse:
        model, verb = request.match_info["model"], request.match_info["verb"]
        asked = msgspec.json.decode(await request.read(), type=_Generate)
        system = [text_of(asked.system_instruction)] if asked.system_instruction else []
        cap = asked.generation_config.max_output_tokens if asked.generation_config else None
        saying = self._speaker.say(model, system + [text_of(content) for content in asked.contents], cap)
        match verb:
            case "generateContent":
                return json_answer(_candidate(model, saying.text, saying, last=True))
            case "streamGenerateContent" if request.query.get("alt") == "sse":
                return await event_stream(request, _gemini_events(model, saying))
            case "streamGenerateContent":
                return json_answer(_gemini_pieces(model, saying))
            case "countTokens":
                return json_answer({"totalTokens": saying.input_tokens})
            case _:
                refusal = {"code": 404, "message": f"The demo upstream does not {verb}.", "status": "NOT_FOUND"}
                return json_answer({"error": refusal}, 404)


def _stop(saying: Saying) -> dict[str, object]:
    return {"stop_reason": "max_tokens" if saying.cut else "end_turn", "stop_sequence": None}


def _anthropic_usage(saying: Saying, output_tokens: int | None = None) -> dict[str, object]:
    return {
        "input_tokens": saying.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": saying.output_tokens if output_tokens is None else output_tokens,
    }


def _anthropic_events(head: dict[str, object], saying: Saying) -> list[bytes]:
    message = {**head, "content": [], "stop_reason": None, "stop_sequence": None}
    text = {"type": "text", "text": ""}
    sequence: list[dict[str, object]] = [
        {"type": "message_start", "message": {**message, "usage": _anthropic_usage(saying, 1)}},
        {"type": "content_block_start", "index": 0, "content_block": text},
        *[
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
            for word in saying.words
        ],
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": _stop(saying), "usage": {"output_tokens": saying.output_tokens}},
        {"type": "message_stop"},
    ]
    return [event(data, str(data["type"])) for data in sequence]


def _candidate(model: str, text: str, saying: Saying, *, last: bool) -> dict[str, object]:
    """One whole answer or one piece of a stream; the counts stand on every piece, the output's on the last."""
    candidate: dict[str, object] = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    usage = {"promptTokenCount": saying.input_tokens, "totalTokenCount": saying.input_tokens}
    if last:
        candidate["finishReason"] = "MAX_TOKENS" if saying.cut else "STOP"
        usage["candidatesTokenCount"] = saying.output_tokens
        usage["totalTokenCount"] += saying.output_tokens
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model}


def _gemini_pieces(model: str, saying: Saying) -> list[dict[str, object]]:
    final = len(saying.words) - 1
    return [_candidate(model, word, saying, last=index == final) for index, word in enumerate(saying.words)]


def _gemini_events(model: str, saying: Saying) -> list[bytes]:
    """Server-sent events with CRLF line ends, as Google writes them."""
    return [event(piece).replace(b"\n\n", b"\r\n\r\n") for piece in _gemini_pieces(model, saying)]
