"""GET /v1/me: whose key it is and where its limits stand."""

import httpx

from gateway.core.limits import Interval, Limit, Metric, Scope
from gateway.ledger.entries import Figures
from gateway.store import limit_opening, model_permissions
from gateway.store.limits import ORGANIZATION_ID
from gateway.store.model_permissions import ModelPermissions
from tests.team import NOW, Team, call


async def test_account_shows_key_owner_project_and_every_limit_that_binds(
    team: Team, client: httpx.AsyncClient
) -> None:
    await team.settle(call("req_1", NOW, Figures(1, 1, 10, cost_nano_usd=1_500_000_000)))
    await team.limit(2_000_000_000, Scope.ORGANIZATION, ORGANIZATION_ID)
    own = Limit("lim_own", Scope.API_KEY, "key_1", Metric.REQUESTS, Interval.MINUTE, 60, ("gpt-4o*",))
    await team.database.change(lambda connection: limit_opening.create(connection, own, NOW))
    answer = (await client.get("/v1/me")).json()
    assert answer["object"] == "me"
    assert answer["key"] == {
        "id": "key_1",
        "name": "Key 1",
        "redacted_value": f"sk-gw-...{team.texts['key_1'][-4:]}",
        "created_at": NOW,
        "expires_at": None,
    }
    assert answer["owner"] == {"type": "user", "id": "user_1", "name": "Person 1", "email": "person1@example.com"}
    everything = {"mode": "deny_list", "model_ids": []}
    assert answer["project"] == {"id": "proj_1", "name": "Project 1", "model_permissions": everything}
    assert answer["models"] is None
    assert [limit["id"] for limit in answer["limits"]] == ["lim_own", f"lim_{ORGANIZATION_ID}_lifetime"]
    assert answer["limits"][1] == {
        "object": "organization.limit",
        "id": f"lim_{ORGANIZATION_ID}_lifetime",
        "scope": "organization",
        "scope_id": ORGANIZATION_ID,
        "metric": "cost",
        "interval": "lifetime",
        "amount": "2",
        "models": None,
        "used": "1.5",
        "held": "0",
        "remaining": "0.5",
        "resets_at": None,
    }
    minute = answer["limits"][0]
    assert (minute["amount"], minute["models"], minute["resets_at"]) == (60, ["gpt-4o*"], NOW - NOW % 60 + 60)


async def test_account_shows_what_the_project_permits(team: Team, client: httpx.AsyncClient) -> None:
    wanted = ModelPermissions("allow_list", ("gpt-4o*",))
    await team.database.change(lambda connection: model_permissions.put(connection, "proj_1", wanted))
    shown = (await client.get("/v1/me")).json()["project"]["model_permissions"]
    assert shown == {"mode": "allow_list", "model_ids": ["gpt-4o*"]}


async def test_account_without_a_key_is_refused(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/me", headers={"authorization": ""})).status_code == 401
