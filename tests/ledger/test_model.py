"""The ledger against its model, step by step, with the invariants checked in the database after every step."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection

from gateway.core.limits import Interval, Limit, Metric, Scope
from gateway.ledger.effects import Batch
from gateway.ledger.entries import Grant, Refused, Reservation, Settlement, Stale
from gateway.store import jobs
from gateway.store import limits as stored_limits
from gateway.store.engine import is_sqlite
from gateway.store.jobs import Job
from tests.clock import SettableClock
from tests.ledger import books
from tests.ledger.books import ALICE, BOB, SECOND, ending, limit, reservation
from tests.ledger.model import Model

EVERYBODY = 100
NO_LEASE_US = -3_600 * SECOND
EMPTY = ("hold", "hold_item", "counter", '"limit"', "usage", "usage_hour", "usage_day", "owner", "job")

callers = st.sampled_from((ALICE, BOB))
models = st.sampled_from(("gpt-4o", "o3"))
metrics = st.sampled_from(tuple(Metric))
scopes = st.sampled_from(
    (
        (Scope.ORGANIZATION, "org_gateway"),
        (Scope.PROJECT, "proj_1"),
        (Scope.USER, "user_2"),
        (Scope.API_KEY, "key_1"),
    )
)
patterns = st.sampled_from((None, ("gpt-*",), ("o3", "o4")))
tokens = st.integers(0, 40)
lines = st.sampled_from((0, 0, 3))
"""How many calls a batch makes; most calls are none."""


class LedgerMachine(RuleBasedStateMachine):
    """Two processes on one database: `us`, and `them`, who sweep what we leave behind."""

    def __init__(self, url: str, intervals: tuple[Interval, ...]) -> None:
        super().__init__()
        self.intervals = intervals
        self.clock = SettableClock(time.time() if not is_sqlite(url) else 1_700_000_000.0)
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.numbers = count(1)
        self.past: list[tuple[Reservation, Grant]] = []
        self.run(self._open(url))

    def run(self, work: Any) -> Any:
        """Run a coroutine to its end."""
        return self.runner.run(work)

    async def _open(self, url: str) -> None:
        self.us = books.transactions(url, "us", lambda: int(self.clock.now() * SECOND))
        self.stack.push_async_callback(self.us.close)
        self.them = books.transactions(url, "them", lambda: int(self.clock.now() * SECOND))
        self.stack.push_async_callback(self.them.close)
        self.database = books.administration(url, self.us)
        self.stack.push_async_callback(self.database.close)
        self.reader = await self.stack.enter_async_context(books.reading(url))
        await self.database.change(_empty)
        self.model = Model(await self.reader.one("SELECT value FROM revision"))

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()

    @property
    def now(self) -> int:
        return int(self.clock.now())

    def change(self, work: Callable[..., Any]) -> None:
        self.run(self.database.change(work))

    # --- administration ---

    @rule(data=st.data(), metric=metrics, scope=scopes, amount=st.integers(0, 400), patterns=patterns)
    def add_limit(
        self, data: st.DataObject, metric: Metric, scope: tuple[Scope, str], amount: int, patterns: Any
    ) -> None:
        interval = data.draw(st.sampled_from(self.intervals))
        if metric in (Metric.REQUESTS, Metric.CONCURRENCY):
            amount = -(-amount // 80)
        id = f"lim_{next(self.numbers)}"
        new = limit(metric, amount, interval, id=id, scope=scope[0], scope_id=scope[1], models=patterns)
        self.run(books.add_limit(self.database, new, self.now))
        self.model.add_limit(new, self.now)

    @initialize(data=st.data())
    def begin_with_limits(self, data: st.DataObject) -> None:
        for metric, amount in ((Metric.TOKENS, 90), (Metric.REQUESTS, 4)):
            interval = data.draw(st.sampled_from(self.intervals))
            new = limit(metric, amount, interval, id=f"lim_{next(self.numbers)}")
            self.run(books.add_limit(self.database, new, self.now))
            self.model.add_limit(new, self.now)

    @precondition(lambda self: self.model.limits)
    @rule(data=st.data(), amount=st.integers(0, 400))
    def change_limit(self, data: st.DataObject, amount: int) -> None:
        one = data.draw(st.sampled_from(sorted(self.model.limits.values(), key=lambda one: one.id)))
        self.change(lambda connection: stored_limits.set_amount(connection, one.id, amount))
        self.model.change_limit(Limit(one.id, one.scope, one.scope_id, one.metric, one.interval, amount, one.models))

    @precondition(lambda self: len(self.model.limits) > 2)
    @rule(data=st.data())
    def delete_limit(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.model.limits)))
        self.change(lambda connection: stored_limits.delete(connection, id))
        self.model.delete_limit(id)

    # --- time ---

    @rule(seconds=st.sampled_from((1, 20, 61, 200, 3_700, 90_000)))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    # --- calls ---

    @rule(data=st.data(), caller=callers, model=models, output_tokens=tokens, stale=st.booleans(), lines=lines)
    def reserve(
        self, data: st.DataObject, caller: Any, model: str, output_tokens: int, stale: bool, lines: int
    ) -> None:
        asked = self._ask(caller, model, output_tokens, stale=stale and data.draw(st.booleans()), batch_lines=lines)
        self.commit([asked], [], [])

    @rule(data=st.data())
    def commit_batch(self, data: st.DataObject) -> None:
        """Settle, void and reserve in one transaction, with the same call twice if it comes so."""
        asked = [
            self._ask(data.draw(callers), data.draw(models), data.draw(tokens))
            for _ in range(data.draw(st.integers(0, 4)))
        ]
        ended = [self._draw_ending(data) for _ in range(data.draw(st.integers(0, 3)) if self.past else 0)]
        voided = [self._draw_past(data)[0].request_id for _ in range(data.draw(st.integers(0, 2)) if self.past else 0)]
        ids = {one.request_id for one in ended}
        self.commit(asked, ended, [id for id in voided if id not in ids])

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        self.commit([], [self._draw_ending(data)], [])

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def void(self, data: st.DataObject) -> None:
        self.commit([], [], [self._draw_past(data)[0].request_id])

    @precondition(lambda self: self.model.held)
    @rule(data=st.data(), progress=st.tuples(tokens, tokens))
    def beat(self, data: st.DataObject, progress: tuple[int, int]) -> None:
        id = data.draw(st.sampled_from(sorted(self.model.held)))
        self.run(self.us.beat({id: progress}))
        self.model.held[id].progress = progress

    @precondition(lambda self: self.model.held)
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        """The provider has answered and goes on: the hold is a job's, and stays whatever becomes of us."""
        id = data.draw(st.sampled_from(sorted(self.model.held)))
        begun = Job(id, "responses", "main", f"resp_{id}", "{}", 0, 0, 0)
        self.run(self.database.write(lambda connection: jobs.record(connection, begun)))
        self.model.keep(id)

    @precondition(lambda self: self.model.held)
    @rule(data=st.data())
    def sweep(self, data: st.DataObject) -> None:
        """Another process settles our calls, and we some of them between its reading and its writing."""
        found: list[Settlement] = self.run(self.them.abandoned(NO_LEASE_US, EVERYBODY))
        assert {one.request_id: one.figures for one in found} == {
            id: self.model.swept(held) for id, held in self.model.held.items() if not held.is_kept
        }
        if data.draw(st.booleans()):
            self.commit([], [self._draw_ending(data)], [])
        self._settle(found, self.them)

    # --- both at once ---

    def commit(self, asked: list[Reservation], ended: list[Settlement], voided: list[str]) -> None:
        """Give one batch to the ledger and to the model."""
        answers = self.run(self.us.commit(Batch(asked, ended, voided)))
        for one in asked:
            self.model.open_for(one, self.now)
        self._expect_settled(ended)
        for id in voided:
            self.model.void(id)
        for one, answer in zip(asked, answers, strict=True):
            self._expect(one, answer)

    def _expect(self, asked: Reservation, answer: Grant | Refused | Stale) -> None:
        if asked.revision != self.model.revision:
            assert answer == Stale(self.model.revision)
        elif self.model.fits(asked, self.now):
            assert isinstance(answer, Grant)
            self.model.admit(asked, answer, self.now)
            self.past.append((asked, answer))
        else:
            assert isinstance(answer, Refused)
            assert answer.refusals

    def _settle(self, ended: list[Settlement], process: Any) -> None:
        self.run(process.commit(Batch(settlements=ended)))
        self._expect_settled(ended)

    def _expect_settled(self, ended: list[Settlement]) -> None:
        for one in ended:
            self.model.open_minutes(one, self.now)
        first = {one.request_id: one for one in reversed(ended)}
        for one in dict.fromkeys(first[one.request_id] for one in ended):
            self.model.settle(one, self.now)

    def _ask(
        self, caller: Any, model: str, output_tokens: int, *, stale: bool = False, batch_lines: int = 0
    ) -> Reservation:
        revision = self.model.revision - stale
        bound = self.model.binding(caller, model)
        id = f"req_{next(self.numbers)}"
        return reservation(
            id, bound, revision, caller=caller, model=model, output_tokens=output_tokens, batch_lines=batch_lines
        )

    def _draw_past(self, data: st.DataObject) -> tuple[Reservation, Grant]:
        return self.past[data.draw(st.integers(0, len(self.past) - 1))]

    def _draw_ending(self, data: st.DataObject) -> Settlement:
        asked, grant = self._draw_past(data)
        requests = data.draw(st.integers(0, asked.demand.batch_lines or 1))
        return ending(asked, grant, books.figures(data.draw(tokens), data.draw(tokens), requests))

    # --- what is always true ---

    @invariant()
    def books_agree(self) -> None:
        assert self.run(books.differences(self.reader)) == []

    @invariant()
    def ledger_is_as_the_model(self) -> None:
        assert sorted(self.run(books.records(self.reader)), key=str) == sorted(self.model.records, key=str)
        items = self.run(self.reader.rows("SELECT request_id, limit_id, period_start, amount FROM hold_item"))
        held = [(id, *key, amount) for id, one in self.model.held.items() for key, amount in one.amounts.items()]
        assert sorted(items) == sorted(held)
        rows = self.run(self.reader.rows("SELECT limit_id, period_start, used FROM counter ORDER BY 1, 2"))
        minutes = {id for id, one in self.model.limits.items() if one.interval is Interval.MINUTE}
        assert {row[:2]: row[2] for row in rows if row[0] in minutes} == self.model.minutes


def _empty(connection: Connection) -> None:
    for table in EMPTY:
        connection.exec_driver_sql(f"DELETE FROM {table}")  # noqa: S608 - a table of EMPTY


def test_ledger_under_any_history_does_what_the_model_does(database_url: str) -> None:
    intervals = (
        tuple(Interval)
        if is_sqlite(database_url)
        # The clock of PostgreSQL cannot be set: periods that do not end during the test.
        else (Interval.LIFETIME, Interval.MONTH)
    )

    async def people() -> None:
        ledger = books.transactions(database_url, "people", lambda: 0)
        database = books.administration(database_url, ledger)
        try:
            await books.settle_in(database, 0)
        finally:
            await database.close()
            await ledger.close()

    asyncio.run(people())
    run_state_machine_as_test(
        lambda: LedgerMachine(database_url, intervals),  # type: ignore[arg-type]  # whatever makes a machine serves
        settings=settings(
            max_examples=100 if is_sqlite(database_url) else 30,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
