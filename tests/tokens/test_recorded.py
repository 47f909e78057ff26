"""Requests that OpenAI billed, when a copy of the recordings lies beside the checkout: our count is the bill."""

from pathlib import Path

import msgspec

from gateway.tokens.encodings import Encodings
from gateway.tokens.models import rules_for
from gateway.tokens.prompts import count_prompt
from tests.tokens import pictures

_RECORDINGS = Path(__file__).parents[3] / "shared" / "recorded" / "token-pairs.jsonl"


class Pair(msgspec.Struct):
    """`reference_formula_error` is what the best formula known before ours was off by."""

    id: str
    model: str
    endpoint: str
    expected_prompt_tokens: int
    reference_formula_error: int


def _recorded() -> list[tuple[Pair, dict[str, object]]]:
    if not _RECORDINGS.exists():
        return []
    lines = _RECORDINGS.read_bytes().splitlines()
    return [(msgspec.json.decode(line, type=Pair), _drawn(msgspec.json.decode(line))) for line in lines]


def _drawn(value: object) -> dict[str, object]:
    """The request with a picture of the noted size in each place where one was taken out."""
    drawn = _draw(value)
    assert isinstance(drawn, dict)
    return drawn


def _draw(value: object) -> object:
    if isinstance(value, list):
        return [_draw(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "_width" in value:
        return {**value, "url": pictures.data_url(pictures.png(value["_width"], value["_height"]))}
    return {key: _draw(item) for key, item in value.items()}


def test_recorded_request_is_counted_as_it_was_billed_or_better_than_known(encodings: Encodings) -> None:
    worse = []
    for pair, body in _recorded():
        rules = rules_for(pair.model)
        counted = count_prompt(pair.endpoint, rules, body, 1_000, encodings.get(rules.encoding).count)
        error = counted.tokens - pair.expected_prompt_tokens
        if abs(error) > abs(pair.reference_formula_error):
            worse.append((pair.id, pair.model, error, pair.reference_formula_error))
    assert worse == []
