"""The time to wait that our refusals tell: never a moment too short, in headers and in Google's details."""

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import TooManyRequests
from gateway.dialects.error_headers import error_headers
from gateway.dialects.gemini import Gemini


@given(seconds=st.floats(min_value=0, max_value=40_000_000))
def test_who_waits_as_told_has_waited_long_enough(seconds: float) -> None:
    error = TooManyRequests("Too many.", retry_after_seconds=seconds)
    headers = dict(error_headers(error))
    milliseconds = int(headers[b"retry-after-ms"])
    assert seconds * 1000 <= milliseconds <= seconds * 1000 + 1 or milliseconds == 1
    assert milliseconds / 1000 <= int(headers[b"retry-after"]) < milliseconds / 1000 + 1
    details = json.loads(Gemini().error_body(error, "req-1"))["error"]["details"]
    assert float(details[-1]["retryDelay"].removesuffix("s")) == milliseconds / 1000
