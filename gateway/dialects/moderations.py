"""`POST /v1/moderations`: free at the provider, so nothing is charged; it is recorded and counts as a request."""

import msgspec

from gateway.core.call import NOTHING, Call, Head, Reading
from gateway.dialects.json_body import change, check_model, decode
from gateway.dialects.openai import OPENAI

DEFAULT_MODEL = "omni-moderation-latest"
"""What the API itself takes where a request names no model."""


class Request(msgspec.Struct, gc=False):
    """The fields of a request that the gateway acts on."""

    input: str | list[msgspec.Raw]
    model: str | None = None


DECISIVE = (b'"model"', b'"input"')
_requests = msgspec.json.Decoder(Request)


class Moderations:
    """The moderating operation of OpenAI's dialect."""

    operation = "moderations"
    dialect = OPENAI
    method = "POST"
    signs = ()

    def path(self, call: Call) -> str:
        """Return the path below the upstream's base URL."""
        del call
        return "/moderations"

    def parse(self, body: bytes, _head: Head, /) -> Call:
        """Read a request. Raises InvalidRequest."""
        asked = decode(body, _requests, DECISIVE)
        model = DEFAULT_MODEL if asked.model is None else check_model(asked.model)
        return Call(operation=self.operation, model=model, body=body, output_cap=0, is_free=True)

    def rewrite(self, call: Call, *, model: str, output_cap: int | None, cap_field: str, ask_usage: bool) -> bytes:
        """Return the client's own bytes unless the model is an alias."""
        del output_cap, cap_field, ask_usage
        return change(call.body, {"model": model}) if model != call.model else call.body

    def read_answer(self, body: bytes) -> Reading:
        """Read nothing: there is nothing to charge."""
        del body
        return NOTHING

    def read_event(self, data: bytes) -> Reading:
        """Read nothing: moderations do not stream."""
        del data
        return NOTHING
