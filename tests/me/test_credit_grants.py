"""The seed's usage query: its shape to the letter, exact sums, the tightest budget, its errors."""

import json
from decimal import Decimal

import httpx
import pytest

from gateway.core.limits import Interval, Scope
from gateway.ledger.entries import Figures
from gateway.store import api_keys
from tests.team import NOW, Team, call

DAY = 86_400
URL = "/openai/billing/credit_grants"
SEEDS = {"start_date": "2022-12-10", "end_date": "2023-07-10"}


async def test_credit_grants_of_the_seeds_example_are_its_answer(team: Team, client: httpx.AsyncClient) -> None:
    await team.limit(5_000_040_000)
    await team.settle(
        call("req_1", NOW, Figures(1, 1, 100, output_tokens=20, cost_nano_usd=17_000_000)),
        call("req_2", NOW - 30 * DAY, Figures(1, 1, 7, output_tokens=3, cost_nano_usd=604_000)),
        call("req_3", NOW, Figures(1, 1, 5, cost_nano_usd=999), key="key_2"),
    )
    answer = await client.get(URL, params=SEEDS)
    nothing = {"used": 0, "prompt_tokens": 0, "completion_tokens": 0, "requests": 0}
    used = {"used": 0.017604, "prompt_tokens": 107, "completion_tokens": 23, "requests": 2}
    assert answer.status_code == 200
    assert answer.json() == {
        "list_used": [
            {"start_date": "2022-12-10", "end_date": "2023-03-10", **nothing},
            {"start_date": "2023-03-11", "end_date": "2023-06-09", **nothing},
            {"start_date": "2023-06-10", "end_date": "2023-07-10", **used},
        ],
        "total_used": 0.017604,
        "total_granted": 5.00004,
        **SEEDS,
        "prompt_tokens": 107,
        "completion_tokens": 23,
        "requests": 2,
    }


async def test_credit_grants_are_decimals_and_their_total_the_exact_sum(team: Team, client: httpx.AsyncClient) -> None:
    costs = [1, 100_000_000, 200_000_000, 9_007_199_254_740_993]
    for number, cost in enumerate(costs):
        await team.settle(call(f"req_{number}", NOW - number * 91 * DAY, Figures(1, 1, cost_nano_usd=cost)))
    answer = await client.get(URL, params={"start_date": "2022-07-12", "end_date": "2023-07-10"})
    exact = json.loads(answer.text, parse_float=Decimal)
    used = [window["used"] for window in exact["list_used"]]
    assert used == [Decimal("9007199.254740993"), Decimal("0.2"), Decimal("0.1"), Decimal("0.000000001")]
    assert exact["total_used"] == sum(used)
    assert '"used":0.000000001' in answer.text


async def test_credit_grants_as_csv_are_a_row_per_window(team: Team, client: httpx.AsyncClient) -> None:
    await team.settle(call("req_1", NOW, Figures(1, 1, 100, output_tokens=20, cost_nano_usd=17_000_001)))
    by_name = await client.get(URL, params={**SEEDS, "format": "csv"})
    by_header = await client.get(URL, params=SEEDS, headers={"accept": "text/csv"})
    assert by_name.text == by_header.text
    assert by_name.headers["content-type"] == "text/csv; charset=utf-8"
    assert by_name.text.splitlines() == [
        "start_date,end_date,used,prompt_tokens,completion_tokens,requests",
        "2022-12-10,2023-03-10,0,0,0,0",
        "2023-03-11,2023-06-09,0,0,0,0",
        "2023-06-10,2023-07-10,0.017000001,100,20,1",
    ]
    assert (await client.get(URL, params={"format": "csv", "start_date": "x"})).json()["error"]


async def test_credit_grants_without_dates_are_the_last_ninety_days(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/billing/credit_grants")).json()
    assert (answer["start_date"], answer["end_date"], len(answer["list_used"])) == ("2023-04-11", "2023-07-10", 1)
    assert answer["total_granted"] == 100_000_000


async def test_credit_grants_include_the_first_and_the_last_second_of_both_days(
    team: Team, client: httpx.AsyncClient
) -> None:
    midnight = NOW - NOW % DAY
    moments = [midnight - 1e-6, midnight, midnight + DAY - 1e-6, midnight + DAY]
    await team.settle(*(call(f"req_{place}", at, Figures(1, 1, 10**place)) for place, at in enumerate(moments)))
    answer = await client.get(URL, params={"start_date": "2023-07-10", "end_date": "2023-07-10"})
    assert answer.json()["prompt_tokens"] == 110


async def test_credit_grants_show_the_budget_with_the_least_remaining(team: Team, client: httpx.AsyncClient) -> None:
    await team.settle(call("req_1", NOW, Figures(1, 1, cost_nano_usd=6_000_000_000)))
    await team.limit(10_000_000_000)
    await team.limit(7_500_000_000, Scope.PROJECT, "proj_1")
    await team.limit(1, Scope.PROJECT, "proj_2")
    await team.limit(1_000_000, Scope.USER, "user_1", Interval.MINUTE)
    assert (await client.get(URL)).json()["total_granted"] == 7.5


async def test_credit_grants_count_answered_calls_and_charge_all(team: Team, client: httpx.AsyncClient) -> None:
    await team.settle(
        call("req_1", NOW, Figures(1, 0)),
        call("req_2", NOW, Figures(1, 1, 4, output_tokens=2, cost_nano_usd=30)),
        call("req_3", NOW, Figures(1, 0, 4, cost_nano_usd=10)),
    )
    answer = (await client.get(URL)).json()
    assert (answer["requests"], answer["prompt_tokens"], answer["total_used"]) == (1, 8, 4e-8)


@pytest.mark.parametrize(
    ("query", "echo"),
    [
        ({"start_date": "2023-02-30"}, {"start_date": "2023-02-30", "end_date": "2023-07-10"}),
        ({"start_date": ""}, {"start_date": "", "end_date": "2023-07-10"}),
        ({"end_date": "soon"}, {"start_date": None, "end_date": "soon"}),
        (
            {"start_date": "2023-07-10", "end_date": "2023-07-09"},
            {"start_date": "2023-07-10", "end_date": "2023-07-09"},
        ),
        ({"start_date": "2003-07-10"}, {"start_date": "2003-07-10", "end_date": "2023-07-10"}),
    ],
)
async def test_credit_grants_of_dates_that_cannot_be_say_what_is_wrong(
    client: httpx.AsyncClient, query: dict[str, str], echo: dict[str, str | None]
) -> None:
    answer = await client.get(URL, params=query)
    body = answer.json()
    assert answer.status_code == 400
    assert isinstance(body.pop("error"), str)
    assert body == echo


async def test_credit_grants_without_a_key_are_refused_in_openais_shape(client: httpx.AsyncClient) -> None:
    answer = await client.get(URL, headers={"authorization": ""})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


async def test_credit_grants_of_a_key_deleted_a_moment_ago_are_refused(team: Team, client: httpx.AsyncClient) -> None:
    assert (await client.get(URL)).status_code == 200
    await team.database.change(lambda connection: api_keys.delete(connection, "proj_1", "key_1", NOW))
    assert (await client.get(URL)).status_code == 401


async def test_credit_grants_of_an_admin_key_are_refused(team: Team, client: httpx.AsyncClient) -> None:
    answer = await client.get(URL, headers={"authorization": f"Bearer {team.texts['admin']}"})
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "insufficient_permissions"
