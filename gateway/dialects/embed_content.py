"""`POST /{version}/models/{model}:embedContent` and `:batchEmbedContents`."""

import msgspec
from msgspec.structs import replace

from gateway.core.call import NOTHING, Call, Head, Reading
from gateway.dialects.gemini import (
    GEMINI,
    asks_events,
    check_same_model,
    decisive,
    is_text_only,
    may_sound,
    place,
    read_model,
)
from gateway.dialects.gemini_references import references_in
from gateway.dialects.gemini_usage import UsageMetadata
from gateway.dialects.json_body import decode
from gateway.dialects.lenient import read_lenient

EMBEDDING_VERBS = ("embedContent", "batchEmbedContents")


class One(msgspec.Struct, gc=False):
    """A request to embed one content. The model is in the path already; here Google wants it again."""

    content: dict[str, msgspec.Raw]
    model: str | None = None


class Many(msgspec.Struct, gc=False):
    """A batch of them."""

    requests: list[One]


class Answer(msgspec.Struct, gc=False):
    """What is read of the answer; the vectors are not."""

    usage: UsageMetadata | None = msgspec.field(default=None, name="usageMetadata")


DECISIVE = decisive("content", "model", "requests")
_one = msgspec.json.Decoder(One)
_many = msgspec.json.Decoder(Many)
_answers = msgspec.json.Decoder(Answer)


class EmbedContent:
    """The embedding operation of Gemini's dialect, of one content or of many. It has no output tokens."""

    operation = "embed_content"
    dialect = GEMINI
    method = "POST"
    signs = ()

    def __init__(self, version: str, verb: str) -> None:
        self._version = version
        self._verb = verb

    def path(self, call: Call) -> str:
        """Return the path below the upstream's base URL."""
        return place(self._version, call, self._verb)

    def parse(self, body: bytes, head: Head, /) -> Call:
        """Read a request. Raises InvalidRequest, NotFound."""
        model = read_model(head)
        asks_events(head, streams=False)
        asked = (
            [decode(body, _one, DECISIVE)] if self._verb == "embedContent" else decode(body, _many, DECISIVE).requests
        )
        for one in asked:
            check_same_model(one.model, model)
        return Call(
            operation=self.operation,
            model=model,
            body=body,
            output_cap=0,
            text_only=is_text_only(body),
            has_audio=may_sound(body),
            references=references_in(body),
        )

    def rewrite(self, call: Call, *, model: str, output_cap: int | None, cap_field: str, ask_usage: bool) -> bytes:
        """Return the client's own bytes unless an alias stands in the body too."""
        del output_cap, cap_field, ask_usage
        if model == call.model or b'"model"' not in call.body:
            return call.body
        fields = msgspec.json.decode(call.body, type=dict[str, object])
        requests = fields.get("requests") if self._verb == "batchEmbedContents" else [fields]
        for one in requests if isinstance(requests, list) else ():
            if "model" in one:
                one["model"] = f"models/{model}"
        return msgspec.json.encode(fields)

    def read_answer(self, body: bytes) -> Reading:
        """Read the usage; older models report none, and then our count of the input stands."""
        answer, unread = read_lenient(body, _answers)
        usage = answer.usage.usage(unread=unread) if answer is not None and answer.usage is not None else None
        return NOTHING if usage is None else Reading(usage=replace(usage, lacks_output=False))

    def read_event(self, data: bytes) -> Reading:
        """Embeddings have no events."""
        del data
        return NOTHING
