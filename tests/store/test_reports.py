"""Reports equal the sum of the ledger's records, to the token and the nano-USD."""

import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
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
OPERATIONS = ("chat", "responses", "embeddings", "images.generations", "images.edits", "audio.speech")
SIZES = ("1024x1024", "1792x1024", "auto")
VALUES: Mapping[Dimension, Callable[[Settlement], str | int | None]] = {
    Dimension.OPERATION: lambda one: one.subject.operation,
    Dimension.MODEL: lambda one: one.subject.model,
    Dimension.API_KEY_ID: lambda one: one.caller.api_key_id,
    Dimension.SERVICE_TIER: lambda one: one.service_tier,
    Dimension.BATCH: lambda one: one.batch,
    Dimension.PROJECT_ID: lambda one: one.caller.project_id,
    Dimension.USER_ID: lambda one: one.caller.user_id,
    Dimension.SERVICE_ACCOUNT_ID: lambda one: one.caller.service_account_id,
    Dimension.IMAGE_SIZE: lambda one: one.image_size,
}
FILTERED: Mapping[str, Dimension] = {
    "operations": Dimension.OPERATION,
    "project_ids": Dimension.PROJECT_ID,
    "user_ids": Dimension.USER_ID,
    "api_key_ids": Dimension.API_KEY_ID,
    "models": Dimension.MODEL,
    "image_sizes": Dimension.IMAGE_SIZE,
}
Filled = tuple[Database, list[Settlement]]


def some(*values: str) -> st.SearchStrategy[frozenset[str] | None]:
    """Mostly nothing is filtered; an empty set matches nothing."""
    return st.none() | st.frozensets(st.sampled_from(values))


QUERIES = st.builds(
    Query,
    st.sampled_from(list(Width)),
    st.sampled_from([FIRST, FIRST + DAY]),
    st.just(END),
    st.frozensets(st.sampled_from(list(Dimension))),
    st.builds(
        Filter,
        operations=some(*OPERATIONS),
        project_ids=some("proj_0", "proj_1", "proj_9"),
        user_ids=some("user_1", "user_2"),
        api_key_ids=some("key_1", "key_2", "key_3"),
        models=some("gpt-4o", "claude"),
        batch=st.none() | st.booleans(),
        image_sizes=st.none() | some(*SIZES),
    ),
)


def drawn_calls(seed: int, count: int) -> list[Settlement]:
    """Calls of four keys over three days, all drawn at random; every fifth failed, every seventh has no price."""
    dice = random.Random(seed)
    calls = []
    for number in range(count):
        failed, unpriced = number % 5 == 0, number % 7 == 0
        tokens = {name: dice.randrange(10 ** dice.randrange(1, 8)) for name in TOKENS}
        cost = None if unpriced else 0 if failed else dice.randrange(10**12)
        figures = Figures(1, 0, cost_nano_usd=cost) if failed else Figures(1, 1, **tokens, cost_nano_usd=cost)
        operation = dice.choice(OPERATIONS)
        calls.append(
            call(
                f"req_{number:04d}",
                FIRST + dice.random() * 3 * DAY,
                figures,
                key=f"key_{dice.randrange(4)}",
                model=dice.choice(["gpt-4o", "gpt-4o-mini", "claude"]),
                operation=operation,
                tier=dice.choice(["", "flex"]),
                batch=dice.randrange(2),
                size=dice.choice(SIZES) if operation.startswith("images.") else None,
            )
        )
    return [_of_a_program(one) if one.caller.api_key_id == "key_3" else one for one in calls]


def _of_a_program(one: Settlement) -> Settlement:
    return replace(one, caller=replace(one.caller, user_id=None, service_account_id="svc_3"))


def sums_of(calls: Iterable[Settlement]) -> Sums:
    """Add up records as the rollup's columns say."""
    return total(
        Sums(
            used.requests, used.succeeded, used.input_tokens, used.cached_tokens,
            used.cache_write_tokens + used.cache_write_1h_tokens, used.input_audio_tokens, used.input_image_tokens,
            used.output_tokens, used.reasoning_tokens, used.output_audio_tokens, used.images,
            used.audio_ms, used.characters, used.cost_nano_usd or 0, int(used.cost_nano_usd is None),
        )
        for used in (one.figures for one in calls)
    )  # fmt: skip


def group_of(one: Settlement, group_by: frozenset[Dimension]) -> Group:
    return Group(*(VALUES[name](one) if name in group_by else None for name in Dimension))  # type: ignore[arg-type]


def matches(one: Settlement, query: Query) -> bool:
    """Whether a call is in a report, said without SQL. What has no size is in no report by size."""
    wanted = {name: getattr(query.filter, field) for field, name in FILTERED.items()}
    if query.filter.batch is not None and one.batch != query.filter.batch:
        return False
    if Dimension.IMAGE_SIZE in query.group_by and one.image_size is None:
        return False
    return all(values is None or VALUES[name](one) in values for name, values in wanted.items())


def expected(calls: Iterable[Settlement], query: Query) -> set[Line]:
    parts: dict[tuple[int, Group], list[Settlement]] = {}
    for one in calls:
        at = one.admitted_at_us // 1_000_000
        if query.start <= at < query.end and matches(one, query):
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


@given(query=QUERIES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_report_by_anything_of_anything_equals_the_sum_of_the_records(filled: Filled, query: Query) -> None:
    database, calls = filled
    found = await report(database, query)
    assert set(found) == expected(calls, query)
    assert len(found) == len(set(found))
    assert [line.start for line in found] == sorted(line.start for line in found)


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
