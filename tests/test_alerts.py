"""Thresholds are told once per period, by one process, and again until they arrive."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Connection, func, select

from gateway.alerts import (
    CLAIM_SECONDS,
    KEPT_SECONDS,
    MAIL,
    MOST_AT_ONCE,
    MOST_ATTEMPTS,
    WEBHOOK,
    Alerts,
    wait_seconds,
)
from gateway.core.limits import DAY_SECONDS, MAX_AMOUNT, Interval, Limit, Metric, Scope, period_start
from gateway.core.notices import Notice
from gateway.couriers.courier import Courier
from gateway.couriers.destinations import Hook, MailServer, signing_key
from gateway.couriers.mail import MailCourier
from gateway.couriers.webhook import WebhookCourier
from gateway.ledger.entries import Figures
from gateway.metrics import Metrics
from gateway.store import limit_opening, notices, spend_alerts
from gateway.store.limits import ORGANIZATION_ID
from gateway.store.notices import notice
from gateway.store.spend_alerts import SpendAlert
from gateway.store.thresholds import CLOSED_DAYS_SECONDS
from tests.gateway import running_gateway
from tests.mailbox import Mailbox, running_mailbox
from tests.patience import PATIENCE_SECONDS
from tests.provider import Provider, compose, running_provider
from tests.team import NOW, Team, call, running_team

DOLLAR = 1_000_000_000
MONTH_SECONDS = 31 * 86_400
OPS = ("ops@example.com",)


@pytest.fixture
async def team(database_url: str) -> AsyncIterator[Team]:
    async with running_team(database_url) as made:
        yield made


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with running_mailbox() as running:
        yield running


@asynccontextmanager
async def watching(
    team: Team, mailbox: Mailbox | None = None, provider: Provider | None = None, percents: Sequence[int] = (80, 100)
) -> AsyncIterator[Alerts]:
    """A watch over the team's database that mails and posts where it is given a place to."""
    couriers: dict[str, Courier] = {}
    if mailbox is not None:
        couriers[MAIL] = MailCourier(MailServer("127.0.0.1", mailbox.port), "gateway@example.org")
    if provider is not None:
        couriers[WEBHOOK] = WebhookCourier(Hook(provider.url, signing_key("0123456789abcdef"), allows_private=True))
    alerts = Alerts(team.database, team.clock, couriers, Metrics(), recipients=OPS, percents=percents)
    try:
        yield alerts
    finally:
        await alerts.close()


async def spend(team: Team, dollars: float, *, key: str = "key_1", at: float = NOW) -> None:
    """Have a key spend so much."""
    figures = Figures(1, 1, 10, cost_nano_usd=round(dollars * DOLLAR))
    await team.settle(call(f"req_{uuid4()}", at, figures, key=key))


async def alert(team: Team, dollars: float, scope: Scope = Scope.PROJECT, scope_id: str = "proj_1") -> SpendAlert:
    """Set a spend alert."""
    made = SpendAlert(f"alert_{scope_id}", scope, scope_id, round(dollars * DOLLAR), ("ada@example.com",), "[AI]")
    await team.database.change(lambda connection: spend_alerts.create(connection, made, NOW))
    return made


async def rows(team: Team) -> int:
    return await team.database.read(
        lambda connection: connection.execute(select(func.count()).select_from(notice)).scalar_one()
    )


async def test_alert_is_mailed_and_posted_once_a_month(team: Team, mailbox: Mailbox, provider: Provider) -> None:
    provider.always(lambda _: compose(200, {}, b""))
    await alert(team, 5)
    async with watching(team, mailbox, provider) as alerts:
        await spend(team, 4.99)
        await alerts.round()
        assert await rows(team) == 0
        await spend(team, 0.01)
        for _ in range(3):
            await alerts.round()
        letter = await mailbox.letter()
        assert letter.recipients == ("ada@example.com",)
        assert letter.message["Subject"] == "[AI] Project Project 1 has spent $5 this month"
        event = json.loads((await provider.request()).body)
        assert (event["type"], event["data"]["threshold"], event["data"]["used"]) == ("spend_alert.reached", "5", "5")
        assert (event["data"]["scope_name"], event["data"]["percent"]) == ("Project 1", None)
        await spend(team, 100)
        await alerts.round()
        team.clock.advance(MONTH_SECONDS)
        await alerts.round()
        assert (len(mailbox.letters), len(provider.requests)) == (1, 1)
        await spend(team, 6, at=team.clock.now())
        await alerts.round()
        assert (len(mailbox.letters), len(provider.requests)) == (2, 2)


async def test_replicas_that_look_at_once_tell_once(team: Team, mailbox: Mailbox, provider: Provider) -> None:
    provider.always(lambda _: compose(200, {}, b""))
    await alert(team, 1)
    await alert(team, 1, Scope.ORGANIZATION, ORGANIZATION_ID)
    await spend(team, 2)
    async with (
        watching(team, mailbox, provider) as one,
        watching(team, mailbox, provider) as two,
        watching(team, mailbox, provider) as three,
    ):
        for _ in range(3):
            await asyncio.gather(*(alerts.round() for alerts in (one, two, three)))
    assert (len(mailbox.letters), len(provider.requests)) == (2, 2)


async def test_alert_of_the_organization_counts_every_project(team: Team, mailbox: Mailbox) -> None:
    await alert(team, 5, Scope.ORGANIZATION, ORGANIZATION_ID)
    async with watching(team, mailbox) as alerts:
        await spend(team, 3)
        await alerts.round()
        assert mailbox.letters == []
        await spend(team, 2, key="key_2")
        await alerts.round()
        assert "The organization has spent $5 this month" in str((await mailbox.letter()).message["Subject"])


async def test_days_that_are_over_count_and_a_late_call_of_theirs_is_noticed_within_minutes(
    team: Team, mailbox: Mailbox
) -> None:
    yesterday = NOW - DAY_SECONDS
    assert period_start(Interval.MONTH, yesterday) == period_start(Interval.MONTH, NOW)
    await alert(team, 5)
    await spend(team, 3, at=yesterday)
    async with watching(team, mailbox) as alerts:
        await spend(team, 1)
        await alerts.round()
        await spend(team, 1, at=yesterday)
        team.clock.advance(CLOSED_DAYS_SECONDS)
        await alerts.round()
        assert "has spent $5 this month" in str((await mailbox.letter()).message["Subject"])
        assert len(mailbox.letters) == 1


async def test_changed_amount_is_told_anew_and_a_new_alert_knows_the_month(team: Team, mailbox: Mailbox) -> None:
    await spend(team, 10)
    made = await alert(team, 5)
    async with watching(team, mailbox) as alerts:
        await alerts.round()
        changed = SpendAlert(made.id, made.scope, made.scope_id, 8 * DOLLAR, ("eve@example.com",), None)
        await team.database.change(lambda connection: spend_alerts.update(connection, changed))
        await alerts.round()
        await alerts.round()
    assert [letter.recipients[0] for letter in mailbox.letters] == ["ada@example.com", "eve@example.com"]
    assert mailbox.letters[1].message["Subject"] == "Project Project 1 has spent $8 this month"


async def test_each_part_of_a_budget_is_told_once(team: Team, mailbox: Mailbox, provider: Provider) -> None:
    provider.always(lambda _: compose(200, {}, b""))
    await team.limit(10 * DOLLAR, interval=Interval.DAY)
    async with watching(team, mailbox, provider) as alerts:
        for dollars in (7.5, 0.5, 1, 1, 1):
            await spend(team, dollars)
            await alerts.round()
        subjects = [str(letter.message["Subject"]) for letter in mailbox.letters]
        assert subjects == ["API key Key 1 has used 80% of a budget", "API key Key 1 has used 100% of a budget"]
        assert {letter.recipients for letter in mailbox.letters} == {OPS}
        text = mailbox.letters[0].message.get_content()
        assert "has used $8 of $10" in text and "cost per day" in text
        events = [json.loads(request.body)["data"] for request in provider.requests]
        assert [(event["percent"], event["threshold"], event["limit"]) for event in events] == [
            (80, "8", "10"), (100, "10", "10"),
        ]  # fmt: skip
        team.clock.advance(86_400)
        await spend(team, 20, at=team.clock.now())
        await alerts.round()
        assert len(mailbox.letters) == 4


async def test_what_has_no_parts_is_not_told(team: Team, mailbox: Mailbox) -> None:
    others = (
        (Metric.REQUESTS, Interval.DAY, 0), (Metric.REQUESTS, Interval.MINUTE, 1), (Metric.CONCURRENCY, None, 1),
        (Metric.TOKENS, Interval.LIFETIME, MAX_AMOUNT), (Metric.COST, Interval.MONTH, MAX_AMOUNT),
    )  # fmt: skip

    def make(connection: Connection) -> None:
        for number, (metric, interval, amount) in enumerate(others):
            limit = Limit(f"lim_{number}", Scope.API_KEY, "key_1", metric, interval, amount)
            limit_opening.create(connection, limit, NOW)

    await spend(team, 5)
    await team.database.change(make)
    async with watching(team, mailbox) as alerts:
        await alerts.round()
    assert await rows(team) == 0


async def test_tiny_budget_and_tiny_parts_are_exact(team: Team, mailbox: Mailbox) -> None:
    budget = Limit("lim_1", Scope.PROJECT, "proj_1", Metric.REQUESTS, Interval.LIFETIME, 3)
    await team.database.change(lambda connection: limit_opening.create(connection, budget, NOW))
    async with watching(team, mailbox, percents=(1, 66, 67, 100)) as alerts:
        await spend(team, 1)
        await alerts.round()
        await spend(team, 2)
        await alerts.round()
    subjects = [str(letter.message["Subject"]) for letter in mailbox.letters]
    assert subjects == [f"Project Project 1 has used {percent}% of a budget" for percent in (1, 66)]


async def test_letter_that_is_refused_is_sent_again_later_and_the_webhook_is_not(
    team: Team, mailbox: Mailbox, provider: Provider
) -> None:
    provider.answer(200)
    mailbox.failures.extend(["451 later", "451 later"])
    await alert(team, 1)
    await spend(team, 2)
    async with watching(team, mailbox, provider) as alerts:
        for wait in (0, 29, 1, 59):
            team.clock.advance(wait)
            await alerts.round()
            assert mailbox.letters == []
        team.clock.advance(1)
        await alerts.round()
        team.clock.advance(1_000)
        await alerts.round()
    assert (len(mailbox.letters), len(provider.requests)) == (1, 1)


async def test_webhook_that_never_answers_well_is_given_up(team: Team, provider: Provider) -> None:
    provider.always(lambda _: compose(500, {}, b""))
    await alert(team, 1)
    await spend(team, 2)
    async with watching(team, provider=provider) as alerts:
        for attempt in range(1, MOST_ATTEMPTS + 3):
            await alerts.round()
            team.clock.advance(wait_seconds(attempt))
    assert len(provider.requests) == MOST_ATTEMPTS
    assert len({dict(request.headers)["webhook-id"] for request in provider.requests}) == 1


async def test_notice_of_a_sender_that_was_killed_is_sent_by_another(team: Team, mailbox: Mailbox) -> None:
    await alert(team, 1)
    await spend(team, 2)
    async with watching(team, mailbox) as alerts:
        await alerts.look()
        (pending,) = await team.database.read(lambda connection: notices.due(connection, [MAIL], NOW, 10))
        until = NOW + CLAIM_SECONDS
        assert await team.database.write(lambda connection: notices.claim(connection, pending, until))
        assert not await team.database.write(lambda connection: notices.claim(connection, pending, until))
        team.clock.advance(CLAIM_SECONDS - 1)
        await alerts.round()
        assert mailbox.letters == []
        team.clock.advance(1)
        await alerts.round()
    assert len(mailbox.letters) == 1


async def test_notices_of_a_way_that_is_not_there_any_more_keep_nobody_from_being_told(
    team: Team, mailbox: Mailbox
) -> None:
    def make(connection: Connection) -> None:
        for number in range(MOST_AT_ONCE + 1):
            left = Notice(
                "budget", f"lim_{number}", Scope.ORGANIZATION, ORGANIZATION_ID, Metric.COST, Interval.DAY, 1, 1, 1, 1
            )
            notices.add(connection, left, WEBHOOK, 1)

    await team.database.write(make)
    await alert(team, 1)
    await spend(team, 2)
    async with watching(team, mailbox) as alerts:
        await alerts.round()
        assert len(mailbox.letters) == 1
        team.clock.advance(KEPT_SECONDS + 1)
        await alerts.prune()
    assert await rows(team) == 0


async def test_what_was_told_is_forgotten_when_its_period_is_long_over(team: Team, mailbox: Mailbox) -> None:
    await alert(team, 1)
    await team.limit(DOLLAR)
    await spend(team, 2)
    async with watching(team, mailbox, percents=(100,)) as alerts:
        await alerts.round()
        assert await rows(team) == 2
        team.clock.advance(KEPT_SECONDS + 1)
        await alerts.prune()
        assert await rows(team) == 1
        await alerts.round()
    assert len(mailbox.letters) == 2


async def test_alert_of_a_running_gateway_is_sent_from_behind_the_calls(
    database_url: str, provider: Provider, tmp_path: Path, mailbox: Mailbox
) -> None:
    async with (
        running_provider() as hook,
        running_gateway(
            database_url, provider, tmp_path, alert_seconds=0.02, smtp_server=MailServer("127.0.0.1", mailbox.port),
            smtp_from="gateway@example.org", alert_recipients=OPS, webhook_url=hook.url,
            webhook_secret="0123456789abcdef", webhook_private=True,
        ) as gateway,
    ):  # fmt: skip
        hook.always(lambda _: compose(200, {}, b""))
        provider.chat("Hello", input_tokens=8_000, output_tokens=100_000)  # 6.12 cents
        key = await gateway.key(limits=[(Metric.REQUESTS, Interval.MONTH, 1)])
        await gateway.admin(await gateway.admin_key()).projects.spend_alerts.create(
            "proj_1", threshold_amount=6, currency="USD", interval="month",
            notification_channel={"type": "email", "recipients": ["ada@example.com"]},
        )  # fmt: skip
        assert (await gateway.chat(key)).status_code == 200
        letters = [await mailbox.letter() for _ in range(3)]
        assert sorted(str(letter.message["Subject"]) for letter in letters) == [
            "API key Key 1 has used 100% of a budget", "API key Key 1 has used 80% of a budget",
            "Project Project 1 has spent $0.06 this month",
        ]  # fmt: skip
        events = [json.loads((await asyncio.wait_for(hook.request(), PATIENCE_SECONDS)).body) for _ in range(3)]
        assert {event["type"] for event in events} == {"budget.reached", "spend_alert.reached"}
    assert (len(mailbox.letters), len(hook.requests)) == (3, 3)
