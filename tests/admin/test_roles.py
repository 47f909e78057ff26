"""Who may do what: every route of administration x every role x things of somebody else.

A route that is added has to be classified here: without it the first test fails.
"""

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

import httpx
import pytest
from sqlalchemy import func, select

from gateway.admin.boundary import Access
from gateway.admin.table import ROUTES
from gateway.admin.usage import COMPLETIONS, EMBEDDINGS, IMAGES, MODERATIONS, SPEECHES, TRANSCRIPTIONS
from gateway.ledger.entries import Figures
from gateway.store.audit_log import audit_log
from gateway.store.engine import Connection
from tests.admin.conftest import OWNER, READER, Administration
from tests.admin.reporting import Reporting, reporting_on
from tests.team import NOW, call, running_team

Role = Literal["owner", "reader", "own"]
BASE = "/v1/organization"
DAY = 86_400
CENTS = {"threshold_amount": 5, "currency": "USD", "interval": "month"}
ALERT = {**CENTS, "notification_channel": {"type": "email", "recipients": ["ops@example.com"]}}

CLASSIFIED: Mapping[str, tuple[Role, Mapping[str, object] | None]] = {
    "GET /projects": ("reader", None),
    "GET /projects/{project_id}": ("reader", None),
    "GET /projects/{project_id}/users": ("reader", None),
    "GET /projects/{project_id}/users/{user_id}": ("reader", None),
    "GET /projects/{project_id}/service_accounts": ("reader", None),
    "GET /projects/{project_id}/service_accounts/{service_account_id}": ("reader", None),
    "GET /projects/{project_id}/api_keys": ("reader", None),
    "GET /projects/{project_id}/api_keys/{api_key_id}": ("reader", None),
    "GET /projects/{project_id}/rate_limits": ("reader", None),
    "GET /projects/{project_id}/model_permissions": ("reader", None),
    "GET /projects/{project_id}/spend_limit": ("reader", None),
    "GET /projects/{project_id}/spend_alerts": ("reader", None),
    "GET /projects/{project_id}/spend_alerts/{alert_id}": ("reader", None),
    "GET /spend_alerts": ("reader", None),
    "GET /spend_alerts/{alert_id}": ("reader", None),
    "GET /users": ("reader", None),
    "GET /users/{user_id}": ("reader", None),
    "GET /admin_api_keys": ("reader", None),
    "GET /admin_api_keys/{key_id}": ("reader", None),
    "GET /limits": ("reader", None),
    "GET /limits/{limit_id}": ("reader", None),
    "GET /spend_limit": ("reader", None),
    "GET /audit_logs": ("reader", None),
    "GET /openapi.json": ("reader", None),
    "GET /usage/completions": ("own", None),
    "GET /usage/embeddings": ("own", None),
    "GET /usage/moderations": ("own", None),
    "GET /usage/images": ("own", None),
    "GET /usage/audio_speeches": ("own", None),
    "GET /usage/audio_transcriptions": ("own", None),
    "GET /usage/total": ("own", None),
    "GET /costs": ("own", None),
    "POST /projects": ("owner", {"name": "New"}),
    "POST /projects/{project_id}": ("owner", {"name": "Renamed"}),
    "POST /projects/{project_id}/users": ("owner", {"user_id": "{newcomer}", "role": "member"}),
    "POST /projects/{project_id}/users/{user_id}": ("owner", {"role": "owner"}),
    "POST /projects/{project_id}/service_accounts": ("owner", {"name": "Robot"}),
    "POST /projects/{project_id}/service_accounts/{service_account_id}": ("owner", {"name": "Robot"}),
    "POST /projects/{project_id}/service_accounts/{service_account_id}/api_keys": ("owner", {"name": "more"}),
    "POST /projects/{project_id}/api_keys": ("owner", {"name": "k", "service_account_id": "{service_account_id}"}),
    "POST /projects/{project_id}/api_keys/{api_key_id}": ("owner", {"disabled": True}),
    "POST /projects/{project_id}/api_keys/{api_key_id}/rotate": ("owner", {}),
    "POST /projects/{project_id}/rate_limits/{rate_limit_id}": ("owner", {"max_requests_per_1_minute": 5}),
    "POST /projects/{project_id}/model_permissions": ("owner", {"mode": "deny_list", "model_ids": ["o1"]}),
    "POST /projects/{project_id}/spend_limit": ("owner", CENTS),
    "POST /projects/{project_id}/spend_alerts": ("owner", ALERT),
    "POST /projects/{project_id}/spend_alerts/{alert_id}": ("owner", ALERT),
    "POST /spend_alerts": ("owner", ALERT),
    "POST /spend_alerts/{alert_id}": ("owner", ALERT),
    "POST /users": ("owner", {"email": "new@example.com", "name": "New"}),
    "POST /users/{user_id}": ("owner", {"role": "owner"}),
    "POST /admin_api_keys": ("owner", {"name": "More"}),
    "POST /limits": ("owner", {"scope": "organization", "metric": "requests", "interval": "day", "amount": 5}),
    "POST /limits/{limit_id}": ("owner", {"amount": 7}),
    "POST /spend_limit": ("owner", CENTS),
    "DELETE /projects/{project_id}/api_keys/{api_key_id}": ("owner", None),
    "DELETE /projects/{project_id}/service_accounts/{service_account_id}": ("owner", None),
    "DELETE /projects/{project_id}/users/{user_id}": ("owner", None),
    "DELETE /projects/{project_id}/model_permissions": ("owner", None),
    "DELETE /projects/{project_id}/spend_limit": ("owner", None),
    "DELETE /projects/{project_id}/spend_alerts/{alert_id}": ("owner", None),
    "DELETE /spend_alerts/{alert_id}": ("owner", None),
    "DELETE /limits/{limit_id}": ("owner", None),
    "DELETE /spend_limit": ("owner", None),
    "DELETE /users/{user_id}": ("owner", None),
    "POST /users/{user_id}/erase": ("owner", {}),
    "DELETE /admin_api_keys/{key_id}": ("owner", None),
    "POST /projects/{project_id}/archive": ("owner", {}),
}
"""Method and path -> who may, and a body that is right. In this order an owner can do all of it, one by one."""
SHARED = frozenset({"rate_limit_id"})
"""Ids that are the same in every project."""


async def world(administration: Administration, name: str) -> dict[str, str]:
    """Make one of each thing; return their ids, and the texts of two keys."""
    post, made = administration.post, administration.made
    project = await made("/projects", {"name": name})
    user = await made("/users", {"email": f"{name}@example.com", "name": name})
    newcomer = await made("/users", {"email": f"{name}-2@example.com", "name": name})
    account = (await post(f"/projects/{project}/service_accounts", {"name": name})).json()
    key = (await post(f"/projects/{project}/api_keys", {"name": "k", "user_id": user})).json()
    admin = (await post("/admin_api_keys", {"name": name, "expires_in_seconds": 500})).json()
    terms = {"scope": "project", "scope_id": project, "metric": "requests", "interval": "day", "amount": 5}
    limit = await made("/limits", terms)
    alert, organizations = await made(f"/projects/{project}/spend_alerts", ALERT), await made("/spend_alerts", ALERT)
    await post("/spend_limit", CENTS)
    await post(f"/projects/{project}/spend_limit", CENTS)
    return {
        "project_id": project, "user_id": user, "newcomer": newcomer, "service_account_id": account["id"],
        "alert_id": alert, "project_alert": alert, "organization_alert": organizations,
        "api_key_id": key["id"], "key_id": admin["id"], "limit_id": limit, "rate_limit_id": "rl-gpt-4o",
        "member": account["api_key"]["value"], "admin": admin["value"],
    }  # fmt: skip


def filled(text: str, ids: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda place: ids[place[1]], text)


async def ask(
    administration: Administration, route: str, ids: Mapping[str, str], key: str | None = OWNER.text
) -> httpx.Response:
    """Send a route's right body with these ids in it; reports get the query that they need."""
    method, path = route.split(" ")
    role, body = CLASSIFIED[route]
    if path.startswith("/spend_alerts") and ids["alert_id"] == ids["project_alert"]:
        ids = {**ids, "alert_id": ids["organization_alert"]}
    content = {name: filled(value, ids) if isinstance(value, str) else value for name, value in (body or {}).items()}
    return await administration.http.request(
        method, BASE + filled(path, ids), json=content if body is not None else None,
        params={"start_time": administration.now() - DAY} if role == "own" else None,
        headers={"authorization": f"Bearer {key}" if key else ""},
    )  # fmt: skip


async def changes(administration: Administration) -> int:
    """Return how many changes are on record."""

    def work(connection: Connection) -> int:
        query = select(func.count()).select_from(audit_log).where(audit_log.c.type != "login.failed")
        return connection.execute(query).scalar_one()

    return await administration.database.read(work)


def test_every_route_is_classified_and_no_other() -> None:
    assert {f"{route.method} {route.path.removeprefix(BASE)}" for route in ROUTES} == set(CLASSIFIED)
    for route in ROUTES:
        role, body = CLASSIFIED[f"{route.method} {route.path.removeprefix(BASE)}"]
        assert Access(role) is route.access and (role == "owner") == (route.method != "GET"), route.path
        assert (body is None) == (route.method != "POST"), route.path


async def test_route_answers_whom_it_should_and_nobody_else(administration: Administration) -> None:
    ids = await world(administration, "one")
    ended = (await administration.post("/admin_api_keys", {"name": "Short", "expires_in_seconds": 1})).json()["value"]
    before = await changes(administration)
    for route, (role, _) in CLASSIFIED.items():
        administration.clock.advance(1)  # so many wrong keys in one second would be too many

        async def answer(key: str | None, route: str = route) -> tuple[int, str | None]:
            response = await ask(administration, route, ids, key)
            return response.status_code, response.json().get("error", {}).get("code")

        for nobody in (None, OWNER.text[:-1] + "0", "sk-gw-admin-", ended, "x" * 5_000):
            assert await answer(nobody) == (401, "invalid_api_key"), (route, nobody)
        may = {"own": {"member", "reader"}, "reader": {"reader"}, "owner": set()}[role]
        for name, key in (("member", ids["member"]), ("reader", READER.text)):
            expected = (200, None) if name in may else (403, "insufficient_permissions")
            assert await answer(key) == expected, (route, name)
    assert await changes(administration) == before
    for route in CLASSIFIED:
        response = await ask(administration, route, ids)
        assert response.status_code == 200, (route, response.text)


async def test_things_of_another_project_and_missing_ones_are_not_found(administration: Administration) -> None:
    ids, others = await world(administration, "one"), await world(administration, "two")
    before = await changes(administration)
    for route in CLASSIFIED:
        places = re.findall(r"\{(\w+)\}", route)
        for place in places:
            response = await ask(administration, route, {**ids, place: "nothing_1"})
            assert response.status_code == 404, (route, place, response.text)
            if place != "project_id" and "project_id" in places and place not in SHARED:
                response = await ask(administration, route, {**ids, place: others[place]})
                assert response.status_code == 404, (route, place, response.text)
    key = {"name": "k", "service_account_id": others["service_account_id"]}
    assert (await administration.post(f"/projects/{ids['project_id']}/api_keys", key)).status_code == 404
    assert await changes(administration) == before


async def test_key_that_is_disabled_archived_or_ended_sees_nothing_any_more(administration: Administration) -> None:
    ids = await world(administration, "one")
    seen = ("GET /costs", ids["member"]), ("GET /projects", ids["admin"])
    assert [(await ask(administration, route, ids, key)).status_code for route, key in seen] == [200, 200]
    await administration.owner.admin.organization.projects.archive(ids["project_id"])
    await administration.owner.admin.organization.admin_api_keys.delete(ids["key_id"])
    assert [(await ask(administration, route, ids, key)).status_code for route, key in seen] == [401, 401]


async def test_admin_key_makes_none_that_outlives_it(administration: Administration) -> None:
    ids = await world(administration, "one")
    hers = {"authorization": f"Bearer {ids['admin']}"}
    for body in ({"name": "More"}, {"name": "More", "expires_in_seconds": 501}):
        refused = await administration.http.post(f"{BASE}/admin_api_keys", json=body, headers=hers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "insufficient_permissions")
    made = await administration.http.post(
        f"{BASE}/admin_api_keys", json={"name": "More", "expires_in_seconds": 500}, headers=hers
    )
    assert made.status_code == 200


@pytest.fixture
async def reporting(database_url: str) -> AsyncIterator[Reporting]:
    """A team whose two keys each made a call of every kind."""
    async with running_team(database_url) as team:
        for key in ("key_1", "key_2"):
            for kind in COMPLETIONS | EMBEDDINGS | MODERATIONS | IMAGES | SPEECHES | TRANSCRIPTIONS:
                figures = Figures(1, 1, 10, cost_nano_usd=1_000)
                await team.settle(call(f"req_{key}_{kind}", NOW, figures, key=key, operation=kind))
        async with reporting_on(team) as served:
            yield served


async def test_member_sees_its_own_use_alone_whatever_it_asks_for(reporting: Reporting) -> None:
    member = {"authorization": f"Bearer {reporting.team.texts['key_1']}"}
    for route in (route for route, (role, _) in CLASSIFIED.items() if role == "own"):

        async def keys(query: str, headers: dict[str, str] | None = None, route: str = route) -> set[str | None]:
            path = f"{route.removeprefix('GET /')}?start_time={NOW - DAY}&group_by[]=api_key_id{query}"
            response = await reporting.http.get(path, headers=headers)
            assert response.status_code == 200, response.text
            found: list[dict[str, Any]] = response.json()["data"]
            return {result["api_key_id"] for bucket in found for result in bucket["results"]}

        everybody = await keys("")
        assert everybody == {"key_1", "key_2"}, route
        assert await keys("", member) == {"key_1"}, route
        for others in ("api_key_ids[]=key_2", "project_ids[]=proj_2", "user_ids[]=user_2"):
            assert await keys(f"&{others}", member) == set(), (route, others)
        both = "&api_key_ids[]=key_1&api_key_ids[]=key_2&project_ids[]=proj_1&project_ids[]=proj_2"
        assert await keys(both, member) == {"key_1"}, route
