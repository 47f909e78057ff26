"""What people send by mistake or on purpose: each is a clear 400, 404 or 409 and nothing is half done."""

from typing import Any

import pytest

from gateway.admin.table import ROUTES
from tests.admin.conftest import Administration
from tests.admin.test_roles import BASE, CLASSIFIED, ask, changes, filled, world

NASTY = (
    "Robert'); DROP TABLE project;--", '" OR 1=1', "<script>alert(1)</script>", "<img src=x onerror=alert(1)>",
    "${jndi:ldap://x}", "{{7*7}}", "%00%0a%s%n", "=1+1", "ünïcödé 漢字 🎉", "\u202eevil", "a" * 200,
)  # fmt: skip
LISTS = [route.path for route in ROUTES if "after" in route.query.__struct_fields__]
NAMED = [route for route, (_, body) in CLASSIFIED.items() if body is not None and "name" in body]


def error(response: Any) -> tuple[int, str | None, str | None]:
    words = response.json()["error"]
    assert words["message"] and len(words["message"]) < 600, response.text
    return response.status_code, words["param"], words["code"]


async def test_name_is_stored_and_shown_as_the_text_it_is(administration: Administration) -> None:
    organization = administration.reader.admin.organization
    for place, name in enumerate(NASTY):
        project = await administration.made("/projects", {"name": name})
        user = await administration.made("/users", {"email": f"ada{place}@example.com", "name": name})
        key = await administration.made(f"/projects/{project}/api_keys", {"name": name, "user_id": user})
        assert (await organization.projects.retrieve(project)).name == name
        assert (await organization.users.retrieve(user)).name == name
        assert (await organization.projects.api_keys.retrieve(key, project_id=project)).name == name
        shown = (await administration.http.get(f"{BASE}/audit_logs?resource_ids[]={project}")).json()["data"]
        assert [(event["after"]["name"], event["project"]["name"]) for event in shown] == [(name, name)]
    assert {one.name async for one in organization.projects.list()} == set(NASTY)


async def test_name_that_cannot_be_is_refused_everywhere(administration: Administration) -> None:
    ids = await world(administration, "one")
    before = await changes(administration)
    for route in NAMED:
        method, path = route.split(" ")
        for name in ("", " \t ", "n" * 201, "n" * 10_000, "a\x00b", "a\nb", "\x1b[2J", "a\u0085b", 5, ["x"]):
            body = {**(CLASSIFIED[route][1] or {}), "name": name}
            response = await administration.http.request(method, BASE + filled(path, ids), json=body)
            assert error(response) == (400, "name", "invalid_value"), (route, name)
    assert await changes(administration) == before


@pytest.mark.parametrize("path", LISTS)
async def test_cursor_that_was_tampered_with_is_refused(administration: Administration, path: str) -> None:
    ids, others = await world(administration, "one"), await world(administration, "two")
    url = BASE + filled(path.removeprefix(BASE), ids)
    first = (await administration.http.get(url, params={"limit": 1})).json()
    id = first["last_id"]
    foreign = [other for other in others.values() if other not in (id, "rl-gpt-4o")] if "{project_id}" in path else []
    for cursor in (f"{id}x", id[:-1], id.swapcase(), "'; DROP TABLE project; --", "é", "", "a" * 129, "0", *foreign):
        for param in {"after", "before"} & _fields(path):
            response = await administration.http.get(url, params={param: cursor})
            assert error(response)[:2] == (400, param), (cursor, response.text)
    for limit in ("0", "-1", "101", "1.5", "x", "", "9" * 400, "NaN"):
        response = await administration.http.get(url, params={"limit": limit})
        assert error(response)[:2] == (400, "limit"), (limit, response.text)
    twice = await administration.http.get(f"{url}?limit=1&limit=2")
    assert error(twice)[:2] == (400, "limit")
    unknown = await administration.http.get(f"{url}?limit[]=1")
    assert error(unknown)[1:] == ("limit[]", "unknown_parameter")


def _fields(path: str) -> set[str]:
    (route,) = [route for route in ROUTES if route.path == path and route.method == "GET"]
    return set(route.query.__struct_fields__)


def test_lists_that_can_be_read_backwards_are_those_of_the_sdk() -> None:
    backwards = {path.removeprefix(BASE) for path in LISTS if "before" in _fields(path)}
    assert backwards == {
        "/audit_logs", "/projects/{project_id}/rate_limits", "/spend_alerts", "/projects/{project_id}/spend_alerts",
    }  # fmt: skip


async def test_nothing_of_an_archived_project_can_be_changed(administration: Administration) -> None:
    ids = await world(administration, "one")
    words = {"metric": "requests", "interval": "day", "amount": 5}
    bound = {"service_account": ids["service_account_id"], "api_key": ids["api_key_id"], "project": ids["project_id"]}
    limits = [await administration.made("/limits", {**words, "scope": it, "scope_id": id}) for it, id in bound.items()]
    await administration.owner.admin.organization.projects.archive(ids["project_id"])
    before = await changes(administration)
    for route in CLASSIFIED:
        if "{project_id}" in route and not route.startswith("GET") and not route.endswith("/archive"):
            assert error(await ask(administration, route, ids))[::2] == (409, "project_archived"), route
    for scope, id in bound.items():
        again = await administration.post("/limits", {**words, "scope": scope, "scope_id": id})
        assert error(again) == (409, "scope_id", "project_archived")
    for limit in limits:
        assert error(await administration.post(f"/limits/{limit}", {"amount": 6}))[0] == 409
        assert error(await administration.http.delete(f"{BASE}/limits/{limit}"))[0] == 409
    assert await changes(administration) == before
    for route in CLASSIFIED:
        if route.startswith("GET /projects/"):
            assert (await ask(administration, route, ids)).status_code == 200, route
    assert (await ask(administration, "POST /projects/{project_id}/archive", ids)).status_code == 200


async def test_names_that_must_differ_do(administration: Administration) -> None:
    ids = await world(administration, "one")
    taken = await administration.post("/users", {"email": "ONE@example.com", "name": "Other"})
    assert error(taken) == (409, "email", "email_taken")
    member = await administration.post(
        f"/projects/{ids['project_id']}/users", {"user_id": ids["user_id"], "role": "member"}
    )
    assert error(member)[::2] == (409, "already_member")
    assert (await administration.post("/projects", {"name": "one"})).status_code == 200


@pytest.mark.parametrize("path", ["/projects/%2e%2e/users", "/users/%00", "/users/a%2Fb", "/users/a b", "/users/é"])
async def test_id_that_cannot_be_is_not_found(administration: Administration, path: str) -> None:
    assert (await administration.http.get(BASE + path)).status_code == 404
