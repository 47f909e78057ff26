"""New limits agree with the ledger: what was used before them, what is in flight, what settles after them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest
from sqlalchemy import func, insert, select

from gateway.core.errors import NotFound
from gateway.core.limits import Demand, Interval, Limit, Metric, Scope
from gateway.ledger.effects import Batch
from gateway.ledger.entries import (
    Caller,
    Figures,
    Grant,
    Outcome,
    Reservation,
    Settlement,
    Source,
    Stale,
    Subject,
)
from gateway.ledger.postgres import PostgresLedger
from gateway.ledger.sqlite import SqliteLedger
from gateway.store import api_keys, holds, limit_opening, limits, projects, revision, standings, users
from gateway.store.engine import Connection, Database, is_sqlite, postgres_dsn, sqlite_path
from gateway.store.limits import ORGANIZATION_ID
from gateway.store.standings import LimitStanding
from tests.store.test_principals import key_number

HOUR, DAY = 3_600, 86_400
DEMAND = Demand(input_tokens=10, output_tokens=20, expected_output_tokens=20)
FIGURES = Figures(requests=1, succeeded=1, input_tokens=7, output_tokens=5, cost_nano_usd=1_000)


@dataclass
class Books:
    """A database, its ledger, and keys key_1 and key_2 of two projects. `now` is the ledger's clock at the start."""

    database: Database
    ledger: SqliteLedger | PostgresLedger
    now: int
    grants: dict[str, Grant] = field(default_factory=dict)

    async def reserve(self, request_id: str, *, key: int = 1, model: str = "m") -> Grant:
        """Admit a call under the limits that bind it now, as often as they change meanwhile."""
        caller, subject = (
            Caller(f"key_{key}", f"proj_{key}", f"user_{key}", None),
            Subject("chat", model, model, "main"),
        )
        while True:
            present, bound = await self.database.read(lambda connection: binding(connection, caller))
            bound = tuple(limit for limit in bound if limit.binds(model))
            asked = Reservation(request_id, present, caller, subject, bound, DEMAND, 10, 1, 1)
            answer = (await self.ledger.commit(Batch(reservations=[asked])))[0]
            if isinstance(answer, Grant):
                self.grants[request_id] = answer
                return answer
            assert isinstance(answer, Stale)

    async def settle(self, request_id: str, *, key: int = 1, model: str = "m", figures: Figures = FIGURES) -> None:
        await self.ledger.commit(
            Batch(settlements=[self.settlement(request_id, key=key, model=model, figures=figures)])
        )

    def settlement(
        self, request_id: str, *, key: int = 1, model: str = "m", figures: Figures = FIGURES, at: int | None = None
    ) -> Settlement:
        """The record of a granted call, or of one that was admitted `at` a second."""
        grant = self.grants.get(request_id)
        return Settlement(
            request_id,
            grant.admitted_at_us if grant else (at or self.now) * 1_000_000,
            Caller(f"key_{key}", f"proj_{key}", f"user_{key}", None),
            Subject("chat", model, model, "main"),
            grant.items if grant else (),
            figures,
            Source.REPORTED,
            Outcome.COMPLETED,
            200,
        )

    async def open(self, limit: Limit) -> tuple[int, int]:
        """Make a limit; return what its counter opens with."""
        await self.database.change(lambda connection: limit_opening.create(connection, limit, self.now))
        return await self.standing(limit)

    async def standing(self, limit: Limit) -> tuple[int, int]:
        """What is used and held of a limit now."""
        shown = await self.shown(limit, self.now)
        return shown.used, shown.held

    async def shown(self, limit: Limit, at: int) -> LimitStanding:
        return (await self.database.read(lambda connection: standings.read(connection, [limit], at)))[0]

    async def sums(self, limit: Limit) -> tuple[int, int, int]:
        """All that a limit's counters say is used and held, and all that open hold items hold of it."""

        def work(connection: Connection) -> tuple[int, int, int]:
            counted = select(func.sum(limits.counter.c.used), func.sum(limits.counter.c.held))
            used, held = connection.execute(counted.where(limits.counter.c.limit_id == limit.id)).one()
            item = holds.hold_item.c
            items = connection.execute(select(func.sum(item.amount)).where(item.limit_id == limit.id)).scalar()
            return int(used), int(held), int(items or 0)

        return await self.database.read(work)


@pytest.fixture
async def books(database_url: str) -> AsyncIterator[Books]:
    ledger: SqliteLedger | PostgresLedger
    now = 1_700_000_000
    if is_sqlite(database_url):
        ledger = SqliteLedger(sqlite_path(database_url), "test", lambda: now * 1_000_000)
        database = Database(database_url, ledger.run)
    else:
        ledger = PostgresLedger(postgres_dsn(database_url), "test", lambda: now * 1_000_000, lambda _cause: None)
        database = Database(database_url)
        clock = select(func.extract("epoch", func.clock_timestamp()))
        now = int(await database.read(lambda connection: connection.execute(clock).scalar_one()))
    await database.change(people)
    yield Books(database, ledger, now)
    await database.close()
    await ledger.close()


def binding(connection: Connection, caller: Caller) -> tuple[int, tuple[Limit, ...]]:
    present = revision.read(connection)
    scopes = limits.scopes_of(caller.api_key_id, caller.project_id, caller.user_id, None)
    return present, limits.binding(connection, [scopes])[0]


def people(connection: Connection) -> None:
    for number in (1, 2):
        projects.create(connection, f"proj_{number}", "Search", 1)
        users.create(connection, f"user_{number}", f"person{number}@example.com", "Ada", "reader", 1)
        new = api_keys.NewApiKey(f"key_{number}", f"proj_{number}", "k", user_id=f"user_{number}")
        api_keys.create(connection, new, key_number(number), 1)


def used_each(amount: int) -> Figures:
    """One answered call that used so many input tokens, output tokens and nano-USD."""
    return Figures(requests=1, succeeded=1, input_tokens=amount, output_tokens=amount, cost_nano_usd=amount)


def limit_on(
    metric: Metric, interval: Interval | None, *, scope: Scope = Scope.API_KEY, scope_id: str = "key_1",
    models: tuple[str, ...] | None = None,
) -> Limit:  # fmt: skip
    return Limit(f"lim_{metric}_{interval}_{scope}_{models}", scope, scope_id, metric, interval, 1_000_000, models)


async def test_limit_opens_with_what_its_period_used_of_its_scope_and_models(books: Books) -> None:
    old = books.settlement("req_old", at=books.now - 400 * DAY, figures=used_each(100))
    await books.ledger.commit(
        Batch(
            settlements=[
                old,
                books.settlement("req_1", model="gpt-4o", figures=used_each(1)),
                books.settlement("req_2", model="gpt-4o-mini", figures=used_each(10)),
                books.settlement("req_3", key=2, model="gpt-4o", figures=used_each(1_000)),
            ]
        )
    )
    period = (Interval.HOUR, Interval.DAY, Interval.WEEK, Interval.MONTH)
    for interval in period:
        assert await books.open(limit_on(Metric.TOKENS, interval)) == (22, 0), interval
    assert await books.open(limit_on(Metric.TOKENS, Interval.MINUTE)) == (0, 0)
    assert await books.open(limit_on(Metric.TOKENS, Interval.LIFETIME)) == (222, 0)
    assert await books.open(limit_on(Metric.INPUT_TOKENS, Interval.DAY)) == (11, 0)
    assert await books.open(limit_on(Metric.OUTPUT_TOKENS, Interval.DAY)) == (11, 0)
    assert await books.open(limit_on(Metric.REQUESTS, Interval.LIFETIME)) == (3, 0)
    assert await books.open(limit_on(Metric.COST, Interval.DAY)) == (11, 0)
    assert await books.open(limit_on(Metric.COST, Interval.DAY, models=("gpt-4o",))) == (1, 0)
    assert await books.open(limit_on(Metric.COST, Interval.DAY, models=("gpt-*", "claude-*"))) == (11, 0)
    for scope, scope_id, used in (
        (Scope.USER, "user_1", 11), (Scope.PROJECT, "proj_2", 1_000), (Scope.ORGANIZATION, ORGANIZATION_ID, 1_011)
    ):  # fmt: skip
        assert await books.open(limit_on(Metric.COST, Interval.DAY, scope=scope, scope_id=scope_id)) == (used, 0), scope


@pytest.mark.parametrize("interval", list(Interval))
async def test_call_in_flight_is_charged_to_a_limit_made_meanwhile(books: Books, interval: Interval) -> None:
    await books.reserve("req_1", model="gpt-4o")
    await books.reserve("req_2", model="claude")
    await books.reserve("req_3", key=2, model="gpt-4o")
    limit = limit_on(Metric.TOKENS, interval, models=("gpt-*",))
    assert await books.open(limit) == (0, 0)
    for request_id, key, model in (("req_1", 1, "gpt-4o"), ("req_2", 1, "claude"), ("req_3", 2, "gpt-4o")):
        await books.settle(request_id, key=key, model=model)
    assert await books.sums(limit) == (12, 0, 0)


async def test_calls_in_flight_count_under_a_new_concurrency_limit(books: Books) -> None:
    for number in range(3):
        await books.reserve(f"req_{number}")
    limit = limit_on(Metric.CONCURRENCY, None, scope=Scope.PROJECT, scope_id="proj_1")
    assert await books.open(limit) == (0, 3)
    await books.reserve("req_3")
    assert await books.standing(limit) == (0, 4)
    await books.settle("req_0")
    await books.ledger.commit(Batch(voids=["req_1"]))
    await books.settle("req_3")
    assert await books.standing(limit) == (0, 1)
    assert await books.sums(limit) == (0, 1, 1)


async def test_limit_deleted_in_flight_leaves_the_others_exact(books: Books) -> None:
    kept = limit_on(Metric.REQUESTS, Interval.DAY)
    gone = replace(kept, id="lim_gone")
    await books.open(kept)
    await books.open(gone)
    await books.reserve("req_1")
    await books.database.change(lambda connection: limits.delete(connection, gone.id))
    await books.settle("req_1")
    assert await books.standing(kept) == (1, 0)
    with pytest.raises(NotFound):
        await books.database.read(lambda connection: limits.get(connection, gone.id))


async def test_limits_made_and_deleted_while_calls_run_stay_exact(books: Books) -> None:
    made = [replace(limit_on(Metric.REQUESTS, Interval.DAY), id=f"lim_{number}") for number in range(12)]

    async def call(first: int) -> None:
        for number in range(first, 60, 3):
            await books.reserve(f"req_{number}")
            await books.settle(f"req_{number}")

    async def administer() -> None:
        for limit in made:
            await books.open(limit)
        await books.database.change(lambda connection: limits.delete(connection, made[0].id))

    await asyncio.gather(call(0), call(1), call(2), administer())
    for limit in made[1:]:
        assert await books.sums(limit) == (60, 0, 0), limit.id


async def test_minute_limit_shows_what_the_last_minute_carries_over(books: Books) -> None:
    limit, minute = replace(limit_on(Metric.TOKENS, Interval.MINUTE), amount=5), books.now // 60 * 60
    row = {"limit_id": limit.id, "period_start": minute, "used": 12, "held": 3}

    def work(connection: Connection) -> None:
        limits.create(connection, limit, books.now)
        connection.execute(insert(limits.counter).values(row))

    await books.database.change(work)
    shown = [await books.shown(limit, minute + later) for later in (0, 59, 60, 120, 180)]
    assert [(one.used, one.held, one.remaining) for one in shown] == [
        (12, 3, 0), (12, 3, 0), (7, 0, 0), (2, 0, 3), (0, 0, 5),
    ]  # fmt: skip
    assert [one.resets_at for one in shown] == [minute + end for end in (60, 60, 120, 180, 240)]
