"""`/v1/responses/{id}` and below: looks at, and ends of, responses that live at the provider. None is charged."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.core.call import NOTHING, Call, Dialect, Reading
from gateway.dialects.openai import OPENAI


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """One operation on a stored response; the call's one reference is its id."""

    operation: str
    method: str
    suffix: str = ""
    dialect: Dialect = OPENAI
    signs: Sequence[bytes] = ()

    def path(self, call: Call) -> str:
        """Return the path below the upstream's base URL, with the client's query."""
        query = f"?{call.query}" if call.query else ""
        return f"/responses/{call.references[0]}{self.suffix}{query}"

    def parse(self, body: bytes) -> Call:
        """Read a request: there is nothing in its body."""
        del body
        return Call(operation=self.operation, model="", body=b"", output_cap=0, is_free=True)

    def rewrite(self, call: Call, *, model: str, output_cap: int | None, cap_field: str, ask_usage: bool) -> bytes:
        """Send no body."""
        del call, model, output_cap, cap_field, ask_usage
        return b""

    def read_answer(self, body: bytes) -> Reading:
        """Read nothing: what was used was charged when it was made."""
        del body
        return NOTHING

    def read_event(self, data: bytes) -> Reading:
        """Read nothing, as above."""
        del data
        return NOTHING


RETRIEVE = StoredResponse("responses.retrieve", "GET")
INPUT_ITEMS = StoredResponse("responses.input_items", "GET", "/input_items")
DELETE = StoredResponse("responses.delete", "DELETE")
CANCEL = StoredResponse("responses.cancel", "POST", "/cancel")
