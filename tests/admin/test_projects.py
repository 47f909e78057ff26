"""Projects through OpenAI's SDK."""

import openai
import pytest

from tests.admin.conftest import Administration


async def test_project_is_created_renamed_and_archived(administration: Administration) -> None:
    projects = administration.owner.admin.organization.projects
    made = await projects.create(name="Search")
    assert (made.object, made.name, made.status, made.created_at) == (
        "organization.project", "Search", "active", administration.now(),
    )  # fmt: skip
    assert (await projects.update(made.id, name="Find")).name == "Find"
    administration.clock.advance(10)
    archived = await projects.archive(made.id)
    assert (archived.status, archived.archived_at) == ("archived", administration.now())
    assert await projects.archive(made.id) == archived
    assert await projects.retrieve(made.id) == archived


async def test_fields_of_openais_that_mean_nothing_here_may_be_null(administration: Administration) -> None:
    projects, users = administration.owner.admin.organization.projects, administration.owner.admin.organization.users
    made = await projects.create(name="Search", external_key_id=None, geography=None, residency=None)
    for changes in ({}, {"name": None}, {"external_key_id": None, "geography": None}):
        assert await projects.update(made.id, **changes) == made
    user = await administration.made("/users", {"email": "ada@example.com", "name": "Ada", "role": "owner"})
    changed = await users.update(user, role=None, role_id=None, developer_persona=None, technical_level=None)
    assert changed.role == "owner"
    for path, field in (
        (f"/projects/{made.id}", "geography"),
        ("/projects", "residency"),
        (f"/users/{user}", "role_id"),
    ):
        refused = await administration.post(path, {"name": "Find", field: "EU"})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, field)
    assert [project.name async for project in projects.list()] == ["Search"]


async def test_archived_project_changed_is_a_conflict(administration: Administration) -> None:
    projects = administration.owner.admin.organization.projects
    made = await projects.create(name="Search")
    await projects.archive(made.id)
    with pytest.raises(openai.ConflictError) as caught:
        await projects.update(made.id, name="Find")
    assert caught.value.code == "project_archived"
    for path in ("users", "service_accounts", "api_keys"):
        body = {"users": {"role": "member", "user_id": "user_x"}, "service_accounts": {"name": "Bot"}}.get(
            path, {"name": "Key", "user_id": "user_x"}
        )
        assert (await administration.post(f"/projects/{made.id}/{path}", body)).status_code == 409, path


async def test_projects_are_listed_in_pages_without_archived_ones(administration: Administration) -> None:
    projects = administration.owner.admin.organization.projects
    made = []
    for number in range(7):
        # Two of a second: the id decides then.
        administration.clock.advance(number % 2)
        made.append((await projects.create(name=f"Project {number}")).id)
    await projects.archive(made[3])
    listed = [project.id async for project in projects.list(limit=2)]
    assert sorted(listed) == sorted({*made} - {made[3]})
    everything = [project.id async for project in projects.list(limit=3, include_archived=True)]
    assert sorted(everything) == sorted(made)
    assert everything[0] in made[:1] and len(everything) == 7
    page = await projects.list(limit=2, after=listed[1])
    assert [project.id for project in page.data] == listed[2:4]
    assert page.has_more and page.last_id == listed[3]


async def test_empty_list_has_null_ids(administration: Administration) -> None:
    response = await administration.http.get("/v1/organization/projects")
    assert response.json() == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"), ("limit=101", "limit"), ("limit=x", "limit"), ("limit=1.5", "limit"),
        ("after=proj_unknown", "after"), ("after=%00", "after"), ("after='%3B--", "after"), ("before=proj_x", "before"),
        ("include_archived=perhaps", "include_archived"), ("limit=1&limit=2", "limit"),
    ],
)  # fmt: skip
async def test_list_with_bad_query_names_the_parameter(administration: Administration, query: str, param: str) -> None:
    response = await administration.http.get(f"/v1/organization/projects?{query}")
    assert (response.status_code, response.json()["error"]["param"]) == (400, param), response.text


@pytest.mark.parametrize("id", ["proj_missing", "proj_%00", "proj_%2e%2e", "%27%20OR%201=1", "x" * 5000, "proj_%C3%A4"])
async def test_missing_project_is_not_found(administration: Administration, id: str) -> None:
    response = await administration.http.get(f"/v1/organization/projects/{id}")
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "'; DROP TABLE project; --", "Zürich 東京 🚀", "a" * 200]
)
async def test_name_is_stored_and_shown_as_text(administration: Administration, name: str) -> None:
    made = await administration.owner.admin.organization.projects.create(name=name)
    assert (await administration.reader.admin.organization.projects.retrieve(made.id)).name == name
