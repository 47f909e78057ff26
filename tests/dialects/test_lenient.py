"""One figure of an odd type costs no other: every dialect reads the rest, and our count stands for what is missing."""

from typing import Any

import msgspec
import pytest

from gateway.core.call import WireFormat
from gateway.core.usage import Usage
from gateway.dialects.chat_completions import ChatCompletions
from gateway.dialects.embed_content import EmbedContent
from gateway.dialects.embeddings import Embeddings
from gateway.dialects.generate_content import GenerateContent
from gateway.dialects.lenient import read_lenient
from gateway.dialects.messages import Messages
from gateway.dialects.responses import Responses
from tests.anthropic_events import message, message_delta, usage

GEMINI = GenerateContent("v1beta", streams=False)
ODD: list[Any] = ["many", "", 12.5, True, {}, {"n": 1}, [], [1], "9" * 40]
"""What is no count."""


class Inner(msgspec.Struct):
    """Something inside."""

    count: int | None = None
    name: str | None = None


class Outer(msgspec.Struct):
    """An answer."""

    inner: Inner | None = None
    many: list[Inner] | None = None
    score: float | None = None
    sure: bool | None = None
    raw: msgspec.Raw = msgspec.Raw()
    must: int = 0


_outer = msgspec.json.Decoder(Outer)


@pytest.mark.parametrize(
    ("given", "read", "unread"),
    [
        ({"inner": {"count": "7", "name": "x"}}, Outer(inner=Inner(7, "x")), set()),
        ({"inner": {"count": 7.0}}, Outer(inner=Inner(7)), set()),
        ({"inner": {"count": 6.2}}, Outer(inner=Inner(7)), set()),
        ({"inner": {"count": 7, "name": 5}}, Outer(inner=Inner(7)), {"name"}),
        ({"inner": {"count": True, "name": "x"}}, Outer(inner=Inner(None, "x")), {"count"}),
        ({"inner": 7, "score": 1, "sure": True}, Outer(score=1.0, sure=True), {"inner"}),
        ({"inner": {"count": 1, "new": [{}]}, "sure": 1}, Outer(inner=Inner(1)), {"sure"}),
        ({"many": [{"count": 1}, "x"]}, Outer(many=[Inner(1)]), {"many"}),
        ({"many": ["x"]}, Outer(), {"many"}),
        ({"many": [], "must": None}, Outer(many=[]), {"must"}),
        ({"many": {"count": 1}, "must": "3"}, Outer(must=3), {"many"}),
    ],
)
def test_value_of_another_shape_is_left_out_and_named(given: Any, read: Outer, unread: set[str]) -> None:
    assert read_lenient(msgspec.json.encode(given), _outer) == (read, frozenset(unread))


def test_what_is_no_object_is_nothing() -> None:
    for data in (b"", b"[]", b"7", b'{"inner": 7', b"nonsense", b'{"inner":' * 5_000, b'{"must": 1e999}'):
        assert read_lenient(data, _outer)[0] is None


def openai(**figures: Any) -> bytes:
    body = {"choices": [{"message": {"content": "Hello"}}], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}
    body["usage"] |= figures  # type: ignore[operator]
    return msgspec.json.encode(body)


def response(**figures: Any) -> bytes:
    block = {"input_tokens": 9, "output_tokens": 3, **figures}
    item = {"type": "message", "content": [{"type": "output_text", "text": "Hello"}]}
    return msgspec.json.encode({"id": "resp_1", "status": "completed", "output": [item], "usage": block})


def gemini(**figures: Any) -> bytes:
    block = {"promptTokenCount": 9, "candidatesTokenCount": 3, **figures}
    return msgspec.json.encode({"candidates": [{"content": {"parts": [{"text": "Hello"}]}}], "usageMetadata": block})


def claude(**figures: Any) -> bytes:
    return message(usage=usage(9, 3, **figures))


DETAILS: list[tuple[WireFormat, Any, str]] = [
    (ChatCompletions(), openai, "prompt_tokens_details"),
    (ChatCompletions(), openai, "num_cached_tokens"),
    (Responses(), response, "output_tokens_details"),
    (GEMINI, gemini, "promptTokensDetails"),
    (GEMINI, gemini, "cachedContentTokenCount"),
    (Messages(), claude, "cache_creation"),
    (Messages(), claude, "output_tokens_details"),
    (Messages(), claude, "server_tool_use"),
    (Messages(), claude, "service_tier"),
]


@pytest.mark.parametrize("odd", [5, "x", 1.5, [1], {"cached_tokens": "x"}, {"tokenCount": [], "new": 1}])
@pytest.mark.parametrize(("wire_format", "answer", "field"), DETAILS)
def test_detail_of_an_odd_type_costs_no_other_figure(
    wire_format: WireFormat, answer: Any, field: str, odd: Any
) -> None:
    reading = wire_format.read_answer(answer(**{field: odd}))
    assert reading.usage is not None and not reading.usage.lacks_some
    assert (reading.usage.input_tokens, reading.usage.output_tokens) == (9, 3)


TOTALS: list[tuple[WireFormat, Any, str, str]] = [
    (ChatCompletions(), openai, "prompt_tokens", "completion_tokens"),
    (Responses(), response, "input_tokens", "output_tokens"),
    (GEMINI, gemini, "promptTokenCount", "candidatesTokenCount"),
    (Messages(), claude, "input_tokens", "output_tokens"),
]


@pytest.mark.parametrize("odd", [each for each in ODD if each != 12.5])
@pytest.mark.parametrize(("wire_format", "answer", "given", "written"), TOTALS)
def test_total_of_an_odd_type_is_missing_and_the_other_stands(
    wire_format: WireFormat, answer: Any, given: str, written: str, odd: Any
) -> None:
    without_input = wire_format.read_answer(answer(**{given: odd})).usage
    assert without_input == Usage(output_tokens=3, lacks_input=True)
    reading = wire_format.read_answer(answer(**{written: odd}))
    assert reading.usage == Usage(input_tokens=9, lacks_output=True)
    assert reading.text == "Hello"
    neither = wire_format.read_answer(answer(**{given: odd, written: odd})).usage
    assert neither in (None, Usage(lacks_input=True, lacks_output=True))


@pytest.mark.parametrize("written", ["12", 12.0, 11.5])
@pytest.mark.parametrize(("wire_format", "answer", "given", "_written"), TOTALS)
def test_count_that_is_written_otherwise_is_read(
    wire_format: WireFormat, answer: Any, given: str, _written: str, written: Any
) -> None:
    assert wire_format.read_answer(answer(**{given: written})).usage == Usage(input_tokens=12, output_tokens=3)


@pytest.mark.parametrize("absurd", [b'"%d"' % 2**40, b"1e30", b"1099511627776.0", b"1" + b"0" * 30])
@pytest.mark.parametrize(("wire_format", "answer", "given", "_written"), TOTALS)
def test_count_that_cannot_be_is_not_believed_however_it_is_written(
    wire_format: WireFormat, answer: Any, given: str, _written: str, absurd: bytes
) -> None:
    reading = wire_format.read_answer(answer(**{given: "ABSURD"}).replace(b'"ABSURD"', absurd))
    assert reading.usage is None or (reading.usage.lacks_input and reading.usage.input_tokens == 0)


@pytest.mark.parametrize(("wire_format", "answer", "given", "written"), TOTALS)
def test_total_that_is_null_is_missing(wire_format: WireFormat, answer: Any, given: str, written: str) -> None:
    assert wire_format.read_answer(answer(**{given: None})).usage == Usage(output_tokens=3, lacks_input=True)
    reading = wire_format.read_answer(answer(**{written: None}))
    assert (reading.usage, reading.text) == (Usage(input_tokens=9, lacks_output=True), "Hello")


def test_end_of_claudes_stream_without_its_output_leaves_that_to_be_counted() -> None:
    odds: tuple[Any, ...] = (None, "x", {})
    for odd in odds:
        read = Messages().read_event(message_delta(odd, input_tokens=90).partition(b"data: ")[2])
        assert read.early and not read.covers and read.corrects is not None
        corrected = read.corrects(Usage(input_tokens=7, output_tokens=1))
        assert corrected is not None and (corrected.input_tokens, corrected.output_tokens) == (90, 1)
    alone = Messages().read_event(message_delta(8).partition(b"data: ")[2])
    assert alone.corrects is not None and alone.corrects(None) == Usage(output_tokens=8, lacks_input=True)


def test_total_tells_what_a_part_does_not() -> None:
    read = ChatCompletions().read_answer
    assert read(openai(prompt_tokens="x", total_tokens=30)).usage == Usage(input_tokens=27, output_tokens=3)
    assert read(openai(completion_tokens="x", total_tokens=30)).usage == Usage(input_tokens=9, output_tokens=21)
    both = read(openai(prompt_tokens="x", completion_tokens="x", total_tokens=30)).usage
    assert both == Usage(input_tokens=30, lacks_input=True, lacks_output=True)
    tell = GEMINI.read_answer
    assert tell(gemini(promptTokenCount="x", totalTokenCount=30)).usage == Usage(input_tokens=27, output_tokens=3)
    assert tell(gemini(toolUsePromptTokenCount="x", totalTokenCount=30)).usage == Usage(
        input_tokens=27, output_tokens=3
    )
    assert tell(gemini(candidatesTokenCount="x", totalTokenCount=30)).usage == Usage(input_tokens=9, output_tokens=21)
    assert tell(gemini(thoughtsTokenCount="x")).usage == Usage(input_tokens=9, output_tokens=3, lacks_output=True)


def test_parts_of_claudes_input_are_missing_one_by_one() -> None:
    read = Messages().read_answer
    odd = read(claude(cache_read_input_tokens="x", cache_creation_input_tokens=5)).usage
    assert odd == Usage(input_tokens=14, cache_write_tokens=5, output_tokens=3, lacks_input=True)
    thought = read(claude(output_tokens="x", output_tokens_details={"thinking_tokens": 40})).usage
    assert thought == Usage(input_tokens=9, output_tokens=40, reasoning_tokens=40, lacks_output=True)
    one: dict[str, Any] = {"type": "message", "input_tokens": 50, "output_tokens": 6}
    passes = read(claude(iterations=[one, one | {"output_tokens": "x"}])).usage
    assert passes == Usage(input_tokens=100, output_tokens=6, lacks_output=True)
    strange = read(claude(iterations=[one, "x"])).usage
    assert strange == Usage(input_tokens=50, output_tokens=6, lacks_input=True, lacks_output=True)


def test_figures_of_embeddings_are_read_beside_an_odd_one() -> None:
    body = msgspec.json.encode({"usage": {"prompt_tokens": 9, "total_tokens": "x"}})
    assert Embeddings().read_answer(body).usage == Usage(input_tokens=9)
    body = msgspec.json.encode({"usageMetadata": {"promptTokenCount": 9, "promptTokenDetails": 5}})
    assert EmbedContent("v1beta", "embedContent").read_answer(body).usage == Usage(input_tokens=9)


def test_answer_of_which_more_than_figures_is_odd_is_all_text() -> None:
    body = message({"type": "text", "text": {"odd": "words"}}, usage=usage(9, "x"))  # type: ignore[arg-type]
    reading = Messages().read_answer(body)
    assert reading.text == body.decode() and reading.usage == Usage(input_tokens=9, lacks_output=True)


def test_chunk_whose_choices_cannot_be_read_is_not_hidden() -> None:
    chunk = msgspec.json.encode({"choices": ["x"], "usage": {"prompt_tokens": 9, "completion_tokens": 3}})
    reading = ChatCompletions().read_event(chunk)
    assert reading.usage == Usage(input_tokens=9, output_tokens=3) and not reading.usage_only
