"""Users and their memberships through OpenAI's SDK."""

import openai
import pytest

from gateway.core.errors import InvalidKey
from tests.admin.conftest import Administration

ADA = {"email": "Ada@Example.com", "name": "Ada", "role": "owner"}


async def test_user_is_created_changed_and_deleted(administration: Administration) -> None:
    id = await administration.made("/users", ADA)
    users = administration.owner.admin.organization.users
    made = await users.retrieve(id)
    assert (made.object, made.email, made.name, made.role) == ("organization.user", "ada@example.com", "Ada", "owner")
    assert (await users.update(id, role="reader")).role == "reader"
    assert [user.id async for user in users.list(emails=["ADA@example.com"])] == [id]
    assert [user.id async for user in users.list(emails=["eve@example.com", "bob@example.com"])] == []
    assert (await users.delete(id)).deleted
    with pytest.raises(openai.NotFoundError):
        await users.retrieve(id)
    assert [user.id async for user in users.list()] == []


async def test_email_of_another_user_is_a_conflict_until_they_are_deleted(administration: Administration) -> None:
    id = await administration.made("/users", ADA)
    again = await administration.post("/users", {**ADA, "email": "ada@EXAMPLE.com"})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "email_taken")
    await administration.owner.admin.organization.users.delete(id)
    assert (await administration.post("/users", ADA)).status_code == 200


async def test_disabled_user_is_shown_so_and_their_keys_open_nothing(administration: Administration) -> None:
    project = await administration.made("/projects", {"name": "Search"})
    user = await administration.made("/users", ADA)
    key = (await administration.post(f"/projects/{project}/api_keys", {"name": "k", "user_id": user})).json()
    response = await administration.post(f"/users/{user}", {"disabled": True})
    assert (response.json()["disabled"], response.json()["user"]["enabled"]) == (True, False)
    with pytest.raises(InvalidKey):
        await administration.principals.member(key["value"], "192.0.2.1", administration.now())
    keys = administration.owner.admin.organization.projects.api_keys
    assert (await keys.retrieve(key["id"], project_id=project)).owner_project_access == "inactive"
    await administration.post(f"/users/{user}", {"disabled": False})
    assert (await administration.principals.member(key["value"], "192.0.2.1", administration.now())).user_id == user


async def test_member_is_added_changed_listed_and_removed(administration: Administration) -> None:
    project = await administration.made("/projects", {"name": "Search"})
    other = await administration.made("/projects", {"name": "Other"})
    user = await administration.made("/users", ADA)
    members = administration.owner.admin.organization.projects.users
    made = await members.create(project, role="member", email="ada@example.com")
    assert (made.id, made.object, made.role) == (user, "organization.project.user", "member")
    with pytest.raises(openai.ConflictError):
        await members.create(project, role="member", user_id=user)
    assert (await members.update(user, project_id=project, role="owner")).role == "owner"
    assert (await members.retrieve(user, project_id=project)).email == "ada@example.com"
    assert [member.id async for member in members.list(project)] == [user]
    assert [member.id async for member in members.list(other)] == []
    with pytest.raises(openai.NotFoundError):
        await members.retrieve(user, project_id=other)
    assert (await members.delete(user, project_id=project)).deleted
    assert [member.id async for member in members.list(project)] == []


async def test_removed_member_loses_the_keys_in_that_project_only(administration: Administration) -> None:
    user = await administration.made("/users", ADA)
    texts = {}
    for name in ("Search", "Other"):
        project = await administration.made("/projects", {"name": name})
        key = await administration.post(f"/projects/{project}/api_keys", {"name": "k", "user_id": user})
        texts[name] = project, key.json()["value"]
    await administration.owner.admin.organization.projects.users.delete(user, project_id=texts["Search"][0])
    with pytest.raises(InvalidKey):
        await administration.principals.member(texts["Search"][1], "192.0.2.1", administration.now())
    assert await administration.principals.member(texts["Other"][1], "192.0.2.1", administration.now())


@pytest.mark.parametrize(
    "email", ["", "ada", "ada@", "@example.com", "a b@example.com", "ada@example", "ada@example.com\n", "a\x00@b.cd",
              "ada@example.com@x.yz", "a,b@c.de", "<script>@b.cd", "a@b..cd", "a" * 250 + "@example.com"],
)  # fmt: skip
async def test_email_that_is_none_is_refused(administration: Administration, email: str) -> None:
    response = await administration.post("/users", {**ADA, "email": email})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "email"), response.text
