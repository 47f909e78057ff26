"""A statement as a page to read or print: one file with its style and its charts in it, that asks no network.

Every name in it is a text: whatever somebody called a project or a key, the page shows it as it is.
"""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from html import escape

from gateway.cli.statement import Holder, Project, Statement
from gateway.cli.tallies import Day, Figures, Share

Weigh = Callable[[Figures], Decimal]

CHART_WIDTH, CHART_HEIGHT, LABEL_HEIGHT = 620, 120, 14
_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 52rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .2rem; overflow-wrap: anywhere; }
p { margin: .2rem 0 1rem; color: #555; }
table { border-collapse: collapse; width: 100%; margin: .6rem 0 1.2rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .5rem; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; }
td.bar { width: 22%; } td.bar div { background: #3b6ea5; height: .7rem; min-width: 1px; }
tfoot td { font-weight: 600; border-bottom: 0; }
svg { width: 100%; height: auto; } svg rect { fill: #3b6ea5; } svg text { font-size: 9px; fill: #555; }
h2 { break-after: avoid; } tr, svg { break-inside: avoid; }
* { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
@media print { body { margin: 0; max-width: none; } }
"""
_FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>Statement {month}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>"""


def page(statement: Statement) -> str:
    """Return the page."""
    weigh = _cost if _cost(statement.usage) else _tokens
    parts = [
        f"<h1>Statement {statement.month}</h1>",
        f"<p>{statement.start_date} to {statement.end_date} (UTC), {_sentence(statement.usage)}</p>",
        _chart(statement.days, weigh),
        _section("Projects", _table("Project", _projects(statement.projects), statement.usage, weigh)),
        _section("People and programs", _table("Holder", _holders(statement.holders), statement.usage, weigh)),
        *(_project(project, weigh) for project in statement.projects),
    ]
    return _FRAME.format(month=statement.month, style=_STYLE, body="\n".join(parts))


def _project(project: Project, weigh: Weigh) -> str:
    body = [
        f"<p>{_sentence(project.usage)}</p>",
        _chart(project.days, weigh),
        _table("Holder", _holders(project.holders), project.usage, weigh),
        _table("Model", _shares(project.models), project.usage, weigh),
    ]
    return _section(project.name, "\n".join(body))


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>"


def _projects(found: Iterable[Project]) -> list[tuple[str, Figures]]:
    return [(project.name, project.usage) for project in found]


def _holders(found: Iterable[Holder]) -> list[tuple[str, Figures]]:
    return [(holder.name, holder.usage) for holder in found]


def _shares(found: Iterable[Share]) -> list[tuple[str, Figures]]:
    return [(share.name, share.usage) for share in found]


def _sentence(used: Figures) -> str:
    unpriced = f", {used.unpriced_requests:,} without a price" if used.unpriced_requests > 0 else ""
    requests = "request" if used.succeeded == 1 else "requests"
    return f"{used.cost_usd} USD for {used.succeeded:,} {requests}{unpriced}"


def _table(first: str, rows: Sequence[tuple[str, Figures]], whole: Figures, weigh: Weigh) -> str:
    """Return rows with a bar each, as long as its part of the longest."""
    longest = max((weigh(used) for _, used in rows), default=Decimal(0))
    head = "".join(f"<th>{name}</th>" for name in (first, "Requests", "Input", "Cached", "Output", "USD", ""))
    body = "\n".join(
        f"<tr><td>{escape(name)}</td>{_cells(used)}<td class=bar>{_bar(weigh(used), longest)}</td></tr>"
        for name, used in rows
    )
    foot = f"<tr><td>Total</td>{_cells(whole)}<td></td></tr>"
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n<tfoot>{foot}</tfoot></table>"


def _cells(used: Figures) -> str:
    counts = (used.succeeded, used.input_tokens, used.cached_tokens, used.output_tokens)
    return "".join(f"<td>{count:,}</td>" for count in counts) + f"<td>{used.cost_usd}</td>"


def _bar(size: Decimal, longest: Decimal) -> str:
    return f'<div style="width:{100 * size / longest:.1f}%"></div>' if size > 0 else ""


def _chart(days: Sequence[Day], weigh: Weigh) -> str:
    """Return a bar per day. Each says its figures to who points at it, and the whole to who cannot see it."""
    longest = max((weigh(day.usage) for day in days), default=Decimal(0)) or Decimal(1)
    step = CHART_WIDTH / len(days)
    bars = []
    for place, day in enumerate(days):
        height = float(weigh(day.usage) / longest) * CHART_HEIGHT
        x = place * step
        bars.append(
            f'<rect x="{x + 1:.1f}" y="{CHART_HEIGHT - height:.1f}" width="{step - 2:.1f}" height="{height:.1f}">'
            f"<title>{day.date}: {_sentence(day.usage)}</title></rect>"
            f'<text x="{x + step / 2:.1f}" y="{CHART_HEIGHT + LABEL_HEIGHT - 3}" text-anchor="middle">'
            f"{day.date[-2:].lstrip('0')}</text>"
        )
    size = f"0 0 {CHART_WIDTH} {CHART_HEIGHT + LABEL_HEIGHT}"
    return f'<svg viewBox="{size}" role="img" aria-label="Use by day">\n' + "\n".join(bars) + "\n</svg>"


def _cost(used: Figures) -> Decimal:
    return Decimal(used.cost_usd)


def _tokens(used: Figures) -> Decimal:
    """What is weighed while nothing cost anything."""
    return Decimal(used.input_tokens + used.output_tokens)
