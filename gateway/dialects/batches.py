"""`/v1/batches`: many calls in a file, run within a day at half the price.

The file's lines are read before the batch is sent, as strictly as if each came alone: what they may use is held, and
what they name must be the caller's own. A batch is of one model, as at OpenAI.
"""

from collections.abc import Mapping

import msgspec

from gateway.core.call import NOTHING, Call, Head, Reading, WireFormat
from gateway.core.errors import InvalidRequest
from gateway.core.ids import is_object_id
from gateway.dialects.chat_completions import ChatCompletions
from gateway.dialects.completions import Completions
from gateway.dialects.embeddings import Embeddings
from gateway.dialects.json_body import decode
from gateway.dialects.objects import ObjectCall, ObjectList
from gateway.dialects.openai import OPENAI, UsageBlock, usage_from
from gateway.dialects.responses import Responses

LINE_FORMATS: Mapping[str, WireFormat] = {
    "/v1/chat/completions": ChatCompletions(),
    "/v1/completions": Completions(),
    "/v1/embeddings": Embeddings(),
    "/v1/responses": Responses(),
}
"""What a batch's `endpoint` may be, and what its lines are then."""
AT_WORK = frozenset({"validating", "in_progress", "finalizing", "cancelling"})


class Request(msgspec.Struct, gc=False):
    """The fields of a request that the gateway acts on."""

    input_file_id: str
    endpoint: str
    completion_window: str


class Line(msgspec.Struct, gc=False):
    """One line of an input file."""

    custom_id: str
    url: str
    body: msgspec.Raw
    method: str = "POST"


class Batch(msgspec.Struct, gc=False):
    """A batch object."""

    id: str | None = None
    status: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    usage: UsageBlock | None = None


class Answer(msgspec.Struct, gc=False):
    """What the provider answered to one line."""

    status_code: int = 0
    body: msgspec.Raw = msgspec.Raw()


class Result(msgspec.Struct, gc=False):
    """One line of an output or error file; without `response` the line was not run."""

    response: Answer | None = None


DECISIVE = (b'"input_file_id"', b'"endpoint"', b'"completion_window"')
_LINE_DECISIVE = (b'"url"', b'"body"', b'"method"')
_requests = msgspec.json.Decoder(Request)
_lines = msgspec.json.Decoder(Line)
_batches = msgspec.json.Decoder(Batch)
_results = msgspec.json.Decoder(Result)


class Batches:
    """The making of a batch. What it will use is told by its input file."""

    operation = "batches.create"
    dialect = OPENAI
    method = "POST"
    signs = ()

    def path(self, call: Call) -> str:
        """Return the path below the upstream's base URL."""
        del call
        return "/batches"

    def parse(self, body: bytes, _head: Head, /) -> Call:
        """Read a request. Raises InvalidRequest."""
        asked = decode(body, _requests, DECISIVE)
        if asked.endpoint not in LINE_FORMATS:
            raise InvalidRequest(f"`endpoint` must be one of {', '.join(LINE_FORMATS)}.", param="endpoint")
        return Call(
            operation=LINE_FORMATS[asked.endpoint].operation,
            model="",
            body=body,
            output_cap=0,
            text_only=False,
            references=(asked.input_file_id,),
            makes="batches",
            defers=True,
            batch_endpoint=asked.endpoint,
        )

    def rewrite(self, call: Call, *, model: str, output_cap: int | None, cap_field: str, ask_usage: bool) -> bytes:
        """Send the client's own bytes."""
        del model, output_cap, cap_field, ask_usage
        return call.body

    def read_answer(self, body: bytes) -> Reading:
        """Read which batch was made. Its end, even if it came at once, is read when it is looked at."""
        made = _batch(body)
        return NOTHING if made.id is None else Reading(object_id=made.id, is_over=False)

    def read_event(self, data: bytes) -> Reading:
        """Batches have no events."""
        del data
        return NOTHING


def read_line(data: bytes, endpoint: str) -> Call:
    """Read one line of an input file as the call that it is. Raises InvalidRequest."""
    line = decode(data, _lines, _LINE_DECISIVE)
    if line.url != endpoint:
        raise InvalidRequest(f"`url` must be the batch's endpoint, `{endpoint}`.", param="url")
    if line.method != "POST":
        raise InvalidRequest("`method` must be POST.", param="method")
    call = LINE_FORMATS[endpoint].parse(bytes(line.body), Head())
    if call.defers or call.streams:
        raise InvalidRequest("A line of a batch is neither streamed nor in the background.")
    return call


def read_result(data: bytes, wire_format: WireFormat) -> tuple[int, Reading] | None:
    """Return the status and what is to be read of one line's answer; None for a line that was not run.

    Raises ValueError for what is no result.
    """
    try:
        answer = _results.decode(data).response
    except (msgspec.MsgspecError, RecursionError):
        raise ValueError("this is not the result of a line") from None
    return None if answer is None else (answer.status_code, wire_format.read_answer(bytes(answer.body)))


def read_batch(body: bytes) -> Reading:
    """Read how far a batch is, and where its results are."""
    batch = _batch(body)
    if batch.id is None or batch.status is None:
        return NOTHING
    return Reading(
        object_id=batch.id,
        is_over=batch.status not in AT_WORK,
        usage=usage_from(batch.usage, None),
        files=tuple(name for name in (batch.output_file_id, batch.error_file_id) if name and is_object_id(name)),
    )


def _batch(body: bytes) -> Batch:
    try:
        return _batches.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return Batch()


_ONE = "/batches/{batch_id}"
RETRIEVE = ObjectCall("batches.retrieve", "GET", _ONE, ("batch_id",), read=read_batch)
CANCEL = ObjectCall("batches.cancel", "POST", f"{_ONE}/cancel", ("batch_id",), read=read_batch)
ROUTES: tuple[tuple[str, WireFormat], ...] = (
    ("/v1/batches", Batches()),
    ("/v1/batches", ObjectList("batches.list", "batches")),
    ("/v1/batches/{batch_id}", RETRIEVE),
    ("/v1/batches/{batch_id}/cancel", CANCEL),
)
