"""`POST /v1/messages/count_tokens`: what a prompt would be. It costs nothing and has no output."""

import msgspec

from gateway.core.call import NOTHING, Call, Head, Reading
from gateway.dialects.anthropic import ANTHROPIC
from gateway.dialects.json_body import change, check_model
from gateway.dialects.messages_request import decode_request, passed_query, references_of


class CountTokens:
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

    def rewrite(self, call: Call, *, model: str, output_cap: int | None, cap_field: str, ask_usage: bool) -> bytes:
        """Return the client's own bytes unless the model is an alias."""
        del output_cap, cap_field, ask_usage
        return change(call.body, {"model": model}) if model != call.model else call.body

    def read_answer(self, body: bytes) -> Reading:
        """Read nothing: a count is not usage."""
        del body
        return NOTHING

    def read_event(self, data: bytes) -> Reading:
        """Counts have no events."""
        del data
        return NOTHING


def input_tokens(tokens: int) -> bytes:
    """Return the answer that says so many."""
    return msgspec.json.encode({"input_tokens": tokens})
