"""The audit finds nothing in what the ledger wrote, and names what somebody else wrote into it."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Connection, insert, text

from gateway.core.limits import Interval, Limit, Metric, Scope
from gateway.ledger.entries import Figures, Settlement
from gateway.sources import SystemClock
from gateway.store import audit, limit_opening
from gateway.store.holds import hold_item
from tests.team import Team, call, running_team


def calls(now: int) -> list[Settlement]:
    """Return two days' calls of both keys; PostgreSQL's ledger goes by its own clock, so `now` must be the present."""
    return [
        call("req_1", now - 90_000, Figures(1, 1, 100, 20, output_tokens=50, cost_nano_usd=3_000), model="gpt-4o"),
        call("req_2", now, Figures(1, 1, 10, cache_write_tokens=3, output_tokens=5, cost_nano_usd=700)),
        call("req_3", now, Figures(1, 0, 7, cost_nano_usd=None)),
        call("req_4", now, Figures(1, 1, 30, output_tokens=5, cost_nano_usd=900), key="key_2"),
    ]


@pytest.fixture
async def team(database_url: str) -> AsyncIterator[Team]:
    """A team that has called, with limits made afterwards on every scope, metric and interval."""
    async with running_team(database_url) as running:
        now = int(SystemClock().now())
        await running.settle(*calls(now))
        await running.database.change(lambda connection: _make_limits(connection, now))
        await running.settle(call("req_5", now, Figures(1, 1, 1_000, output_tokens=1)))
        yield running


def _make_limits(connection: Connection, now: int) -> None:
    scopes = ((Scope.ORGANIZATION, "org_gateway"), (Scope.PROJECT, "proj_2"), (Scope.API_KEY, "key_2"))
    for scope, scope_id in scopes:
        for metric in (Metric.REQUESTS, Metric.TOKENS, Metric.OUTPUT_TOKENS, Metric.COST):
            for interval in Interval:
                new = Limit(f"lim_{scope}_{metric}_{interval}", scope, scope_id, metric, interval, 10**12)
                limit_opening.create(connection, new, now)
    only_4o = Limit("lim_4o", Scope.USER, "user_1", Metric.COST, Interval.LIFETIME, 10**12, ("gpt-4o",))
    limit_opening.create(connection, only_4o, now)


async def faults(team: Team) -> dict[str, tuple[str, ...]]:
    """Return what the audit finds, by check."""
    found = await team.database.read(audit.checks)
    return {check.name: check.faults for check in found if check.faults}


async def test_audit_of_what_the_ledger_wrote_finds_nothing(team: Team) -> None:
    assert await faults(team) == {}
    examined = {check.name: check.examined for check in await team.database.read(audit.checks)}
    assert examined["usage_hour"] == examined["usage_day"] == 3
    assert examined["used"] == 3 * 4 * 5 + 1


@pytest.mark.parametrize(
    ("damage", "check", "words"),
    [
        ("UPDATE counter SET used = used + 1 WHERE limit_id = 'lim_4o'", "used", "used 3001, but it should be 3000"),
        ("UPDATE counter SET held = 5 WHERE limit_id = 'lim_4o'", "held", "held 5, but it should be 0"),
        ("UPDATE counter SET used = -1 WHERE limit_id = 'lim_4o'", "signs", "used -1, held 0"),
        ("UPDATE usage_hour SET requests = 9 WHERE api_key_id = 'key_2'", "usage_hour", "requests is 9, not 1"),
        ("DELETE FROM usage_day WHERE api_key_id = 'key_2'", "usage_day", "input_tokens is 0, not 30"),
        ("DELETE FROM usage WHERE api_key_id = 'key_2'", "used", "lim_api_key_requests_lifetime"),
    ],
)
async def test_audit_of_damaged_books_names_the_damage(team: Team, damage: str, check: str, words: str) -> None:
    await team.database.write(lambda connection: connection.execute(text(damage)))
    assert any(words in fault for fault in (await faults(team))[check])


async def test_audit_items_without_an_open_call_are_named(team: Team) -> None:
    item = {"request_id": "req_lost", "limit_id": "lim_4o", "period_start": 0, "amount": 7}
    await team.database.write(lambda connection: connection.execute(insert(hold_item), item))
    found = await faults(team)
    assert "req_lost" in found["holds"][0]
    assert found["held"] == ("limit lim_4o, period 0: held 0, but it should be 7",)
