"""/v1/organization/costs through OpenAI's SDK: exact amounts, line items, whose rows a key sees."""

import json
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from openai.types.admin.organization.usage_costs_response import (
    DataResultOrganizationCostsResult as Cost,
)
from openai.types.admin.organization.usage_costs_response import UsageCostsResponse

from gateway.ledger.entries import Figures
from tests.admin.reporting import Reporting, reporting_on
from tests.team import NOW, call, running_team

DAY = 86_400
TODAY = NOW - NOW % DAY


@pytest.fixture
async def reporting(database_url: str) -> AsyncIterator[Reporting]:
    async with running_team(database_url) as team, reporting_on(team) as served:
        await team.settle(
            call("req_1", NOW, Figures(1, 1, 100, output_tokens=20, cost_nano_usd=1_000_000_001)),
            call("req_2", NOW, Figures(1, 1, 9, cost_nano_usd=30), operation="embeddings", model="small"),
            call("req_3", NOW, Figures(1, 1, 5, cost_nano_usd=7), operation="responses", key="key_2"),
            call("req_4", NOW - DAY, Figures(1, 1, 5, cost_nano_usd=9_007_199_254_740_993), key="key_2"),
            call("req_5", NOW, Figures(1, 1, 5, cost_nano_usd=None), model="unpriced"),
        )
        yield served


def costs(page: UsageCostsResponse) -> list[Cost]:
    """All results of a page."""
    found = [result for bucket in page.data for result in bucket.results]
    assert all(isinstance(result, Cost) for result in found)
    return [result for result in found if isinstance(result, Cost)]


def value(cost: Cost) -> float | None:
    assert cost.amount is not None
    assert cost.amount.currency == "usd"
    return cost.amount.value


async def test_costs_are_exact_decimals(reporting: Reporting) -> None:
    answer = await reporting.http.get("costs", params={"start_time": TODAY - DAY})
    exact = json.loads(answer.text, parse_float=Decimal)
    assert [bucket["results"][0]["amount"]["value"] for bucket in exact["data"]] == [
        Decimal("9007199.254740993"),
        Decimal("1.000000038"),
    ]


async def test_costs_by_line_item_name_model_and_operation_with_their_tokens(reporting: Reporting) -> None:
    page = await reporting.admin.admin.organization.usage.costs(start_time=TODAY, group_by=["line_item"])
    assert {(one.line_item, value(one), one.quantity, one.quantity_unit) for one in costs(page)} == {
        ("gpt-4o-mini, chat", 1.000000001, 120, "tokens"),
        ("gpt-4o-mini, responses", 7e-9, 5, "tokens"),
        ("small, embeddings", 3e-8, 9, "tokens"),
        ("unpriced, chat", 0, 5, "tokens"),
    }


async def test_costs_by_holder_name_project_user_and_key(reporting: Reporting) -> None:
    page = await reporting.admin.admin.organization.usage.costs(
        start_time=TODAY, group_by=["project_id", "user_id", "api_key_id"]
    )
    assert [(one.project_id, one.user_id, one.api_key_id, value(one)) for one in costs(page)] == [
        ("proj_1", "user_1", "key_1", 1.000000031),
        ("proj_2", "user_2", "key_2", 7e-9),
    ]


async def test_costs_of_some_line_items_add_up_to_one_amount(reporting: Reporting) -> None:
    page = await reporting.admin.admin.organization.usage.costs(
        start_time=TODAY, line_items=["gpt-4o-mini, chat", "small, embeddings"]
    )
    assert [(one.line_item, one.quantity, value(one)) for one in costs(page)] == [(None, None, 1.000000031)]


async def test_costs_of_some_projects_are_theirs(reporting: Reporting) -> None:
    page = await reporting.admin.admin.organization.usage.costs(start_time=TODAY, project_ids=["proj_2"])
    assert [value(one) for one in costs(page)] == [7e-9]


async def test_costs_with_a_members_key_are_its_own(reporting: Reporting) -> None:
    page = await reporting.member.admin.organization.usage.costs(start_time=TODAY - DAY, group_by=["api_key_id"])
    assert [(one.api_key_id, value(one)) for one in costs(page)] == [("key_1", 1.000000031)]


async def test_costs_page_by_day(reporting: Reporting) -> None:
    usage = reporting.admin.admin.organization.usage
    first = await usage.costs(start_time=TODAY - 8 * DAY)
    assert (len(first.data), first.has_more) == (7, True)
    assert first.next_page is not None
    rest = await usage.costs(start_time=TODAY - 8 * DAY, page=first.next_page)
    assert [bucket.start_time for bucket in (*first.data, *rest.data)] == [
        TODAY + offset * DAY for offset in range(-8, 1)
    ]
    assert not rest.has_more


async def test_costs_of_more_than_180_days_at_once_are_refused(reporting: Reporting) -> None:
    answer = await reporting.http.get("costs", params={"start_time": TODAY, "limit": 181})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "limit")
