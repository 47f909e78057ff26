"""Values that no database takes fail alone; whoever is in the same batch is served."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from gateway.core.errors import GatewayFault
from gateway.core.limits import Interval, Metric
from gateway.ledger.entries import Figures, Grant, Item, Reservation, Subject
from gateway.store.engine import is_sqlite
from tests.ledger import books
from tests.ledger.books import ending, limit
from tests.ledger.running import Desk, running

TOO_LARGE = 2**63
LONE_SURROGATE = "gpt-\ud800"


def named(asked: Reservation, model: str) -> Reservation:
    return replace(asked, subject=Subject("chat", model, model, "main"))


async def batch_of(desk: Desk, poison: Reservation) -> list[object]:
    """Reserve the poison among neighbours, all in one batch."""
    desk.gate.before.clear()
    first = asyncio.create_task(desk.ledger.reserve(desk.asked()))
    await desk.gate.reached.wait()
    asked = [desk.asked(), poison, desk.asked()]
    tasks = [asyncio.create_task(desk.ledger.reserve(one)) for one in asked]
    await asyncio.sleep(0)
    desk.gate.open()
    return list(await asyncio.gather(first, *tasks, return_exceptions=True))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda asked: named(asked, LONE_SURROGATE),
        lambda asked: replace(asked, input_tokens=TOO_LARGE),
        lambda asked: replace(asked, input_rate=TOO_LARGE),
    ],
    ids=["surrogate", "tokens", "rate"],
)
async def test_poisoned_reservation_fails_alone(
    database_url: str, tmp_path: Path, spoil: Callable[[Reservation], Reservation], caplog: pytest.LogCaptureFixture
) -> None:
    async with running(database_url, tmp_path) as desk:
        await desk.add_limits(limit(Metric.REQUESTS, 10))
        poison = spoil(desk.asked())
        with caplog.at_level(logging.CRITICAL + 1):
            answers = await batch_of(desk, poison)

        assert [type(answer) for answer in answers] == [Grant, Grant, GatewayFault, Grant]
        assert desk.ledger.available
        assert await desk.holds() == 3
        assert await books.differences(desk.reader) == []


async def test_nul_in_a_model_name_harms_nobody(database_url: str, tmp_path: Path) -> None:
    """PostgreSQL cannot store it, SQLite can."""
    async with running(database_url, tmp_path) as desk:
        await desk.add_limits(limit(Metric.REQUESTS, 10))

        answers = await batch_of(desk, named(desk.asked(), "gpt\0"))

        expected = Grant if is_sqlite(database_url) else GatewayFault
        assert [type(answer) for answer in answers] == [Grant, Grant, expected, Grant]
        assert await books.differences(desk.reader) == []


@pytest.mark.parametrize(
    "change",
    [
        {"figures": Figures(requests=1, input_tokens=TOO_LARGE)},
        {"upstream_request_id": LONE_SURROGATE},
        {"admitted_at_us": TOO_LARGE},
        {"items": (Item("lim_tokens_lifetime", Metric.TOKENS, Interval.LIFETIME, TOO_LARGE, 30),)},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_poisoned_settlement_is_left_to_the_sweep(
    database_url: str, tmp_path: Path, change: dict[str, object]
) -> None:
    """Its call was sent: it must not hold for ever, nor be free."""
    async with running(database_url, tmp_path) as desk:
        await desk.add_limits(limit(Metric.TOKENS, 1_000))
        bad, good = await desk.admitted(), await desk.admitted()

        poison = msgspec.structs.replace(ending(*bad), **change)
        answers = await asyncio.gather(
            desk.ledger.settle(poison), desk.ledger.settle(ending(*good)), return_exceptions=True
        )

        assert [type(answer) for answer in answers] == [GatewayFault, type(None)]
        assert desk.ledger.available
        [swept] = await desk.transactions.abandoned(60 * books.SECOND, 100)
        await desk.ledger.settle(swept)
        assert await desk.holds() == 0
        assert await desk.reader.one("SELECT used FROM counter") == 30 + 10
        assert await books.differences(desk.reader) == []
