"""`POST /v1/embeddings`."""

import msgspec
from msgspec.structs import replace

from gateway.core.call import NOTHING, Call, Head, Reading
from gateway.dialects.aliased import Aliased
from gateway.dialects.json_body import check_model, decode
from gateway.dialects.lenient import read_lenient
from gateway.dialects.openai import OPENAI, UsageBlock, usage_from


class Request(msgspec.Struct, gc=False):
    """The fields of a request that the gateway acts on."""

    model: str
    input: str | list[str | int | list[int]]


class Answer(msgspec.Struct, gc=False):
    """What is read of the answer; the vectors are not."""

    usage: UsageBlock | None = None


DECISIVE = (b'"model"', b'"input"')
_requests = msgspec.json.Decoder(Request)
_answers = msgspec.json.Decoder(Answer)


class Embeddings(Aliased):
    """The embeddings operation of OpenAI's dialect. It never streams and has no output tokens."""

    operation = "embeddings"
    dialect = OPENAI
    method = "POST"
    signs = ()

    def path(self, call: Call) -> str:
        """Return the path below the upstream's base URL."""
        del call
        return "/embeddings"

    def parse(self, body: bytes, _head: Head, /) -> Call:
        """Read a request. Raises InvalidRequest."""
        asked = decode(body, _requests, DECISIVE)
        return Call(operation=self.operation, model=check_model(asked.model), body=body, output_cap=0)

    def read_answer(self, body: bytes) -> Reading:
        """Read the usage; servers of one's own may report completion tokens, which are 0."""
        answer, _ = read_lenient(body, _answers)
        usage = usage_from(answer.usage, None) if answer is not None else None
        return NOTHING if usage is None else Reading(usage=replace(usage, lacks_output=False))

    def read_event(self, data: bytes) -> Reading:
        """Embeddings have no events."""
        del data
        return NOTHING
