"""The audit finds nothing in what the ledger wrote, and names what somebody else wrote into it."""

# ruff: noqa: E501, S608 - a damage stands on a line; statements are put together from names of columns and numbers

from collections.abc import AsyncIterator
from functools import partial

import msgspec
import pytest
from sqlalchemy import Connection, delete, func, insert, select, text, update

from gateway.core.limits import Interval, Limit, Metric, Scope
from gateway.ledger.entries import Figures, Settlement, Subject
from gateway.sources import SystemClock, random_base62
from gateway.store import audit, limit_opening, limits
from gateway.store.audit import Check, Fault
from gateway.store.audit.findings import MOST_FAULTS, check
from gateway.store.audit.repair import AT_ONCE, Stamp, mend
from gateway.store.audit_log import audit_log
from gateway.store.holds import hold_item
from gateway.store.limits import counter
from gateway.store.usage import usage
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


async def audited(team: Team) -> dict[str, Check]:
    """Return all checks by name."""
    now = int(SystemClock().now())
    return {check.name: check for check in await team.database.read(lambda connection: audit.checks(connection, now))}


async def faults(team: Team) -> dict[str, list[str]]:
    """Return what the audit finds, in words by check."""
    return {
        name: [fault.words for fault in check.faults] for name, check in (await audited(team)).items() if check.faults
    }


async def mended(team: Team) -> list[str]:
    """Repair until nothing is left to repair; return what was done."""
    stamp = Stamp(int(SystemClock().now()), random_base62)
    done: list[str] = []
    while words := await mend(team.database, (await audited(team)).values(), stamp):
        done += words
    return done


async def run(team: Team, statements: str) -> None:
    """Do to the books what nobody should."""
    for statement in statements.split(";"):
        await team.database.write(partial(_execute, statement))


def _execute(statement: str, connection: Connection) -> None:
    connection.execute(text(statement))


async def events(team: Team) -> int:
    """How many repairs are on record."""
    query = select(func.count()).select_from(audit_log)
    return await team.database.read(lambda connection: connection.execute(query).scalar_one())


async def records(team: Team) -> list[tuple[object, ...]]:
    """All usage records, whole."""
    query = select(usage).order_by(usage.c.admitted_at_us, usage.c.request_id, usage.c.entry)
    return await team.database.read(lambda connection: [tuple(row) for row in connection.execute(query)])


async def test_audit_of_what_the_ledger_wrote_finds_nothing(team: Team) -> None:
    assert await faults(team) == {}
    checks = await audited(team)
    assert checks["usage_hour"].examined == checks["usage_day"].examined == 3
    assert checks["calls"].examined == 5
    assert checks["used"].examined >= 3 * 4 * 6 + 1
    assert [check.notes for check in checks.values() if check.notes] == []
    assert await mended(team) == []


DAMAGES = [
    ("UPDATE counter SET used = used + 1 WHERE limit_id = 'lim_4o'", "used", "0.000003001 USD, the rollups have 0.000003 USD"),
    ("UPDATE counter SET used = 0 WHERE limit_id = 'lim_organization_tokens_day'", "used", "used is 0 tokens, the rollups"),
    ("DELETE FROM counter WHERE limit_id = 'lim_api_key_requests_month'", "used", "used is 0 requests, the rollups have 1"),
    ("UPDATE counter SET held = 5 WHERE limit_id = 'lim_4o'", "held", "held is 0.000000005 USD, open calls hold 0 USD"),
    ("UPDATE counter SET used = -1 WHERE limit_id = 'lim_4o'", "signs", "used -1, held 0"),
    ("UPDATE counter SET used = -7 WHERE limit_id = 'lim_organization_tokens_minute'", "signs", "used -7, held 0"),
    ("UPDATE counter SET held = -3 WHERE limit_id = 'lim_organization_tokens_minute'", "signs", "held -3"),
    ("UPDATE usage_hour SET requests = 9 WHERE api_key_id = 'key_2'", "usage_hour", "requests is 9, the records have 1"),
    ("UPDATE usage_day SET cost_nano_usd = 1 WHERE api_key_id = 'key_2'", "usage_day", "cost_nano_usd is 1, its hours have 900"),
    ("DELETE FROM usage_day WHERE api_key_id = 'key_2'", "usage_day", "has no row: requests is 0, its hours have 1"),
    ("DELETE FROM usage_hour", "usage_hour", "has no row: requests is 0, the records have 1"),
    ("UPDATE usage SET input_tokens = 31 WHERE api_key_id = 'key_2'", "usage_hour", "input_tokens is 30, the records have 31"),
    ("DELETE FROM usage WHERE api_key_id = 'key_2'", "usage_hour", "requests is 1, the records have 0"),
    ("DELETE FROM revision", "revision", "there are 0 revisions"),
    ("INSERT INTO revision VALUES (2, 900)", "revision", "there are 2 revisions"),
    ("INSERT INTO hold_item VALUES ('req_lost', 'lim_4o', 0, 7)", "holds", "req_lost holds amounts"),
    (
        "INSERT INTO hold (request_id, owner, admitted_at_us, api_key_id, project_id, operation, model,"
        " requested_model, upstream, input_tokens, input_rate, output_rate) SELECT request_id, 'gone', admitted_at_us,"
        " api_key_id, project_id, operation, model, requested_model, upstream, 1, 1, 1 FROM usage"
        " WHERE request_id = 'req_4'; INSERT INTO hold_item VALUES ('req_4', 'lim_4o', 0, 7);"
        " UPDATE counter SET held = 7 WHERE limit_id = 'lim_4o'",
        "calls",
        "req_4 was charged, and still holds",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "check", "words"), DAMAGES)
async def test_audit_of_damaged_books_names_the_damage_and_repairs_it(
    team: Team, damage: str, check: str, words: str
) -> None:
    await run(team, damage)
    before = await records(team)
    found = await faults(team)
    assert any(words in fault for fault in found[check]), found
    done = await mended(team)
    assert done != []
    assert await faults(team) == {}
    assert await records(team) == before
    assert await events(team) == len(done)
    assert await mended(team) == []


async def test_audit_takes_a_second_charge_back_with_a_correction(team: Team) -> None:
    columns = ", ".join(column.name for column in usage.columns if column.name != "admitted_at_us")
    await run(
        team,
        f"INSERT INTO usage (admitted_at_us, {columns}) SELECT admitted_at_us + 5, {columns} FROM usage "
        "WHERE request_id = 'req_4'",
    )
    before = await records(team)
    assert "req_4 was charged 2 times" in (await faults(team))["calls"][0]
    assert any("took back the second charge of req_4" in words for words in await mended(team))
    assert await faults(team) == {}
    after = await records(team)
    (added,) = [row for row in after if row not in before]
    assert dict(zip(usage.columns.keys(), added, strict=True))["entry"] == "correction"
    assert len(after) == len(before) + 1
    assert await mended(team) == []


@pytest.mark.parametrize(
    ("damage", "check", "words"),
    [
        ("UPDATE usage SET upstream_cost_nano_usd = -5 WHERE request_id = 'req_4'", "amounts", "req_4"),
        ("UPDATE usage SET entry = 'correction' WHERE request_id = 'req_4'", "calls", "no final record"),
    ],
)
async def test_audit_names_a_record_that_cannot_be_and_leaves_it(
    team: Team, damage: str, check: str, words: str
) -> None:
    await run(team, damage)
    before = await records(team)
    assert words in (await faults(team))[check][0]
    await mended(team)
    assert list(await faults(team)) == [check]
    assert await records(team) == before


async def test_audit_names_a_correction_that_takes_too_much(team: Team) -> None:
    columns = [column.name for column in usage.columns if column.name not in ("entry", "input_tokens")]
    names = ", ".join(columns)
    await run(
        team,
        f"INSERT INTO usage (entry, input_tokens, {names}) SELECT 'correction', -40, {names} FROM usage "
        "WHERE request_id = 'req_4'",
    )
    assert (await faults(team))["amounts"] == ["req_4 with its correction: input_tokens is -10"]


async def test_audit_names_a_limit_of_calls_that_let_too_many_in(team: Team) -> None:
    now = int(SystemClock().now())
    limit = Limit("lim_few", Scope.ORGANIZATION, "org_gateway", Metric.REQUESTS, Interval.MINUTE, 3)

    def let_in(connection: Connection) -> None:
        limit_opening.create(connection, limit, now - 7_200)
        connection.execute(update(counter).where(counter.c.limit_id == "lim_few").values(used=4, period_start=now + 5))

    await team.database.write(let_in)
    assert "4 requests used and 0 requests held of 3 requests" in (await faults(team))["admission"][0]


async def test_audit_notes_a_budget_that_went_over(team: Team) -> None:
    await team.database.write(lambda connection: limits.set_amount(connection, "lim_4o", 2_000))
    checks = await audited(team)
    assert checks["admission"].faults == ()
    assert "0.000003 USD used and 0 USD held of 0.000002 USD" in checks["admission"].notes[0]


async def test_audit_names_calls_that_nobody_settles(team: Team) -> None:
    now = int(SystemClock().now())
    await run(
        team,
        "INSERT INTO hold (request_id, owner, admitted_at_us, api_key_id, project_id, operation, model,"
        " requested_model, upstream, input_tokens, input_rate, output_rate)"
        f" VALUES ('req_9', 'gone', {(now - 900) * 1_000_000}, 'key_1', 'proj_1', 'chat', 'm', 'm', 'main', 1, 1, 1)",
    )
    checks = await audited(team)
    assert (checks["leases"].faults, len(checks["leases"].notes)) == ((), 1)
    await run(team, f"INSERT INTO owner VALUES ('living', {now * 1_000_000})")
    assert "1 calls are open of a process that was last seen on" in (await faults(team))["leases"][0]
    await run(team, "INSERT INTO job VALUES ('req_9', 'responses', 'main', 'resp_1', '{}', 0, 1, 1)")
    assert "leases" not in await faults(team)


async def test_audit_takes_rollups_at_their_word_whose_records_were_forgotten(team: Team) -> None:
    midnight = int(SystemClock().now()) // 86_400 * 86_400
    await team.database.write(lambda connection: connection.execute(delete(usage)))
    assert "usage_hour" in await faults(team)
    await run(team, f"INSERT INTO retention (id, kept_since) VALUES (1, {midnight + 86_400})")
    checks = await audited(team)
    assert [check.name for check in checks.values() if check.faults] == []
    assert "were forgotten" in checks["usage_hour"].notes[0]
    assert await mended(team) == []


async def test_audit_counts_what_was_called_by_an_alias(team: Team) -> None:
    """A limit on the alias counts from the period after its making on; in the first one nobody can tell."""
    now = int(SystemClock().now())
    limit = Limit("lim_alias", Scope.USER, "user_1", Metric.REQUESTS, Interval.HOUR, 100, ("fast",))
    await team.database.write(lambda connection: limit_opening.create(connection, limit, now - 7_200))
    hour = now // 3_600 * 3_600
    opening = update(counter).where(counter.c.limit_id == "lim_alias").values(period_start=hour - 7_200)
    await team.database.write(lambda connection: connection.execute(opening))
    late = call("req_8", hour, Figures(1, 1, 4), model="gpt-4o")
    await team.settle(msgspec.structs.replace(late, subject=Subject("chat", "gpt-4o", "fast", "main")))
    await run(team, f"DELETE FROM counter WHERE limit_id = 'lim_alias' AND period_start = {hour}")
    assert "hour, used is 0 requests" not in str(await faults(team))
    assert "for fast, in the hour from" in (await faults(team))["used"][0]
    await mended(team)
    assert await faults(team) == {}


def test_audit_keeps_few_of_very_many_faults() -> None:
    found = check("any", "a promise", 1, (Fault(f"fault {number}") for number in range(MOST_FAULTS + 2)))
    assert (len(found.faults), found.has_more) == (MOST_FAULTS, True)


async def test_audit_repairs_more_than_fit_into_one_transaction(team: Team) -> None:
    number = AT_ONCE + 10
    many = [{"request_id": f"req_{i}", "limit_id": "lim_4o", "period_start": 0, "amount": 1} for i in range(number)]
    await team.database.write(lambda connection: connection.execute(insert(hold_item), many))
    assert len((await audited(team))["holds"].faults) == number
    assert len(await mended(team)) >= number
    assert await faults(team) == {}
