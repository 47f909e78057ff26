"""Reading what OpenAI exports: pages of its usage and costs APIs as JSON, and the CSV of its dashboard.

JSON: one page (`{"object":"page","data":[...]}`), a list of pages, or a page a line. CSV: a header with `start_time`,
`end_time` and either `num_model_requests` and `input_tokens` (usage) or `amount_value` (costs), separated by commas,
semicolons or tabs; the dashboard leaves the rest of a row empty for days without anything.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path

import msgspec

from gateway.cli.failures import CommandError
from gateway.core.limits import DAY_SECONDS
from gateway.core.reconciliation import Place, model_of_line_item

COSTS = "costs"
NANO = Decimal(10**9)
KINDS = ("completions", "embeddings", "moderations", "images", "audio_speeches", "audio_transcriptions")
_GROUPS = ("project_id", "user_id", "api_key_id", "model", "batch", "service_tier", "line_item", "size", "source")


class Amount(msgspec.Struct):
    """Money: a number or a decimal string."""

    value: Decimal
    currency: str = "usd"


class Result(msgspec.Struct):
    """One group of a bucket, as far as it is compared."""

    object: str = ""
    num_model_requests: int | None = None
    input_tokens: int | None = None
    input_cached_tokens: int | None = None
    output_tokens: int | None = None
    project_id: str | None = None
    user_id: str | None = None
    api_key_id: str | None = None
    model: str | None = None
    batch: bool | None = None
    service_tier: str | None = None
    line_item: str | None = None
    size: str | None = None
    source: str | None = None
    amount: Amount | None = None


class Bucket(msgspec.Struct):
    """A span of Unix seconds."""

    start_time: int
    end_time: int
    results: list[Result] = []


class Page(msgspec.Struct):
    """A page of either API."""

    data: list[Bucket]
    has_more: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of an export. `kind` is that of usage, or COSTS; `figures` has only what the export says."""

    kind: str
    start: int
    end: int
    identity: tuple[object, ...]
    place: Place
    figures: dict[str, int]


@dataclass(frozen=True, slots=True)
class Export:
    """All files together. Spans are whole days, from the first second to the first one after, by usage and costs."""

    entries: tuple[Entry, ...]
    spans: dict[str, tuple[int, int]]
    is_complete: bool


def read(files: Sequence[Path]) -> Export:
    """Read files that belong together. Raises CommandError for what is no export, or stands in it twice."""
    entries: list[Entry] = []
    spans: dict[str, tuple[int, int]] = {}
    last: dict[str, tuple[int, bool]] = {}
    for file in files:
        try:
            text = file.read_bytes().decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{file} cannot be read: {error}.") from error
        for part in _json(file, text) if text.lstrip()[:1] in ("{", "[") else _csv(file, text):
            topic = COSTS if part.kind == COSTS else "usage"
            first, end = spans.get(topic, (part.start, part.end))
            spans[topic] = min(first, part.start), max(end, part.end)
            last[part.kind] = max(last.get(part.kind, (0, False)), (part.end, part.has_more))
            entries += part.entries
    if not spans:
        raise CommandError("The export is empty: none of its days has anything.")
    _require_once(entries)
    spans = {topic: (_floor(first), -_floor(-end)) for topic, (first, end) in spans.items()}
    return Export(tuple(entries), spans, not any(has_more for _, has_more in last.values()))


@dataclass(frozen=True, slots=True)
class Part:
    """A bucket of one kind. `has_more` says that it is the last of a page behind which there is another."""

    kind: str
    start: int
    end: int
    entries: list[Entry]
    has_more: bool = False


def _json(file: Path, text: str) -> list[Part]:
    try:
        pages = _pages(text)
    except msgspec.DecodeError as error:
        raise CommandError(f"{file} is not a page of OpenAI's usage or costs API: {error}.") from error
    parts = [
        _part(file, bucket, has_more=page.has_more and bucket is page.data[-1])
        for page in pages
        for bucket in page.data
    ]
    # Days without anything do not say of which kind they are.
    kinds = sorted({part.kind for part in parts if part.kind})
    if len(kinds) > 1:
        raise CommandError(f"{file} has several kinds in one file: {', '.join(kinds)}.")
    return [replace(part, kind=kinds[0]) for part in parts] if kinds else []


def _pages(text: str) -> list[Page]:
    try:
        pages = msgspec.json.decode(text, type=Page | list[Page])
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return [msgspec.json.decode(line, type=Page) for line in text.splitlines() if line.strip()]
    return pages if isinstance(pages, list) else [pages]


def _part(file: Path, bucket: Bucket, *, has_more: bool) -> Part:
    start, end = bucket.start_time, bucket.end_time
    entries = [_entry(file, _kind(file, result), start, end, result) for result in bucket.results]
    return Part(entries[0].kind if entries else "", start, end, entries, has_more)


def _kind(file: Path, result: Result) -> str:
    words = result.object.split(".")
    if result.object == "organization.costs.result":
        return COSTS
    if words[:2] == ["organization", "usage"] and words[2] in KINDS:
        return words[2]
    raise CommandError(f"{file} has `{result.object}`, which is not compared. Take {', '.join(KINDS)} or costs.")


def _entry(file: Path, kind: str, start: int, end: int, result: Result) -> Entry:
    if end - start > DAY_SECONDS:
        raise CommandError(f"{file} has a bucket of more than a day; export it by day.")
    figures: dict[str, int] = {}
    model = result.model
    if kind == COSTS:
        if result.amount is not None:
            if result.amount.currency.lower() != "usd":
                raise CommandError(f"{file} has costs in {result.amount.currency}, not in USD.")
            figures["cost"] = int((result.amount.value * NANO).to_integral_value())
        model = None if result.line_item is None else model_of_line_item(result.line_item)
    else:
        told = {
            "requests": result.num_model_requests,
            "input_tokens": result.input_tokens,
            "cached_tokens": result.input_cached_tokens,
            "output_tokens": result.output_tokens,
        }
        figures = {name: amount for name, amount in told.items() if amount is not None}
    identity = kind, start, end, *(getattr(result, name) for name in _GROUPS)
    return Entry(kind, start, end, identity, Place(_floor(start), model, result.project_id), figures)


def _csv(file: Path, text: str) -> list[Part]:
    header = text.split("\n", 1)[0]
    separator = max(",;\t", key=header.count)
    rows = csv.DictReader(io.StringIO(text), delimiter=separator)
    names = [name.strip() for name in rows.fieldnames or ()]
    if not {"start_time", "end_time"} <= set(names) or not {"amount_value", "input_tokens"} & set(names):
        raise CommandError(
            f"{file} is not an export of OpenAI's dashboard: it needs the columns start_time, end_time, and "
            "num_model_requests and input_tokens, or amount_value."
        )
    kind = COSTS if "amount_value" in names else "completions" if "output_tokens" in names else "embeddings"
    found = []
    for number, row in enumerate(rows, 2):
        try:
            found.append(_csv_row(file, kind, {(name or "").strip(): value or "" for name, value in row.items()}))
        except (ValueError, InvalidOperation) as error:
            raise CommandError(f"{file}, line {number}: {error}.") from error
    return found


def _csv_row(file: Path, kind: str, row: dict[str, str]) -> Part:
    start, end = int(float(row["start_time"])), int(float(row["end_time"]))
    amount, batch = row.get("amount_value"), row.get("batch", "").lower()
    counts = ("num_model_requests", "input_tokens", "input_cached_tokens", "output_tokens")
    fields: dict[str, object] = {name: int(float(row[name])) for name in counts if row.get(name)}
    fields |= {name: row[name] for name in _GROUPS if name != "batch" and row.get(name)}
    result = msgspec.convert(fields, Result)
    result.batch = None if batch == "" else batch in ("true", "1")
    result.amount = Amount(Decimal(amount), row.get("amount_currency") or "usd") if amount else None
    is_empty = result.amount is None if kind == COSTS else result.num_model_requests is None
    return Part(kind, start, end, [] if is_empty else [_entry(file, kind, start, end, result)])


def _require_once(entries: Sequence[Entry]) -> None:
    seen: set[tuple[object, ...]] = set()
    for entry in entries:
        if entry.identity in seen:
            raise CommandError(
                "The same bucket stands in the files twice. Give each page once, and either the JSON or the CSV of a "
                "time."
            )
        seen.add(entry.identity)


def _floor(unix_seconds: int) -> int:
    return unix_seconds // DAY_SECONDS * DAY_SECONDS


def of_topic(export: Export, topic: str) -> Iterator[Entry]:
    """Return the rows of usage, or of costs."""
    return (entry for entry in export.entries if (entry.kind == COSTS) == (topic == COSTS))
