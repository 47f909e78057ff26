"""What the output of a response can look like, as openai-python types it: whatever the items, its figures are read."""

from typing import Any

import msgspec
import pytest

from gateway.dialects.responses import read_response, read_response_event

ITEMS: list[dict[str, Any]] = [
    {"type": "tool_search_call", "arguments": {"paths": ["crm"]}, "execution": "server"},
    {"type": "image_generation_call", "action": "generate", "result": "aGk="},
    {"type": "shell_call", "action": {"commands": ["ls"]}},
    {"type": "function_call", "name": "f", "arguments": "{}"},
]


@pytest.mark.parametrize("item", ITEMS, ids=[item["type"] for item in ITEMS])
def test_figures_and_id_of_a_response_are_read_whatever_is_in_its_output(item: dict[str, Any]) -> None:
    response = {
        "id": "resp_1", "object": "response", "status": "completed", "output": [item],
        "usage": {"input_tokens": 9, "output_tokens": 3},
    }  # fmt: skip
    whole = read_response(msgspec.json.encode(response))
    end = read_response_event(msgspec.json.encode({"type": "response.completed", "response": response}))
    for reading in (whole, end):
        assert reading.usage is not None and (reading.usage.input_tokens, reading.usage.output_tokens) == (9, 3)
        assert (reading.object_id, reading.is_over) == ("resp_1", True)
    assert end.ends


def test_arguments_that_are_an_object_are_counted_as_their_json() -> None:
    body = msgspec.json.encode({"id": "resp_1", "output": [{"type": "tool_search_call", "arguments": {"a": 1}}]})
    assert read_response(body).text == '{"a":1}'
