"""Project API keys and service accounts through OpenAI's SDK; keys are tried where calls would try them."""

import openai
import pytest
from msgspec.structs import replace
from openai.types.admin.organization.projects import ProjectAPIKey
from sqlalchemy import delete

from gateway.core.errors import InvalidKey
from gateway.core.keys import is_well_formed
from gateway.core.limits import Interval, Metric, Scope
from gateway.ledger.entries import Caller, Figures
from gateway.store.principals import Principal
from gateway.store.usage import usage
from tests.admin.conftest import Administration
from tests.team import NOW, call, settle


async def opens(administration: Administration, text: str) -> Principal:
    return await administration.principals.confirm(text, administration.clock.now())


async def project_and_user(administration: Administration) -> tuple[str, str]:
    project = await administration.made("/projects", {"name": "Search"})
    return project, await administration.made("/users", {"email": "ada@example.com", "name": "Ada"})


async def test_key_is_created_for_a_user_with_models_limits_and_expiry(administration: Administration) -> None:
    project, user = await project_and_user(administration)
    body = {
        "name": "laptop",
        "user_id": user,
        "expires_in_seconds": 3600,
        "models": ["gpt-4o*", "text-*"],
        "limits": [
            {"metric": "cost", "interval": "month", "amount": "25.50"},
            {"metric": "concurrency", "amount": 3, "models": ["gpt-*"]},
        ],
    }
    made = (await administration.post(f"/projects/{project}/api_keys", body)).json()
    assert is_well_formed(made["value"])
    assert [limit["amount"] for limit in made["limits"]] == ["25.5", 3]
    principal = await opens(administration, made["value"])
    assert (principal.api_key_id, principal.user_id, principal.project_id) == (made["id"], user, project)
    assert principal.models == ("gpt-4o*", "text-*")
    assert {(one.scope, one.metric, one.interval, one.amount) for one in principal.limits} == {
        (Scope.API_KEY, Metric.COST, Interval.MONTH, 25_500_000_000),
        (Scope.API_KEY, Metric.CONCURRENCY, None, 3),
    }
    keys = administration.reader.admin.organization.projects.api_keys
    shown = await keys.retrieve(made["id"], project_id=project)
    assert isinstance(shown, ProjectAPIKey) and shown.owner.user is not None
    assert (shown.owner.user.email, shown.owner_project_access) == ("ada@example.com", "active")
    assert made["value"] not in shown.to_json() and made["value"][-4:] in shown.redacted_value
    members = administration.reader.admin.organization.projects.users
    assert (await members.retrieve(user, project_id=project)).role == "member"
    administration.clock.advance(3600)
    with pytest.raises(InvalidKey):
        await opens(administration, made["value"])


async def test_bad_limit_of_a_new_key_leaves_nothing_behind(administration: Administration) -> None:
    project, user = await project_and_user(administration)
    limits = [{"metric": "requests", "interval": "day", "amount": 1}, {"metric": "requests", "amount": 1}]
    response = await administration.post(
        f"/projects/{project}/api_keys", {"name": "k", "user_id": user, "limits": limits}
    )
    assert (response.status_code, response.json()["error"]["param"]) == (400, "limits[1].interval")
    keys = administration.owner.admin.organization.projects.api_keys
    assert [key.id async for key in keys.list(project)] == []
    assert (await administration.http.get("/v1/organization/limits")).json()["data"] == []


async def test_no_older_text_outlives_the_grace_of_the_last_rotation(administration: Administration) -> None:
    project, user = await project_and_user(administration)
    made = (await administration.post(f"/projects/{project}/api_keys", {"name": "k", "user_id": user})).json()
    rotate, old = f"/projects/{project}/api_keys/{made['id']}/rotate", [made["value"]]
    for grace_seconds in (86_400, 60, 3_600):
        old.append((await administration.post(rotate, {"grace_seconds": grace_seconds})).json()["value"])
    ends = [(await opens(administration, text)).expires_at for text in old]
    assert ends == [administration.now() + 60, administration.now() + 60, administration.now() + 3_600, None]
    await administration.post(rotate, {})
    for text in old:
        with pytest.raises(InvalidKey):
            await opens(administration, text)


async def test_rotated_key_has_both_texts_until_the_grace_ends(administration: Administration) -> None:
    project, user = await project_and_user(administration)
    path = f"/projects/{project}/api_keys"
    made = (await administration.post(path, {"name": "k", "user_id": user})).json()
    rotated = (await administration.post(f"{path}/{made['id']}/rotate", {"grace_seconds": 60})).json()
    assert rotated["id"] == made["id"] and rotated["value"] != made["value"]
    assert (await opens(administration, made["value"])).expires_at == administration.now() + 60
    assert (await opens(administration, rotated["value"])).api_key_id == made["id"]
    administration.clock.advance(60)
    assert administration.principals.cached(made["value"], administration.clock.now()) is None
    with pytest.raises(InvalidKey):
        await opens(administration, made["value"])
    at_once = (await administration.post(f"{path}/{made['id']}/rotate", {})).json()
    with pytest.raises(InvalidKey):
        await opens(administration, rotated["value"])
    assert (await opens(administration, at_once["value"])).api_key_id == made["id"]


async def test_key_is_changed_disabled_and_deleted(administration: Administration) -> None:
    project, user = await project_and_user(administration)
    path = f"/projects/{project}/api_keys"
    made = (await administration.post(path, {"name": "k", "user_id": user, "models": ["gpt-4o"]})).json()
    changed = (await administration.post(f"{path}/{made['id']}", {"name": "new", "models": None})).json()
    assert (changed["name"], changed["models"], changed["disabled"]) == ("new", None, False)
    assert (await administration.post(f"{path}/{made['id']}", {"disabled": True})).json()["disabled"]
    with pytest.raises(InvalidKey):
        await opens(administration, made["value"])
    await administration.post(f"{path}/{made['id']}", {"disabled": False})
    assert (await opens(administration, made["value"])).key_name == "new"
    keys = administration.owner.admin.organization.projects.api_keys
    updated = await keys.update(made["id"], project_id=project, expires_in_seconds=5)
    assert updated.expires_at == administration.now() + 5
    assert (await keys.delete(made["id"], project_id=project)).deleted
    with pytest.raises(InvalidKey):
        await opens(administration, made["value"])
    with pytest.raises(openai.NotFoundError):
        await keys.retrieve(made["id"], project_id=project)


async def test_key_of_another_project_is_not_found(administration: Administration) -> None:
    project, user = await project_and_user(administration)
    other = await administration.made("/projects", {"name": "Other"})
    id = await administration.made(f"/projects/{project}/api_keys", {"name": "k", "user_id": user})
    for response in (
        await administration.http.get(f"/v1/organization/projects/{other}/api_keys/{id}"),
        await administration.post(f"/projects/{other}/api_keys/{id}", {"disabled": True}),
        await administration.post(f"/projects/{other}/api_keys/{id}/rotate", {}),
        await administration.http.delete(f"/v1/organization/projects/{other}/api_keys/{id}"),
        await administration.http.get(f"/v1/organization/projects/{other}/api_keys?after={id}"),
    ):
        assert response.status_code == (400 if "after" in str(response.url) else 404), response.url


async def test_keys_are_filtered_by_the_access_of_their_owner(administration: Administration) -> None:
    project, user = await project_and_user(administration)
    eve = await administration.made("/users", {"email": "eve@example.com", "name": "Eve"})
    mine = await administration.made(f"/projects/{project}/api_keys", {"name": "k", "user_id": user})
    hers = await administration.made(f"/projects/{project}/api_keys", {"name": "k", "user_id": eve})
    await administration.post(f"/users/{eve}", {"disabled": True})
    keys = administration.owner.admin.organization.projects.api_keys
    assert [key.id async for key in keys.list(project, owner_project_access="active")] == [mine]
    assert [key.id async for key in keys.list(project, owner_project_access="inactive")] == [hers]
    assert {key.id async for key in keys.list(project, limit=1)} == {mine, hers}


async def test_service_account_comes_with_a_key_and_takes_its_keys_along(administration: Administration) -> None:
    project = await administration.made("/projects", {"name": "Search"})
    accounts = administration.owner.admin.organization.projects.service_accounts
    made = await accounts.create(project, name="Bot", expires_in_seconds=60)
    assert made.api_key is not None and made.role == "member"
    principal = await opens(administration, made.api_key.value)
    assert (principal.service_account_id, principal.user_id) == (made.id, None)
    further = await accounts.api_keys.create(made.id, project_id=project, name="second")
    assert (await opens(administration, further.value)).key_name == "second"
    owner = (
        await administration.reader.admin.organization.projects.api_keys.retrieve(further.id, project_id=project)
    ).owner
    assert owner.type == "service_account" and owner.service_account is not None and owner.user is None
    assert (await accounts.update(made.id, project_id=project, name="Bot 2", role="owner")).role == "owner"
    assert [account.name async for account in accounts.list(project)] == ["Bot 2"]
    assert (await accounts.delete(made.id, project_id=project)).deleted
    for text in (made.api_key.value, further.value):
        with pytest.raises(InvalidKey):
            await opens(administration, text)
    with pytest.raises(openai.NotFoundError):
        await accounts.retrieve(made.id, project_id=project)


async def test_service_account_alone_has_no_key_and_no_role(administration: Administration) -> None:
    project = await administration.made("/projects", {"name": "Search"})
    accounts = administration.owner.admin.organization.projects.service_accounts
    made = await accounts.create(project, name="Bot", create_service_account_only=True)
    assert (made.api_key, made.role) == (None, "none")
    with pytest.raises(openai.BadRequestError):
        await accounts.create(project, name="Bot", create_service_account_only=True, expires_in_seconds=60)


async def test_archiving_a_project_closes_its_keys(administration: Administration) -> None:
    project, user = await project_and_user(administration)
    text = (await administration.post(f"/projects/{project}/api_keys", {"name": "k", "user_id": user})).json()["value"]
    await opens(administration, text)
    await administration.owner.admin.organization.projects.archive(project)
    with pytest.raises(InvalidKey):
        await opens(administration, text)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": "k"}, "user_id"),
        ({"name": "k", "user_id": "user_1", "service_account_id": "svc_1"}, "user_id"),
        ({"name": "k", "user_id": "user_1", "models": []}, "models"),
        ({"name": "k", "user_id": "user_1", "models": ["a\x00"]}, "models[0]"),
        ({"name": "k", "user_id": "user_1", "expires_in_seconds": 0}, "expires_in_seconds"),
        ({"name": "k", "user_id": "user_1", "expires_in_seconds": 2**63}, "expires_in_seconds"),
        ({"name": "k", "user_id": "user_1", "scopes": []}, "scopes"),
        ({"name": "k", "user_id": "user_\x00"}, "user_id"),
    ],
)
async def test_key_made_of_nonsense_is_refused(
    administration: Administration, body: dict[str, object], param: str
) -> None:
    project = await administration.made("/projects", {"name": "Search"})
    response = await administration.post(f"/projects/{project}/api_keys", body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param), response.text


async def test_key_tells_when_it_was_last_used(administration: Administration, database_url: str) -> None:
    project, user = await project_and_user(administration)
    path = f"/projects/{project}/api_keys"
    made = await administration.made(path, {"name": "laptop", "user_id": user})
    other = await administration.made(path, {"name": "desk", "user_id": user})
    keys = administration.reader.admin.organization.projects.api_keys

    async def last_used(id: str) -> int | None:
        return (await keys.retrieve(id, project_id=project)).last_used_at

    assert await last_used(made) is None
    calls = [call("req_1", NOW, Figures(1, 1, 1)), call("req_2", NOW + 90_061.5, Figures(1, 0))]
    await settle(database_url, [replace(one, caller=Caller(made, project, user, None)) for one in calls])
    assert (await last_used(made), await last_used(other)) == (NOW + 90_061, None)
    await administration.database.write(lambda connection: connection.execute(delete(usage)))
    assert await last_used(made) == (NOW + 90_061) // 86_400 * 86_400
