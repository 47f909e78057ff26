"""Model permissions of a project through OpenAI's SDK."""

import openai
import pytest

from tests.admin.conftest import Administration


async def project(administration: Administration) -> str:
    return await administration.made("/projects", {"name": "Search"})


async def test_permissions_are_set_changed_and_deleted(administration: Administration) -> None:
    id, other = await project(administration), await project(administration)
    permissions = administration.owner.admin.organization.projects.model_permissions
    unset = await permissions.retrieve(id)
    assert (unset.object, unset.mode, unset.api_model_ids) == ("project.model_permissions", "deny_list", [])
    made = await permissions.update(id, mode="allow_list", model_ids=["gpt-4o", "o*", "gpt-4o"])
    assert (made.mode, made.api_model_ids) == ("allow_list", ["gpt-4o", "o*"])
    assert (await permissions.update(id, mode="deny_list", model_ids=["gpt-4o"])).mode == "deny_list"
    assert (await permissions.retrieve(id)).api_model_ids == ["gpt-4o"]
    assert (await permissions.retrieve(other)).api_model_ids == []
    assert (await permissions.delete(id)).object == "project.model_permissions.deleted"
    assert (await permissions.retrieve(id)).api_model_ids == []
    assert (await permissions.delete(id)).deleted


async def test_permissions_of_a_missing_or_archived_project_cannot_be_set(administration: Administration) -> None:
    projects = administration.owner.admin.organization.projects
    permissions = projects.model_permissions
    with pytest.raises(openai.NotFoundError):
        await permissions.retrieve("proj_x")
    with pytest.raises(openai.NotFoundError):
        await permissions.update("proj_x", mode="deny_list", model_ids=[])
    with pytest.raises(openai.NotFoundError):
        await permissions.delete("proj_x")
    id = await project(administration)
    await permissions.update(id, mode="deny_list", model_ids=["o1"])
    await projects.archive(id)
    with pytest.raises(openai.ConflictError):
        await permissions.update(id, mode="deny_list", model_ids=[])
    with pytest.raises(openai.ConflictError):
        await permissions.delete(id)
    assert (await permissions.retrieve(id)).api_model_ids == ["o1"]


@pytest.mark.parametrize(
    ("change", "param"),
    [({"mode": "block_list"}, "mode"), ({"mode": None}, "mode"), ({"model_ids": None}, "model_ids"),
     ({"model_ids": "gpt-4o"}, "model_ids"), ({"model_ids": [""]}, "model_ids[0]"),
     ({"model_ids": ["a", "b" * 201]}, "model_ids[1]"), ({"model_ids": ["m"] * 501}, "model_ids"),
     ({"model_ids": ["a\x00b"]}, "model_ids[0]"), ({"models": []}, "models")],
)  # fmt: skip
async def test_bad_permissions_are_refused_by_name(
    administration: Administration, change: dict[str, object], param: str
) -> None:
    path = f"/projects/{await project(administration)}/model_permissions"
    response = await administration.post(path, {"mode": "deny_list", "model_ids": [], **change})
    assert (response.status_code, response.json()["error"]["param"]) == (400, param), response.text
