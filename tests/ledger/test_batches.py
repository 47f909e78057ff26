"""Batches that the state machine rarely draws: one transaction in which calls depend on each other."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from msgspec.structs import replace

from gateway.core.limits import Interval, Metric
from gateway.ledger.effects import Batch
from gateway.ledger.entries import Grant, Refused, Source, Stale
from tests.ledger import books
from tests.ledger.books import ending, figures, limit
from tests.ledger.running import Desk, running


@asynccontextmanager
async def checked(url: str, folder: Path) -> AsyncIterator[Desk]:
    """A desk whose books agree at the end."""
    async with running(url, folder) as desk:
        yield desk
        assert await books.differences(desk.reader) == []


async def used(desk: Desk, limit_id: str) -> int:
    return int(await desk.reader.one(f"SELECT used FROM counter WHERE limit_id = '{limit_id}'"))  # noqa: S608 - a test's own


async def test_batch_of_calls_from_before_and_after_a_limit_charges_it_with_both(
    database_url: str, tmp_path: Path
) -> None:
    async with checked(database_url, tmp_path) as desk:
        before = await desk.admitted()
        await desk.add_limits(limit(Metric.TOKENS, 1_000))
        after = await desk.admitted()

        await desk.transactions.commit(Batch(settlements=[ending(*before), ending(*after)]))

        assert await used(desk, "lim_tokens_lifetime") == 60


async def test_batch_that_ends_a_call_has_room_for_the_next(database_url: str, tmp_path: Path) -> None:
    async with checked(database_url, tmp_path) as desk:
        await desk.add_limits(limit(Metric.CONCURRENCY, 1))
        first = await desk.admitted()

        answers = await desk.transactions.commit(Batch([desk.asked(), desk.asked()], [ending(*first)]))

        assert [type(answer) for answer in answers] == [Grant, Refused]


async def test_batch_with_a_sweep_and_the_real_end_keeps_the_real_one(database_url: str, tmp_path: Path) -> None:
    async with checked(database_url, tmp_path) as desk:
        await desk.add_limits(limit(Metric.TOKENS, 1_000))
        call = await desk.admitted()
        real = ending(*call)
        guess = msgspec.structs.replace(real, source=Source.SWEPT, figures=figures(10, 3))

        await desk.transactions.commit(Batch(settlements=[guess, real]))

        assert await desk.entries() == [(call[0].request_id, "final")]
        assert await used(desk, "lim_tokens_lifetime") == 30


async def test_correction_that_is_replayed_counts_once(database_url: str, tmp_path: Path) -> None:
    async with checked(database_url, tmp_path) as desk:
        await desk.add_limits(limit(Metric.TOKENS, 1_000))
        call = await desk.admitted()
        real = ending(*call)
        guess = msgspec.structs.replace(real, source=Source.SWEPT, figures=figures(10, 3))
        for one in (guess, real, real, guess):
            await desk.transactions.commit(Batch(settlements=[one]))

        assert await desk.entries() == [(call[0].request_id, "correction"), (call[0].request_id, "final")]
        assert await used(desk, "lim_tokens_lifetime") == 30


async def test_late_end_charges_limits_that_were_made_since(database_url: str, tmp_path: Path) -> None:
    """The hold they would have joined is gone, but they bind the caller and opened with what was recorded then."""
    async with checked(database_url, tmp_path) as desk:
        call, lost = await desk.admitted(), await desk.admitted()
        guess = msgspec.structs.replace(ending(*call), source=Source.SWEPT, figures=figures(10, 3))
        await desk.transactions.commit(Batch(settlements=[guess], voids=[lost[0].request_id]))
        await desk.add_limits(limit(Metric.TOKENS, 1_000))
        assert await used(desk, "lim_tokens_lifetime") == 13

        await desk.transactions.commit(Batch(settlements=[ending(*call), ending(*lost)]))

        assert await used(desk, "lim_tokens_lifetime") == 60


async def test_call_under_a_limit_that_was_deleted_is_stale_and_ends_in_peace(
    database_url: str, tmp_path: Path
) -> None:
    async with checked(database_url, tmp_path) as desk:
        await desk.add_limits(limit(Metric.TOKENS, 1_000))
        call = await desk.admitted()
        await desk.database.change(lambda connection: books.delete_limit(connection, "lim_tokens_lifetime"))

        stale = desk.asked()
        current = replace(stale, revision=stale.revision + 1)
        answers = await desk.transactions.commit(Batch([stale, current], [ending(*call)]))

        assert [type(answer) for answer in answers] == [Stale, Stale]
        assert await desk.holds() == 0
        assert await desk.reader.rows("SELECT * FROM counter") == []


async def test_minute_that_ran_over_leaves_less_of_the_next(database_url: str, tmp_path: Path) -> None:
    """Held 15, used 100 under 60 a minute: 40 spill over. Whatever minute it is, the sum is what was used."""
    async with checked(database_url, tmp_path) as desk:
        await desk.add_limits(limit(Metric.TOKENS, 60, Interval.MINUTE))
        call = await desk.admitted()
        assert call[1].items[0].amount == 15

        await desk.transactions.commit(Batch(settlements=[ending(*call, figures(50, 50))]))

        [answer] = await desk.transactions.commit(Batch([desk.asked()]))
        assert isinstance(answer, Refused)
        [refusal] = answer.refusals
        wait = refusal.retry_after_seconds(answer.now)
        assert wait is not None
        assert 0 < wait <= 120
        assert time.time() - 120 < refusal.period_start <= time.time()
