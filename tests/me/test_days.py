"""Dates from a query, the defaults, and the seed's windows."""

from datetime import date

import pytest

from gateway.me.days import BadDaysError, Days, read_days, windows

TODAY = date(2023, 7, 10)
ARABIC_DIGITS = "".join(chr(0x660 + int(digit)) if digit.isdigit() else digit for digit in "2023-07-01")


def test_windows_of_the_seeds_example_are_its_three() -> None:
    days = read_days({"start_date": "2022-12-10", "end_date": "2023-07-10"}, TODAY)
    assert [(str(window.first), str(window.last)) for window in windows(days)] == [
        ("2022-12-10", "2023-03-10"),
        ("2023-03-11", "2023-06-09"),
        ("2023-06-10", "2023-07-10"),
    ]


def test_windows_of_one_day_are_that_day() -> None:
    assert windows(Days(TODAY, TODAY)) == [Days(TODAY, TODAY)]


def test_windows_of_ninety_one_days_are_one_and_of_a_day_more_two() -> None:
    assert len(windows(Days(date(2023, 1, 1), date(2023, 4, 1)))) == 1
    assert windows(Days(date(2023, 1, 1), date(2023, 4, 2)))[1] == Days(date(2023, 4, 2), date(2023, 4, 2))


def test_days_without_dates_are_the_last_ninety_and_today() -> None:
    assert read_days({}, TODAY) == Days(date(2023, 4, 11), TODAY)


def test_days_without_a_start_begin_ninety_days_before_the_end() -> None:
    assert read_days({"end_date": "2020-03-01"}, TODAY) == Days(date(2019, 12, 2), date(2020, 3, 1))


def test_days_cover_both_ends_whole_in_utc() -> None:
    assert Days(date(1970, 1, 1), date(1970, 1, 2)).seconds == (0, 2 * 86_400)


@pytest.mark.parametrize(
    "text",
    ["", "2023-02-30", "2023-7-1", "20230701", "2023-W27-1", "yesterday", "2023-07-01T00:00", ARABIC_DIGITS,
     "1969-12-31", "9999-12-31", "-023-07-01", " 2023-07-01"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["start_date", "end_date"])
def test_days_with_a_bad_date_name_it(name: str, text: str) -> None:
    with pytest.raises(BadDaysError) as raised:
        read_days({name: text}, TODAY)
    assert raised.value.param == name
    assert raised.value.message.startswith(f"{name} must be a date")
    assert getattr(raised.value, name) == text


def test_days_reversed_are_refused_with_both_dates() -> None:
    with pytest.raises(BadDaysError, match="must not be after") as raised:
        read_days({"start_date": "2023-07-11"}, TODAY)
    assert (raised.value.start_date, raised.value.end_date) == ("2023-07-11", "2023-07-10")


def test_days_of_more_than_ten_years_are_refused_and_ten_are_not() -> None:
    assert windows(read_days({"start_date": "2013-07-10"}, TODAY))[0].first == date(2013, 7, 10)
    with pytest.raises(BadDaysError, match="ten years"):
        read_days({"start_date": "2013-07-08"}, TODAY)
