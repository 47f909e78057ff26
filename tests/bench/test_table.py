"""The printed table."""

from bench.table import Gap, Row, render


def test_render_row_above_its_goal_is_marked() -> None:
    values = {"relay": 100.0, "sqlite": 150.0, "postgres": 250.0}
    ratios = {name: value / 100 for name, value in values.items()}
    row = Row("CPU per call", "µs", values, ratios, {"sqlite": 1.6, "postgres": 2.0}, goal_is_ratio=True)

    line = render([row], ["relay", "sqlite", "postgres"]).splitlines()[1]

    assert line.split() == [
        "CPU",
        "per",
        "call,",
        "µs",
        "100.0",
        "150.0",
        "x1.50",
        "250.0",
        "x2.50!",
        "x1.6",
        "/",
        "x2",
    ]


def test_render_failed_measurement_says_why() -> None:
    assert "failed: no answer" in render([Gap("burst", "no answer")], ["relay"])
