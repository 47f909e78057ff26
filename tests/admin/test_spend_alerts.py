"""Spend alerts of organization and project through OpenAI's SDK."""

import openai
import pytest
from openai.types.admin.organization.projects.spend_alert_create_params import NotificationChannel

from tests.admin.conftest import Administration

CHANNEL: NotificationChannel = {"type": "email", "recipients": ["ops@example.com"], "subject_prefix": "[Search]"}
BODY = {"threshold_amount": 2000, "currency": "USD", "interval": "month", "notification_channel": CHANNEL}


async def project(administration: Administration) -> str:
    return await administration.made("/projects", {"name": "Search"})


async def test_alert_of_a_project_is_made_changed_and_deleted(administration: Administration) -> None:
    id = await project(administration)
    alerts = administration.owner.admin.organization.projects.spend_alerts
    made = await alerts.create(
        id, threshold_amount=2000, currency="USD", interval="month", notification_channel=CHANNEL
    )
    assert (made.object, made.threshold_amount, made.interval) == ("project.spend_alert", 2000, "month")
    assert made.notification_channel.recipients == ["ops@example.com"]
    assert made.notification_channel.subject_prefix == "[Search]"
    changed = await alerts.update(
        made.id, project_id=id, threshold_amount=1, currency="USD", interval="month",
        notification_channel={"type": "email", "recipients": ["a@example.com", "b@example.com", "a@example.com"]},
    )  # fmt: skip
    assert (changed.id, changed.threshold_amount) == (made.id, 1)
    assert changed.notification_channel.recipients == ["a@example.com", "b@example.com"]
    assert changed.notification_channel.subject_prefix is None
    assert await alerts.retrieve(made.id, project_id=id) == changed
    ended = await alerts.delete(made.id, project_id=id)
    assert (ended.object, ended.id) == ("project.spend_alert.deleted", made.id)
    with pytest.raises(openai.NotFoundError):
        await alerts.retrieve(made.id, project_id=id)


async def test_alerts_of_organization_and_projects_are_apart(administration: Administration) -> None:
    one, other = await project(administration), await project(administration)
    organization = administration.owner.admin.organization
    made = await organization.spend_alerts.create(
        threshold_amount=7, currency="USD", interval="month", notification_channel=CHANNEL
    )
    assert made.object == "organization.spend_alert"
    own = await administration.made(f"/projects/{one}/spend_alerts", BODY)
    assert [alert.id async for alert in organization.spend_alerts.list()] == [made.id]
    assert [alert.id async for alert in organization.projects.spend_alerts.list(one)] == [own]
    assert [alert.id async for alert in organization.projects.spend_alerts.list(other)] == []
    for wrong in (other, "proj_x"):
        with pytest.raises(openai.NotFoundError):
            await organization.projects.spend_alerts.retrieve(own, project_id=wrong)
    with pytest.raises(openai.NotFoundError):
        await organization.spend_alerts.retrieve(own)
    with pytest.raises(openai.NotFoundError):
        await organization.spend_alerts.delete(own)
    assert (await organization.spend_alerts.delete(made.id)).object == "organization.spend_alert.deleted"


async def test_alerts_are_listed_in_either_order_and_direction(administration: Administration) -> None:
    made = []
    for _ in range(3):
        made.append(await administration.made("/spend_alerts", BODY))
        administration.clock.advance(1)
    alerts = administration.reader.admin.organization.spend_alerts
    assert [alert.id async for alert in alerts.list(limit=1)] == made
    assert [alert.id async for alert in alerts.list(limit=2, order="desc")] == made[::-1]
    back = await alerts.list(before=made[2], limit=1)
    assert ([alert.id for alert in back.data], back.has_more) == ([made[1]], True)
    down = await alerts.list(before=made[0], limit=1, order="desc")
    assert ([alert.id for alert in down.data], down.has_more) == ([made[1]], True)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"threshold_amount": 0}, "threshold_amount"), ({"threshold_amount": -5}, "threshold_amount"),
        ({"threshold_amount": 1.5}, "threshold_amount"), ({"threshold_amount": 10**30}, "threshold_amount"),
        ({"currency": "EUR"}, "currency"), ({"interval": "day"}, "interval"),
        ({"notification_channel": {"type": "sms", "recipients": ["a@b.cd"]}}, "notification_channel.type"),
        ({"notification_channel": {"type": "email", "recipients": []}}, "notification_channel.recipients"),
        ({"notification_channel": {"type": "email", "recipients": ["ada"]}}, "notification_channel.recipients[0]"),
        ({"notification_channel": {"type": "email", "recipients": ["a@b.cd", "a@b.cd\nBcc: x@y.zz"]}},
         "notification_channel.recipients[1]"),
        ({"notification_channel": {"type": "email", "recipients": ["a@b.cd", "jörg@b.cd"]}},
         "notification_channel.recipients[1]"),
        ({"notification_channel": {**CHANNEL, "subject_prefix": "a\r\nBcc: x@y.zz"}},
         "notification_channel.subject_prefix"),
        ({"notification_channel": {**CHANNEL, "webhook": "http://127.0.0.1"}}, "notification_channel.webhook"),
        ({"notification_channel": None}, "notification_channel"), ({"name": "x"}, "name"),
    ],
)  # fmt: skip
async def test_bad_alert_is_refused_by_name(
    administration: Administration, change: dict[str, object], param: str
) -> None:
    response = await administration.post("/spend_alerts", {**BODY, **change})
    assert (response.status_code, response.json()["error"]["param"]) == (400, param), response.text
    assert (await administration.http.get("/v1/organization/spend_alerts")).json()["data"] == []
