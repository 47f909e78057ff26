"""`/v1/responses/{id}` and below: looks at, and ends of, responses that live at the provider."""

from gateway.core.call import WireFormat
from gateway.dialects.objects import ObjectCall
from gateway.dialects.responses import SIGNS, read_response, read_response_event

_PATH = "/responses/{id}"
RETRIEVE = ObjectCall(
    "responses.retrieve", "GET", _PATH, ("id",), read=read_response, read_events=read_response_event, signs=SIGNS
)
"""A background response may be seen to its end this way, plain or streamed."""
DELETE = ObjectCall("responses.delete", "DELETE", _PATH, ("id",), forgets=True)
CANCEL = ObjectCall("responses.cancel", "POST", f"{_PATH}/cancel", ("id",), read=read_response)
INPUT_ITEMS = ObjectCall("responses.input_items", "GET", f"{_PATH}/input_items", ("id",))
ROUTES: tuple[tuple[str, WireFormat], ...] = (
    ("/v1/responses/{id}", RETRIEVE),
    ("/v1/responses/{id}", DELETE),
    ("/v1/responses/{id}/cancel", CANCEL),
    ("/v1/responses/{id}/input_items", INPUT_ITEMS),
)
