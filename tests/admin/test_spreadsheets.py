"""Lists and reports as CSV: the same rows as in JSON, all of them, and no half of a table that looks whole."""

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.routing import Router

from gateway.admin import projects
from gateway.admin.boundary import AdminRequest, mount
from gateway.admin.lists import ListOf
from gateway.admin.projects import ProjectObject
from gateway.core.errors import ServiceUnavailable
from gateway.ledger.entries import Figures
from gateway.store import projects as stored_projects
from gateway.store.engine import Connection
from tests.admin.conftest import Administration
from tests.admin.reporting import Reporting, reporting_on, services_of
from tests.patience import PATIENCE_SECONDS
from tests.serving import ServedApp, running
from tests.team import NOW, call, running_team

DAY = 86_400
TODAY = NOW - NOW % DAY
CSV = {"format": "csv"}
MANY = 250


@pytest.fixture
async def reporting(database_url: str) -> AsyncIterator[Reporting]:
    async with running_team(database_url) as team, reporting_on(team) as served:
        yield served


def table(answer: httpx.Response) -> list[dict[str, str]]:
    """The rows of a CSV answer by the names of their columns."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.text, newline=""), strict=True))


def make_projects(connection: Connection) -> None:
    for number in range(MANY):
        stored_projects.create(connection, f"proj_{number:04d}", f"Team {number}", NOW + number // 7)


async def test_list_as_csv_has_every_row_of_every_page(administration: Administration) -> None:
    await administration.database.change(make_projects)
    rows = table(await administration.http.get("/v1/organization/projects", params=CSV))
    assert [row["id"] for row in rows] == [f"proj_{number:04d}" for number in range(MANY)]
    some = table(await administration.http.get("/v1/organization/projects", params={**CSV, "limit": 7}))
    assert some == rows[:7]
    rest = table(await administration.http.get("/v1/organization/projects", params={**CSV, "after": "proj_0119"}))
    assert rest == rows[120:]


async def test_list_as_csv_shows_nested_fields_and_names_without_formulas(administration: Administration) -> None:
    project = await administration.made("/projects", {"name": '=HYPERLINK("http://evil.example","x")'})
    user = await administration.made("/users", {"email": "ann@example.com", "name": "Ann, <b>the first</b>"})
    body = {"name": "@key", "user_id": user, "models": ["gpt-4o*", "o3"]}
    await administration.made(f"/projects/{project}/api_keys", body)
    (shown,) = table(await administration.http.get("/v1/organization/projects", params=CSV))
    assert shown["name"] == '\'=HYPERLINK("http://evil.example","x")'
    (key,) = table(await administration.http.get(f"/v1/organization/projects/{project}/api_keys", params=CSV))
    assert (key["name"], key["models"], key["disabled"]) == ("'@key", '["gpt-4o*","o3"]', "false")
    assert (key["owner.user.email"], key["owner.user.name"]) == ("ann@example.com", "Ann, <b>the first</b>")
    assert (key["owner.service_account.id"], key["expires_at"]) == ("", "")
    assert "object" not in key


async def test_list_is_csv_where_the_accept_header_says_so(administration: Administration) -> None:
    url = "/v1/organization/users"
    answer = await administration.http.get(url, headers={"accept": "text/csv"})
    assert table(answer) == []
    assert answer.headers["content-disposition"] == 'attachment; filename="users.csv"'
    both = await administration.http.get(url, headers={"accept": "application/json, text/csv"})
    assert both.json()["object"] == "list"
    chosen = await administration.http.get(url, headers={"accept": "text/csv"}, params={"format": "json"})
    assert chosen.json()["object"] == "list"


async def test_format_that_is_none_and_csv_of_no_list_are_refused_by_name(administration: Administration) -> None:
    for url, code in (("/v1/organization/users?format=xml", "invalid_value"),
                      ("/v1/organization/projects/proj_1?format=csv", "unknown_parameter")):  # fmt: skip
        answer = await administration.http.get(url)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"], error["code"]) == (400, "format", code)


async def test_csv_of_what_cannot_be_read_is_an_error_in_json(administration: Administration) -> None:
    answer = await administration.http.get("/v1/organization/projects/proj_none/api_keys", params=CSV)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    answer = await administration.http.get("/v1/organization/projects", params={**CSV, "after": "proj_none"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "after")


async def test_report_as_csv_has_the_rows_of_every_bucket(reporting: Reporting) -> None:
    days = range(20)
    await reporting.team.settle(
        *(call(f"req_{day}", NOW - day * DAY, Figures(1, 1, 100 + day, cost_nano_usd=10 ** (day % 10))) for day in days)
    )
    query: dict[str, str | int] = {"start_time": TODAY - 19 * DAY, "group_by": "model", **CSV}
    rows = table(await reporting.http.get("usage/completions", params=query))
    assert [(int(row["start_time"]), int(row["input_tokens"])) for row in rows] == [
        (TODAY - day * DAY, 100 + day) for day in reversed(days)
    ]
    assert {row["model"] for row in rows} == {"gpt-4o-mini"}
    costs = table(await reporting.http.get("costs", params={**query, "group_by": "project_id"}))
    assert [row["amount.value"] for row in costs][:2] == ["1", "0.1"]
    assert [row["amount.value"] for row in costs][-1] == "0.000000001"
    first = table(await reporting.http.get("usage/completions", params={**query, "limit": 3}))
    assert first == rows[:3]


async def test_report_as_csv_with_a_members_key_is_its_own(reporting: Reporting) -> None:
    await reporting.team.settle(call("req_1", NOW, Figures(1, 1, 5)), call("req_2", NOW, Figures(1, 1, 7), key="key_2"))
    headers = {"authorization": f"Bearer {reporting.team.texts['key_1']}"}
    query: dict[str, str | int] = {"start_time": TODAY, "group_by": "api_key_id", **CSV}
    rows = table(await reporting.http.get("usage/total", params=query, headers=headers))
    assert [(row["api_key_id"], row["input_tokens"]) for row in rows] == [("key_1", "5")]


async def test_csv_that_breaks_off_does_not_look_whole(sqlite_url: str) -> None:
    """The database goes away between two pages."""
    (route,) = (route for route in projects.ROUTES if route.handler is projects.list_projects)

    async def list_once(request: AdminRequest[Any, Any]) -> ListOf[ProjectObject]:
        if request.query.after is not None:
            raise ServiceUnavailable("gone")
        return await projects.list_projects(request)

    async with running_team(sqlite_url) as team:
        await team.database.change(make_projects)
        application = ServedApp(Router(mount([replace(route, handler=list_once)], services_of(team))))
        async with running(application) as server, httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
            url = f"http://127.0.0.1:{server.port}{route.path}"
            headers = {"authorization": f"Bearer {team.texts['admin']}"}
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(url, params=CSV, headers=headers)
