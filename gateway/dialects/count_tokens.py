"""`POST /v1/messages/count_tokens`: what a prompt would be. It costs nothing and has no output."""

import msgspec

from gateway.core.call import Call, Head
from gateway.dialects.aliased import Unused
from gateway.dialects.anthropic import ANTHROPIC
from gateway.dialects.json_body import check_model
from gateway.dialects.messages_request import decode_request, passed_query, references_of


class CountTokens(Unused):
    """The token count of Anthropic's dialect. It never streams."""

    operation = "messages.count_tokens"
    dialect = ANTHROPIC
    method = "POST"
    signs = ()

    def path(self, call: Call) -> str:
        """Return the path below the upstream's base URL."""
        return f"/v1/messages/count_tokens{call.query}"

    def parse(self, body: bytes, head: Head, /) -> Call:
        """Read a request. Raises InvalidRequest."""
        asked = decode_request(body)
        return Call(
            operation=self.operation,
            model=check_model(asked.model),
            body=body,
            output_cap=0,
            references=references_of(asked, body),
            is_free=True,
            query=passed_query(head),
        )


def input_tokens(tokens: int) -> bytes:
    """Return the answer that says so many."""
    return msgspec.json.encode({"input_tokens": tokens})
