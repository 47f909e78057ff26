"""Limits over HTTP: their amounts and units, what is refused, and what a changed one does to a key."""

from datetime import UTC, datetime

import pytest

from gateway.core.limits import MAX_AMOUNT
from tests.admin.conftest import Administration

REQUESTS = {"scope": "organization", "metric": "requests", "interval": "day", "amount": 5}


async def test_limit_is_created_listed_changed_and_deleted(administration: Administration) -> None:
    project = await administration.made("/projects", {"name": "Search"})
    body = {
        "scope": "project", "scope_id": project, "metric": "cost", "interval": "month", "amount": "0.005",
        "models": ["gpt-4o*"],
    }  # fmt: skip
    made = (await administration.post("/limits", body)).json()
    month_end = int(datetime(2023, 12, 1, tzinfo=UTC).timestamp())
    assert made == {
        **body, "object": "organization.limit", "id": made["id"], "used": "0", "held": "0", "remaining": "0.005",
        "resets_at": month_end,
    }  # fmt: skip
    other = (await administration.post("/limits", REQUESTS)).json()
    assert other["scope_id"].startswith("org_")
    lists = "/v1/organization/limits"
    assert (await administration.http.get(f"{lists}/{made['id']}")).json() == made
    assert (await administration.http.get(f"{lists}?scope=project&scope_id={project}")).json()["data"] == [made]
    page = (await administration.http.get(f"{lists}?limit=1")).json()
    rest = (await administration.http.get(f"{lists}?limit=1&after={page['last_id']}")).json()
    assert {page["first_id"], rest["first_id"]} == {made["id"], other["id"]}
    assert (page["has_more"], rest["has_more"]) == (True, False)
    changed = (await administration.post(f"/limits/{made['id']}", {"amount": "1000000000"})).json()
    assert (changed["amount"], changed["remaining"]) == ("1000000000", "1000000000")
    deleted = (await administration.http.delete(f"{lists}/{made['id']}")).json()
    assert deleted == {"object": "organization.limit.deleted", "id": made["id"], "deleted": True}
    assert (await administration.http.get(f"{lists}/{made['id']}")).status_code == 404


@pytest.mark.parametrize("amount", [0, MAX_AMOUNT])
async def test_amount_at_the_edge_is_kept_exactly(administration: Administration, amount: int) -> None:
    made = (await administration.post("/limits", {**REQUESTS, "amount": amount})).json()
    assert (made["amount"], made["remaining"]) == (amount, amount)


async def test_concurrency_has_neither_interval_nor_end(administration: Administration) -> None:
    made = (
        await administration.post("/limits", {"scope": "organization", "metric": "concurrency", "amount": 2})
    ).json()
    assert (made["interval"], made["resets_at"]) == (None, None)


async def test_bad_amount_is_refused_by_name(administration: Administration) -> None:
    integers = [-1, 1.5, 1.0, 2**63, 2**64, 10**400, "5", True, None, [], "NaN"]
    decimals = [5, -1, "-1", "NaN", "Infinity", "1e999", "0.0000000001", "9223372037", "", " 1", "1,5", "\u0661", True]
    cases = [({**REQUESTS}, amount) for amount in integers]
    cases += [({**REQUESTS, "metric": "cost"}, amount) for amount in decimals]
    for body, amount in cases:
        response = await administration.post("/limits", {**body, "amount": amount})
        assert (response.status_code, response.json()["error"]["param"]) == (400, "amount"), (amount, response.text)
    id = await administration.made("/limits", REQUESTS)
    for amount in integers:
        response = await administration.post(f"/limits/{id}", {"amount": amount})
        assert (response.status_code, response.json()["error"]["param"]) == (400, "amount"), (amount, response.text)
    literal = b'{"scope":"organization","metric":"requests","interval":"day","amount":NaN}'
    response = await administration.http.post("/v1/organization/limits", content=literal)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")


async def test_bad_terms_are_refused_by_name(administration: Administration) -> None:
    cases: list[tuple[dict[str, object], str]] = [
        ({"metric": "dollars"}, "metric"), ({"interval": "year"}, "interval"), ({"interval": None}, "interval"),
        ({"metric": "concurrency"}, "interval"), ({"scope": "team"}, "scope"), ({"scope": "user"}, "scope_id"),
        ({"models": []}, "models"), ({"models": "gpt-4o"}, "models"), ({"models": [""]}, "models[0]"),
        ({"used": 3}, "used"), ({"scope_id": "a b"}, "scope_id"),
    ]  # fmt: skip
    for change, param in cases:
        response = await administration.post("/limits", {**REQUESTS, **change})
        assert (response.status_code, response.json()["error"]["param"]) == (400, param), (change, response.text)


async def test_word_that_is_not_one_of_a_few_is_refused_with_those_that_are(administration: Administration) -> None:
    response = await administration.post("/limits", {**REQUESTS, "interval": "year"})
    words = "`interval`: Invalid enum value 'year'; it may be minute, hour, day, week, month, lifetime."
    assert response.json()["error"]["message"] == words
    project = await administration.made("/projects", {"name": "Search"})
    key = {"name": "k", "user_id": "user_1", "limits": [{"metric": "dollars", "amount": 5}]}
    message = (await administration.post(f"/projects/{project}/api_keys", key)).json()["error"]["message"]
    assert message.startswith("`limits[0].metric`: Invalid enum value 'dollars'; it may be requests, tokens, ")
    asked = await administration.http.get("/v1/organization/costs?start_time=0&group_by=team")
    assert asked.json()["error"]["message"].endswith(
        "it may be api_key_id, api_source, line_item, project_id, user_id."
    )


@pytest.mark.parametrize("scope", ["organization", "project", "user", "service_account", "api_key"])
async def test_limit_on_what_is_not_there_is_not_found(administration: Administration, scope: str) -> None:
    response = await administration.post("/limits", {**REQUESTS, "scope": scope, "scope_id": "nobody"})
    assert (response.status_code, response.json()["error"]["param"]) == (404, "scope_id")


async def test_new_limit_reaches_a_cached_key_when_the_ledger_calls_it_stale(administration: Administration) -> None:
    project = await administration.made("/projects", {"name": "Search"})
    user = await administration.made("/users", {"email": "ada@example.com", "name": "Ada"})
    path = f"/projects/{project}/api_keys"
    text = (await administration.post(path, {"name": "k", "user_id": user})).json()["value"]
    principals, now = administration.principals, administration.clock.now()
    before = await principals.member(text, "192.0.2.1", now)
    assert principals.cached(text, now) is before
    for scope, scope_id in (
        ("project", project),
        ("organization", None),
        ("user", user),
        ("api_key", before.api_key_id),
    ):
        await administration.made("/limits", {**REQUESTS, "scope": scope, "scope_id": scope_id})
    after = await principals.reload(text, before.revision + 4, now)
    assert after.revision == before.revision + 4
    assert [limit.scope for limit in after.limits] == ["api_key", "user", "project", "organization"]
    assert await principals.reload(text, before.revision + 1, now) is after
