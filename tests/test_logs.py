"""The log sink: what it writes, what it never writes, and that a reader who stops blocks nobody."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.logs import MAX_LINE_BYTES, Field, Log, Scrubber, configure
from tests.patience import PATIENCE_SECONDS

CANARY = "canary-value-of-a-provider-key"


@contextmanager
def routed_logging(path: Path, secrets: tuple[str, ...] = (), level: str = "info") -> Iterator[Log]:
    """Route the process's logging into `path`; put it back afterwards."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    with path.open("wb") as file:
        log = configure(level, secrets, descriptor=file.fileno())
        try:
            yield log
        finally:
            log.close(PATIENCE_SECONDS)
            logging.captureWarnings(False)
            root.handlers[:], root.level = before


def written(path: Path) -> list[dict[str, Field]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_event_is_written_as_one_json_line(tmp_path: Path) -> None:
    with routed_logging(tmp_path / "log") as log:
        log.event({"event": "request", "status": 200, "model": "gpt-4o", "cost_usd": None})
        log.event({"event": "request", "status": 404})
    assert written(tmp_path / "log") == [
        {"event": "request", "status": 200, "model": "gpt-4o", "cost_usd": None},
        {"event": "request", "status": 404},
    ]


def test_record_of_the_standard_library_is_routed_with_its_traceback(tmp_path: Path) -> None:
    with routed_logging(tmp_path / "log"):
        try:
            raise ValueError("of no value")
        except ValueError:
            logging.getLogger("some.library").exception("failed on %s", "x")
    (record,) = written(tmp_path / "log")
    assert (record["level"], record["logger"], record["message"]) == ("error", "some.library", "failed on x")
    assert isinstance(record["traceback"], list)
    assert record["traceback"][-1] == "ValueError: of no value"


def test_record_below_the_level_is_not_written(tmp_path: Path) -> None:
    with routed_logging(tmp_path / "log", level="warning"):
        logging.getLogger("some.library").info("chatter")
    assert written(tmp_path / "log") == []


@pytest.mark.parametrize(
    "text",
    [
        "key sk-proj-AbCdEfGhIjKlMnOpQrStUvWx refused",
        "key sk-gw-0123456789-AbCdEfGhIjKlMnOpQrStUvWxYz012345abcdef",
        "sk-ant-api03-AbCdEfGhIjKlMnOpQrStUvWx",
        "https://generativelanguage.example/v1/models?key=AbCdEfGhIjKlMnOp&alt=sse",
        "AIzaSyAbCdEfGhIjKlMnOpQrStUvWx",
        "{'authorization': 'Bearer AbCdEfGhIjKlMnOp'}",
        "authorization: bearer AbCdEfGhIjKlMnOp",
        f"registered {CANARY}",
        'registered quo"ted\\secret',
    ],
)
def test_secret_is_redacted_wherever_it_stands(text: str, tmp_path: Path) -> None:
    with routed_logging(tmp_path / "log", (CANARY, 'quo"ted\\secret')) as log:
        log.event({"event": "request", "field": text, "list": [text]})
        logging.getLogger("some.library").warning("said %s", text)
        try:
            raise RuntimeError(text)
        except RuntimeError:
            logging.getLogger("some.library").exception("failed")
    content = (tmp_path / "log").read_text()
    assert len(written(tmp_path / "log")) == 3
    assert content.count("[redacted]") >= 4
    for secret in ("AbCdEfGhIjKlMnOp", CANARY, "ted\\\\secret"):
        assert secret not in content


def test_secret_learnt_later_is_redacted_from_then_on(tmp_path: Path) -> None:
    with routed_logging(tmp_path / "log") as log:
        log.learn_secrets((CANARY,))
        log.event({"event": CANARY})
    assert written(tmp_path / "log") == [{"event": "[redacted]"}]


@pytest.mark.parametrize("text", ["task-of-sixteen-or-more-letters", "sk-gw-0123456789", "monkey = 3", "bearer"])
def test_ordinary_text_is_left_alone(text: str) -> None:
    line = json.dumps({"field": text}).encode() + b"\n"
    assert Scrubber(()).scrub(line) == line


@pytest.mark.parametrize("control", ["\n", "\r\n", "\x1b[31m", "\x00", "\x7f", "\x9b", "\u2028", "\t"])
def test_control_character_never_reaches_the_reader(control: str, tmp_path: Path) -> None:
    with routed_logging(tmp_path / "log") as log:
        log.event({"model": f"a{control}b", "path": "\\u001b stays"})
    (record,) = written(tmp_path / "log")
    assert isinstance(record["model"], str)
    assert record["model"].isprintable()
    assert record["path"] == "\\u001b stays"


def test_lone_surrogate_is_written_as_a_question_mark(tmp_path: Path) -> None:
    with routed_logging(tmp_path / "log") as log:
        log.event({"model": "a\ud800b"})
    assert written(tmp_path / "log") == [{"model": "a?b"}]


def test_oversized_record_is_cut_to_its_start(tmp_path: Path) -> None:
    with routed_logging(tmp_path / "log") as log:
        log.event({"model": "x" * 2 * MAX_LINE_BYTES})
    (record,) = written(tmp_path / "log")
    assert record["event"] == "oversized_record"
    assert (tmp_path / "log").stat().st_size < 2048


def test_reader_that_stopped_costs_records_not_time() -> None:
    reading, writing = os.pipe()
    try:
        log = Log(writing, Scrubber(()), max_backlog_bytes=200_000)
        for number in range(20_000):
            log.event({"event": "request", "number": number, "padding": "x" * 50})
        dropped = log.dropped
        log.close(timeout_seconds=0.2)
    finally:
        os.close(reading)  # ends the writer's blocked write
        log.close()
        os.close(writing)
    assert dropped > 10_000


def test_lines_of_two_writers_on_one_pipe_do_not_mix(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    logs = [Log(writing, Scrubber(())) for _ in range(2)]
    for number in range(200):  # 40 kB: less than a pipe holds
        for log in logs:
            log.event({"event": "request", "number": number, "padding": "x" * 50})
    for log in logs:
        log.close(PATIENCE_SECONDS)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        assert sorted(json.loads(line)["number"] for line in pipe) == sorted([*range(200), *range(200)])
