"""OpenAI's embeddings as Gemini is asked for them, and the vectors as they come back."""

import base64
import json
import struct
from typing import Any

import pytest

from gateway.core.call import Head
from gateway.core.errors import InvalidRequest, UpstreamFailed
from gateway.core.usage import Usage
from gateway.dialects.embeddings import Embeddings
from gateway.translate.openai_to_gemini.embeddings import OpenAIEmbeddingsToGemini
from tests.translate.asking import PLAIN, STAMP

VECTORS = json.dumps({"embeddings": [{"values": [0.5, -1]}, {"values": [0.25, 2]}]}).encode()


def spoken(**fields: Any) -> OpenAIEmbeddingsToGemini:
    body = json.dumps({"model": "embed", "input": "Hello", **fields}).encode()
    return OpenAIEmbeddingsToGemini(Embeddings().parse(body, Head()), "gemini-embedding-001", PLAIN, STAMP)


def test_each_text_is_a_request_of_a_batch() -> None:
    asked = json.loads(spoken(input=["One", "Two"], dimensions=256).call.body)
    assert asked == {
        "requests": [
            {
                "model": "models/gemini-embedding-001",
                "content": {"parts": [{"text": text}]},
                "outputDimensionality": 256,
            }
            for text in ("One", "Two")
        ]
    }
    assert spoken().wire_format.path(spoken().call) == "/v1beta/models/gemini-embedding-001:batchEmbedContents"


def test_vectors_come_in_their_places_with_the_ledgers_figures() -> None:
    assert json.loads(spoken().answer(VECTORS, Usage(input_tokens=9))) == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.5, -1.0]},
            {"object": "embedding", "index": 1, "embedding": [0.25, 2.0]},
        ],
        "model": "embed",
        "usage": {"prompt_tokens": 9, "total_tokens": 9},
    }


def test_vectors_are_packed_if_asked_for() -> None:
    told = json.loads(spoken(encoding_format="base64").answer(VECTORS, None))
    assert [struct.unpack("<2f", base64.b64decode(one["embedding"])) for one in told["data"]] == [(0.5, -1), (0.25, 2)]


def test_field_that_google_has_no_word_for_is_dropped_and_told() -> None:
    assert spoken(user="ann", odd=1).dropped == ("user", "odd")


@pytest.mark.parametrize("given", [[], [1, 2], [[1, 2]], ["One", [1]]])
def test_input_that_is_no_text_is_refused_by_name(given: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        spoken(input=given)
    assert caught.value.param == "input"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"embeddings":[{}]}', b'{"embedding":{"values":[1]}}'])
def test_answer_that_is_none_is_the_providers_fault(body: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        spoken().answer(body, None)


def test_error_is_told_in_openais_shape() -> None:
    body = b'{"error":{"code":400,"message":"Too long","status":"INVALID_ARGUMENT"}}'
    assert json.loads(spoken().error(400, body).body)["error"]["message"] == "Too long"
