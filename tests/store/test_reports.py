"""Reports equal the sum of the ledger's records, to the token and the nano-USD."""

import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import pytest
from msgspec.structs import replace

from gateway.core.limits import Demand
from gateway.ledger.effects import Batch
from gateway.ledger.entries import Figures, Grant, Reservation, Settlement, Source
from gateway.store import revision
from gateway.store.engine import Database
from gateway.store.reports import Dimension, Filter, Group, Line, Query, Sums, Width, buckets, lines, total, windows
from tests.team import call, ledger_on, settle

DAY = 86_400
FIRST = 1_688_947_200  # 2023-07-10 00:00 UTC
END = FIRST + 3 * DAY

TOKENS = Figures.__struct_fields__[2:-2]
GROUPINGS: Sequence[Sequence[str]] = (
    [],
    ["model"],
    ["project_id", "user_id"],
    ["api_key_id", "batch", "service_tier"],
    ["operation", "model"],
    list(Dimension),
)
FILTERS: Sequence[tuple[Filter, Callable[[Settlement], bool]]] = (
    (Filter(operations=frozenset(("chat", "responses"))), lambda one: one.subject.operation != "embeddings"),
    (Filter(project_ids=frozenset(("proj_1",))), lambda one: one.caller.project_id == "proj_1"),
    (Filter(user_ids=frozenset(("user_2", "user_3"))), lambda one: one.caller.user_id in ("user_2", "user_3")),
    (Filter(api_key_ids=frozenset(("key_1",))), lambda one: one.caller.api_key_id == "key_1"),
    (Filter(models=frozenset(("claude",))), lambda one: one.subject.model == "claude"),
    (Filter(batch=True), lambda one: one.batch == 1),
    (Filter(batch=False), lambda one: one.batch == 0),
    (Filter(models=frozenset()), lambda one: False),
)
Filled = tuple[Database, list[Settlement]]


def drawn_calls(seed: int, count: int) -> list[Settlement]:
    """Calls of four keys over three days, all drawn at random; every fifth failed, every seventh has no price."""
    dice = random.Random(seed)
    calls = []
    for number in range(count):
        failed, unpriced = number % 5 == 0, number % 7 == 0
        tokens = {name: dice.randrange(10 ** dice.randrange(1, 8)) for name in TOKENS}
        cost = None if unpriced else 0 if failed else dice.randrange(10**12)
        figures = Figures(1, 0, cost_nano_usd=cost) if failed else Figures(1, 1, **tokens, cost_nano_usd=cost)
        calls.append(
            call(
                f"req_{number:04d}",
                FIRST + dice.random() * 3 * DAY,
                figures,
                key=f"key_{dice.randrange(4)}",
                model=dice.choice(["gpt-4o", "gpt-4o-mini", "claude"]),
                operation=dice.choice(["chat", "responses", "embeddings"]),
                tier=dice.choice(["", "flex"]),
                batch=dice.randrange(2),
            )
        )
    return calls


def sums_of(calls: Iterable[Settlement]) -> Sums:
    """Add up records as the rollup's columns say."""
    return total(
        Sums(
            used.requests, used.succeeded, used.input_tokens, used.cached_tokens,
            used.cache_write_tokens + used.cache_write_1h_tokens, used.input_audio_tokens, used.input_image_tokens,
            used.output_tokens, used.reasoning_tokens, used.output_audio_tokens, used.images,
            used.cost_nano_usd or 0, int(used.cost_nano_usd is None),
        )
        for used in (one.figures for one in calls)
    )  # fmt: skip


def group_of(one: Settlement, group_by: frozenset[Dimension]) -> Group:
    values = {
        Dimension.OPERATION: one.subject.operation,
        Dimension.MODEL: one.subject.model,
        Dimension.API_KEY_ID: one.caller.api_key_id,
        Dimension.SERVICE_TIER: one.service_tier,
        Dimension.BATCH: one.batch,
        Dimension.PROJECT_ID: one.caller.project_id,
        Dimension.USER_ID: one.caller.user_id,
    }
    return Group(*(values[name] if name in group_by else None for name in Dimension))  # type: ignore[arg-type]


def expected(calls: Iterable[Settlement], query: Query, matches: Callable[[Settlement], bool]) -> set[Line]:
    parts: dict[tuple[int, Group], list[Settlement]] = {}
    for one in calls:
        at = one.admitted_at_us // 1_000_000
        if query.start <= at < query.end and matches(one):
            parts.setdefault((at - at % query.width, group_of(one, query.group_by)), []).append(one)
    return {Line(start, group, sums_of(same)) for (start, group), same in parts.items()}


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An empty database."""
    opened = Database(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def filled(database: Database, database_url: str) -> Filled:
    """A ledger of 300 calls, and those calls."""
    calls = drawn_calls(seed=20230710, count=300)
    await settle(database_url, calls)
    return database, calls


async def report(database: Database, query: Query) -> list[Line]:
    return await database.read(lambda connection: lines(connection, query))


@pytest.mark.parametrize("width", list(Width))
async def test_report_by_anything_equals_the_sum_of_the_records(filled: Filled, width: Width) -> None:
    database, calls = filled
    for names in GROUPINGS:
        query = Query(width, FIRST, END, frozenset(map(Dimension, names)))
        found = await report(database, query)
        assert set(found) == expected(calls, query, lambda one: True), names
        assert len(found) == len(set(found)), names
        assert [line.start for line in found] == sorted(line.start for line in found), names


@pytest.mark.parametrize("width", list(Width))
async def test_report_with_a_filter_equals_the_sum_of_what_matches(filled: Filled, width: Width) -> None:
    database, calls = filled
    for filter, matches in FILTERS:
        query = Query(width, FIRST + DAY, END, frozenset((Dimension.MODEL,)), filter)
        assert set(await report(database, query)) == expected(calls, query, matches), filter


async def test_report_of_some_columns_leaves_the_others_at_zero(filled: Filled) -> None:
    database, calls = filled
    query = Query(Width.DAY, FIRST, END, columns=("succeeded", "cost_nano_usd"))
    whole = sums_of(calls)
    used = total(line.sums for line in await report(database, query))
    assert used == Sums(succeeded=whole.succeeded, cost_nano_usd=whole.cost_nano_usd)


async def test_windows_of_a_key_sum_its_days(filled: Filled) -> None:
    database, calls = filled
    spans = [(FIRST, FIRST + 2 * DAY), (FIRST + 2 * DAY, END), (END, END + DAY)]
    found = await database.read(lambda connection: windows(connection, "key_1", spans))
    own = [one for one in calls if one.caller.api_key_id == "key_1"]
    assert found == tuple(
        sums_of(one for one in own if start <= one.admitted_at_us // 1_000_000 < end) for start, end in spans
    )


async def test_report_of_failed_calls_alone_has_no_line_where_only_answers_are_asked(
    database: Database, database_url: str
) -> None:
    await settle(database_url, [call("req_1", FIRST, Figures(requests=1))])
    query = Query(Width.DAY, FIRST, END, columns=("succeeded", "input_tokens"))
    assert await report(database, query) == []


@pytest.mark.parametrize("width", list(Width))
async def test_report_of_a_call_that_was_swept_and_then_settled_is_its_settlement(
    database: Database, database_url: str, width: Width
) -> None:
    late = call("req_1", 0, Figures(1, 1, 100, 40, output_tokens=9, cost_nano_usd=70))
    reservation = Reservation(
        "req_1", await database.read(revision.read), late.caller, late.subject, (), Demand(50, 20, 20), 50, 1, 1
    )
    async with ledger_on(database_url) as ledger:
        (grant,) = await ledger.commit(Batch(reservations=[reservation]))
        assert isinstance(grant, Grant)
        late = replace(late, admitted_at_us=grant.admitted_at_us)
        swept = replace(late, source=Source.SWEPT, figures=Figures(1, 1, 50, output_tokens=20, cost_nano_usd=90))
        await ledger.commit(Batch(settlements=[swept]))
        await ledger.commit(Batch(settlements=[late]))
    start = grant.admitted_at_us // 1_000_000 // width * width
    (line,) = await report(database, Query(width, start, start + width))
    assert (line.start, line.sums) == (start, sums_of([late]))


def test_buckets_come_whole_and_in_order_the_empty_ones_too() -> None:
    line = Line(FIRST + DAY, Group(None, None, None, None, None, None, None), Sums(requests=1))
    found = buckets([line], Query(Width.DAY, FIRST, END))
    assert list(found.items()) == [(FIRST, []), (FIRST + DAY, [line]), (FIRST + 2 * DAY, [])]
