"""The load believes an answer only if it is the scripted one, however the bytes arrive."""

import pytest

from bench import script
from bench.answer import AnswerReader, WrongAnswerError
from bench.provider import PLAIN, STREAM_HEAD


def expected(events: int | None) -> script.Expected:
    return script.Expected(events, text=script.plain_answer())


STREAM = STREAM_HEAD + b"".join(script.stream_writes(5, 2, with_usage=False))
STREAM_WITH_USAGE = STREAM_HEAD + b"".join(script.stream_writes(5, 2, with_usage=True))


@pytest.mark.parametrize(("events", "answer"), [(None, PLAIN), (5, STREAM), (6, STREAM_WITH_USAGE)])
def test_reader_answer_in_one_piece_or_byte_by_byte_ends_with_its_last_byte(events: int | None, answer: bytes) -> None:
    reader = AnswerReader(expected(events))

    assert reader.feed(answer)
    ended = [reader.feed(answer[at : at + 1]) for at in range(len(answer))]

    assert ended == [False] * (len(answer) - 1) + [True]


@pytest.mark.parametrize(
    ("events", "answer"),
    [
        (None, PLAIN.replace(b"200 OK", b"429 Too Many Requests")),
        (None, PLAIN.replace(b'"prompt_tokens":46', b'"prompt_tokens":47')),
        (4, STREAM),
        (5, STREAM_WITH_USAGE),
        (5, STREAM.replace(b"[DONE]", b"[GONE]")),
    ],
    ids=["status", "body", "an event too many", "usage not asked for", "no end"],
)
def test_reader_other_answer_raises(events: int | None, answer: bytes) -> None:
    with pytest.raises(WrongAnswerError):
        AnswerReader(expected(events)).feed(answer)
