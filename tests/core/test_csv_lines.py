"""CSV: any reader gets back what was written, and no spreadsheet a formula."""

import csv
import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.csv_lines import accepts_csv, cell, csv_lines

WIDE = "\uff1d\uff0b\uff0d\uff20"
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(st.lists(TEXT, min_size=1, max_size=4), min_size=1, max_size=4))
def test_lines_of_any_texts_are_read_back_as_their_cells(rows: list[list[str]]) -> None:
    read = list(csv.reader(io.StringIO(csv_lines(rows), newline=""), strict=True))
    assert read == [[cell(text) for text in row] if row != [""] else [] for row in rows]


@given(TEXT)
def test_cell_of_a_text_is_that_text_and_never_a_formula(text: str) -> None:
    shown = cell(text)
    assert shown in (text, f"'{text}")
    if shown.strip()[:1] in (*"=+@-", *WIDE):
        float(shown)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1", "  =1", WIDE[0]])
def test_cell_of_a_formula_begins_with_an_apostrophe(text: str) -> None:
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""), (True, "true"), (False, "false"), (0, "0"), (-7, "-7"), ("-0.25", "-0.25"), ("0.000000001",) * 2,
        (("a", "b"), '["a","b"]'), (msgspec.Raw(b"9007199.254740993"), "9007199.254740993"), ("Ünï <b>", "Ünï <b>"),
    ],
)  # fmt: skip
def test_cell_shows_values_as_they_are(value: object, shown: str) -> None:
    assert cell(value) == shown


@pytest.mark.parametrize(
    ("accept", "csv_wanted"),
    [
        (b"text/csv", True), (b"text/csv; charset=utf-8, */*;q=0.1", True), (b"application/json, text/csv", False),
        (b"*/*", False), (b"", False),
    ],
)  # fmt: skip
def test_accept_header_that_names_csv_and_no_json_wants_csv(accept: bytes, csv_wanted: bool) -> None:
    assert accepts_csv(accept) is csv_wanted
