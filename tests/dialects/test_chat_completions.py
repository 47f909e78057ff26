"""What is read of chat completions, where the field is one that few requests and answers have."""

import json

from gateway.core.call import Head
from gateway.dialects.chat_completions import ChatCompletions
from tests.events import usage

FORMAT = ChatCompletions()


def test_request_with_a_web_search_is_read_as_one_whose_tokens_its_bytes_do_not_bound() -> None:
    asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "web_search_options": {}}
    assert FORMAT.parse(json.dumps(asked).encode(), Head()).text_only is False


def test_figures_beside_an_error_in_a_stream_are_read() -> None:
    failed = {"error": {"code": 502, "message": "Failed"}, "choices": [], "usage": usage(9, 4)}
    reading = FORMAT.read_event(json.dumps(failed).encode())
    assert reading.error
    assert reading.usage is not None and reading.usage.output_tokens == 4


def test_error_that_is_null_or_empty_is_none() -> None:
    assert not any(FORMAT.read_event(b'{"error":%b}' % nothing).error for nothing in (b"null", b"{}", b'""'))
