"""OpenAI's old billing dashboard under each of its URLs."""

import httpx
import pytest

from gateway.core.limits import Interval
from gateway.ledger.entries import Figures
from tests.team import NOW, Team, call

DAY = 86_400
PREFIXES = ["/dashboard/billing", "/v1/dashboard/billing", "/openai/dashboard/billing", "/openai/v1/dashboard/billing"]


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_subscription_shows_the_budget_three_times(team: Team, client: httpx.AsyncClient, prefix: str) -> None:
    await team.limit(12_340_000_000)
    answer = (await client.get(f"{prefix}/subscription")).json()
    assert {answer[name] for name in ("hard_limit_usd", "soft_limit_usd", "system_hard_limit_usd")} == {12.34}
    assert answer["access_until"] > NOW


async def test_usage_is_in_cents_and_leaves_the_end_date_out(team: Team, client: httpx.AsyncClient) -> None:
    await team.settle(
        call("req_1", NOW, Figures(1, 1, cost_nano_usd=1_234_567_890)),
        call("req_2", NOW - DAY, Figures(1, 1, cost_nano_usd=10_000_000)),
        call("req_3", NOW - 2 * DAY, Figures(1, 1, cost_nano_usd=1)),
    )
    url = "/v1/dashboard/billing/usage"
    to_today = await client.get(url, params={"start_date": "2023-07-01", "end_date": "2023-07-10"})
    assert '"total_usage":1.0000001}' in to_today.text
    with_today = (await client.get(url, params={"start_date": "2023-07-10", "end_date": "2023-07-11"})).json()
    assert with_today["total_usage"] == 123.456789
    assert with_today["daily_costs"] == [
        {"timestamp": NOW - NOW % DAY, "line_items": [{"name": "gpt-4o-mini", "cost": 123.456789}]}
    ]
    assert (await client.get(url)).json()["total_usage"] == 124.4567891


async def test_usage_of_bad_dates_is_refused_in_openais_shape(client: httpx.AsyncClient) -> None:
    answer = await client.get("/dashboard/billing/usage", params={"start_date": "never"})
    assert answer.status_code == 400
    assert (answer.json()["error"]["param"], answer.json()["error"]["code"]) == ("start_date", "invalid_date")


async def test_credit_summary_is_of_the_budgets_period(team: Team, client: httpx.AsyncClient) -> None:
    await team.limit(5_000_000_000, interval=Interval.MONTH)
    await team.settle(call("req_1", NOW - 40 * DAY, Figures(1, 1, cost_nano_usd=1_000_000_000)))
    answer = (await client.get("/dashboard/billing/credit_grants")).json()
    assert answer == {"object": "credit_summary", "total_granted": 5, "total_used": 0, "total_available": 5}


async def test_credit_summary_without_a_budget_counts_from_the_beginning(team: Team, client: httpx.AsyncClient) -> None:
    await team.settle(call("req_1", NOW - 400 * DAY, Figures(1, 1, cost_nano_usd=1_000_000_000)))
    answer = (await client.get("/openai/dashboard/billing/credit_grants")).json()
    assert (answer["total_granted"], answer["total_used"], answer["total_available"]) == (10**8, 1, 10**8)
