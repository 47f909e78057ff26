"""`POST /v1/moderations`: free at the provider, so nothing is charged; it is recorded and counts as a request."""

import msgspec

from gateway.core.call import Call, Head
from gateway.dialects.aliased import Unused
from gateway.dialects.json_body import check_model, decode
from gateway.dialects.openai import OPENAI

DEFAULT_MODEL = "omni-moderation-latest"
"""What the API itself takes where a request names no model."""


class Request(msgspec.Struct, gc=False):
    """The fields of a request that the gateway acts on."""

    input: str | list[msgspec.Raw]
    model: str | None = None


DECISIVE = (b'"model"', b'"input"')
_requests = msgspec.json.Decoder(Request)


class Moderations(Unused):
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
