"""Spend limits of organization and project through OpenAI's SDK: a view of the monthly cost limit, in step with it."""

from typing import Any

import openai
import pytest

from tests.admin.conftest import Administration

CENT = {"currency": "USD", "interval": "month"}


async def project(administration: Administration) -> str:
    return await administration.made("/projects", {"name": "Search"})


async def limits(administration: Administration) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await administration.http.get("/v1/organization/limits")).json()["data"]
    return found


async def test_spend_limit_of_a_project_is_set_changed_and_deleted(administration: Administration) -> None:
    id = await project(administration)
    spend_limit = administration.owner.admin.organization.projects.spend_limit
    with pytest.raises(openai.NotFoundError):
        await spend_limit.retrieve(id)
    made = await spend_limit.update(id, threshold_amount=2550, currency="USD", interval="month")
    assert (made.object, made.threshold_amount, made.currency) == ("project.spend_limit", 2550, "USD")
    assert (made.interval, made.enforcement.status) == ("month", "inactive")
    (limit,) = await limits(administration)
    assert (limit["scope"], limit["scope_id"], limit["amount"], limit["models"]) == ("project", id, "25.5", None)
    changed = await spend_limit.update(id, threshold_amount=0, currency="USD", interval="month")
    assert changed.enforcement.status == "enforcing"
    assert [(one["id"], one["amount"]) for one in await limits(administration)] == [(limit["id"], "0")]
    assert (await spend_limit.retrieve(id)).threshold_amount == 0
    assert (await spend_limit.delete(id)).object == "project.spend_limit.deleted"
    assert await limits(administration) == []
    with pytest.raises(openai.NotFoundError):
        await spend_limit.delete(id)


async def test_spend_limit_of_the_organization_is_its_own(administration: Administration) -> None:
    id = await project(administration)
    organization = administration.owner.admin.organization
    await organization.projects.spend_limit.update(id, threshold_amount=7, currency="USD", interval="month")
    with pytest.raises(openai.NotFoundError):
        await organization.spend_limit.retrieve()
    made = await organization.spend_limit.update(threshold_amount=9, currency="USD", interval="month")
    assert (made.object, made.threshold_amount) == ("organization.spend_limit", 9)
    assert (await organization.spend_limit.delete()).deleted
    assert (await organization.projects.spend_limit.retrieve(id)).threshold_amount == 7


async def test_limit_of_this_shape_shows_as_a_spend_limit_in_cents_rounded_up(administration: Administration) -> None:
    id = await project(administration)
    words = {"scope": "project", "scope_id": id, "metric": "cost", "interval": "month"}
    for others in ({"interval": "day"}, {"models": ["gpt-4o"]}, {"metric": "requests", "amount": 1}):
        await administration.made("/limits", {**words, "amount": "1", **others})
    spend_limit = administration.owner.admin.organization.projects.spend_limit
    with pytest.raises(openai.NotFoundError):
        await spend_limit.retrieve(id)
    await administration.made("/limits", {**words, "amount": "0.050000001"})
    tightest = await administration.made("/limits", {**words, "amount": "0.04"})
    assert (await spend_limit.retrieve(id)).threshold_amount == 4
    await administration.post(f"/limits/{tightest}", {"amount": "0.070000001"})
    assert (await spend_limit.retrieve(id)).threshold_amount == 6
    await spend_limit.update(id, threshold_amount=8, currency="USD", interval="month")
    assert [one["amount"] for one in await limits(administration)].count("0.08") == 2
    await spend_limit.delete(id)
    assert len(await limits(administration)) == 3


@pytest.mark.parametrize("amount", [-1, 1.5, "5", None, 922_337_203_686, 10**400])
async def test_amount_that_cannot_be_is_refused(administration: Administration, amount: object) -> None:
    response = await administration.post("/spend_limit", {**CENT, "threshold_amount": amount})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "threshold_amount"), response.text
    largest = await administration.post("/spend_limit", {**CENT, "threshold_amount": 922_337_203_685})
    assert largest.json()["threshold_amount"] == 922_337_203_685


@pytest.mark.parametrize(("change", "param"), [({"currency": "EUR"}, "currency"), ({"interval": "day"}, "interval")])
async def test_other_currency_or_interval_is_refused(
    administration: Administration, change: dict[str, str], param: str
) -> None:
    response = await administration.post("/spend_limit", {**CENT, "threshold_amount": 1, **change})
    assert (response.status_code, response.json()["error"]["param"]) == (400, param), response.text


async def test_spend_limit_of_a_missing_or_archived_project_cannot_be_set(administration: Administration) -> None:
    projects = administration.owner.admin.organization.projects
    with pytest.raises(openai.NotFoundError):
        await projects.spend_limit.update("proj_x", threshold_amount=1, currency="USD", interval="month")
    with pytest.raises(openai.NotFoundError) as failure:
        await projects.spend_limit.retrieve("proj_x")
    assert failure.value.param == "project_id"
    id = await project(administration)
    await projects.spend_limit.update(id, threshold_amount=1, currency="USD", interval="month")
    await projects.archive(id)
    with pytest.raises(openai.ConflictError):
        await projects.spend_limit.update(id, threshold_amount=2, currency="USD", interval="month")
    with pytest.raises(openai.ConflictError):
        await projects.spend_limit.delete(id)
    assert (await projects.spend_limit.retrieve(id)).threshold_amount == 1
