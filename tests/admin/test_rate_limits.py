"""Rate limits per project and model through OpenAI's SDK: a view of the limits, in step with them."""

from typing import Any

import openai
import pytest

from gateway.admin.rate_limits import UNLIMITED, rate_limit_id
from tests.admin.conftest import MODELS, Administration


async def project(administration: Administration) -> str:
    return await administration.made("/projects", {"name": "Search"})


async def limits(administration: Administration) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await administration.http.get("/v1/organization/limits")).json()["data"]
    return found


def shape(project_id: str, **others: object) -> dict[str, object]:
    """A limit that a rate limit shows."""
    words = {"scope": "project", "scope_id": project_id, "metric": "requests", "interval": "minute", "amount": 9}
    return {**words, "models": ["gpt-4o"], **others}


async def test_every_known_model_has_a_row_without_limits(administration: Administration) -> None:
    rate_limits = administration.reader.admin.organization.projects.rate_limits
    rows = [row async for row in rate_limits.list_rate_limits(await project(administration))]
    assert [row.model for row in rows] == sorted(MODELS)
    assert {(row.max_requests_per_1_minute, row.max_tokens_per_1_minute) for row in rows} == {(UNLIMITED, UNLIMITED)}
    assert {row.max_requests_per_1_day for row in rows} == {None}
    assert [row.id for row in rows] == ["rl-gpt-4o", "rl-gpt-4o-mini", "rl-meta_2fllama-3_2e3_3a70b"]


async def test_rate_limit_is_set_changed_and_taken_away_in_step_with_the_limits(administration: Administration) -> None:
    id = await project(administration)
    rate_limits = administration.owner.admin.organization.projects.rate_limits
    made = await rate_limits.update_rate_limit(
        "rl-gpt-4o", project_id=id, max_requests_per_1_minute=60, max_tokens_per_1_minute=0, max_requests_per_1_day=900
    )
    assert (made.id, made.model, made.object) == ("rl-gpt-4o", "gpt-4o", "project.rate_limit")
    amounts = made.max_requests_per_1_minute, made.max_tokens_per_1_minute, made.max_requests_per_1_day
    assert amounts == (60, 0, 900)
    shown = [(limit["metric"], limit["interval"], limit["amount"]) for limit in await limits(administration)]
    assert sorted(shown) == [("requests", "day", 900), ("requests", "minute", 60), ("tokens", "minute", 0)]
    assert {(limit["scope_id"], *limit["models"]) for limit in await limits(administration)} == {(id, "gpt-4o")}
    changed = await rate_limits.update_rate_limit("rl-gpt-4o", project_id=id, max_requests_per_1_minute=61)
    assert (changed.max_requests_per_1_minute, changed.max_requests_per_1_day) == (61, 900)
    await rate_limits.update_rate_limit("rl-gpt-4o", project_id=id, max_tokens_per_1_minute=UNLIMITED)
    path = f"/projects/{id}/rate_limits/rl-gpt-4o"
    last = await administration.post(path, {"max_requests_per_1_minute": None, "max_requests_per_1_day": None})
    assert last.json()["max_requests_per_1_minute"] == last.json()["max_tokens_per_1_minute"] == UNLIMITED
    assert await limits(administration) == []


async def test_limit_of_this_shape_shows_as_a_rate_limit_and_the_tightest_counts(
    administration: Administration,
) -> None:
    id = await project(administration)
    for amount in (9, 7, 8):
        await administration.made("/limits", shape(id, amount=amount))
    rate_limits = administration.owner.admin.organization.projects.rate_limits
    rows = {row.model: row async for row in rate_limits.list_rate_limits(id)}
    assert rows["gpt-4o"].max_requests_per_1_minute == 7
    await rate_limits.update_rate_limit("rl-gpt-4o", project_id=id, max_requests_per_1_minute=11)
    assert {limit["amount"] for limit in await limits(administration)} == {11}


async def test_limit_of_another_shape_shows_under_limits_only(administration: Administration) -> None:
    id = await project(administration)
    others: tuple[dict[str, object], ...] = (
        {"models": ["gpt-*"]}, {"models": None}, {"models": ["gpt-4o", "gpt-4o-mini"]}, {"interval": "hour"},
        {"metric": "input_tokens"}, {"metric": "concurrency", "interval": None},
        {"scope": "organization", "scope_id": None},
    )  # fmt: skip
    for other in others:
        await administration.made("/limits", shape(id, **other))
    rate_limits = administration.owner.admin.organization.projects.rate_limits
    rows = [row async for row in rate_limits.list_rate_limits(id)]
    assert {row.max_requests_per_1_minute for row in rows} == {UNLIMITED}
    assert {row.max_requests_per_1_day for row in rows} == {None}
    assert len(await limits(administration)) == len(others)


async def test_model_that_only_a_limit_knows_has_a_row_and_can_be_changed(administration: Administration) -> None:
    id, name = await project(administration), "é" * 60
    await administration.made("/limits", shape(id, models=[name]))
    rate_limits = administration.owner.admin.organization.projects.rate_limits
    row = [row async for row in rate_limits.list_rate_limits(id)][-1]
    assert (row.model, row.id, len(row.id)) == (name, rate_limit_id(name), 67)
    assert (await rate_limits.update_rate_limit(row.id, project_id=id, max_requests_per_1_minute=1)).model == name


async def test_pages_go_forward_and_back(administration: Administration) -> None:
    id = await project(administration)
    rate_limits = administration.owner.admin.organization.projects.rate_limits
    assert [row.model async for row in rate_limits.list_rate_limits(id, limit=1)] == sorted(MODELS)
    back = await rate_limits.list_rate_limits(id, before="rl-meta_2fllama-3_2e3_3a70b", limit=1)
    assert ([row.model for row in back.data], back.has_more) == (["gpt-4o-mini"], True)
    first = await rate_limits.list_rate_limits(id, before="rl-gpt-4o-mini")
    assert ([row.model for row in first.data], first.has_more) == (["gpt-4o"], False)


@pytest.mark.parametrize(
    ("query", "param"),
    [("after=rl-nothing", "after"), ("before=rl-nothing", "before"), ("limit=0", "limit"), ("limit=101", "limit"),
     ("after=rl-gpt-4o&before=rl-gpt-4o", "before"), ("order=asc", "order")],
)  # fmt: skip
async def test_bad_page_is_refused_by_name(administration: Administration, query: str, param: str) -> None:
    response = await administration.http.get(
        f"/v1/organization/projects/{await project(administration)}/rate_limits?{query}"
    )
    assert (response.status_code, response.json()["error"]["param"]) == (400, param), response.text


@pytest.mark.parametrize("amount", [-1, 1.5, "5", True, UNLIMITED + 1, 10**400])
async def test_amount_that_cannot_be_is_refused_and_nothing_is_set(
    administration: Administration, amount: object
) -> None:
    id = await project(administration)
    body = {"max_requests_per_1_day": 5, "max_tokens_per_1_minute": amount}
    response = await administration.post(f"/projects/{id}/rate_limits/rl-gpt-4o", body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "max_tokens_per_1_minute")
    assert await limits(administration) == []


async def test_what_is_not_limited_here_is_refused_by_name(administration: Administration) -> None:
    path = f"/projects/{await project(administration)}/rate_limits/rl-gpt-4o"
    response = await administration.post(path, {"max_images_per_1_minute": 5})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "max_images_per_1_minute")


async def test_missing_and_archived_things_cannot_be_changed(administration: Administration) -> None:
    id = await project(administration)
    rate_limits = administration.owner.admin.organization.projects.rate_limits
    with pytest.raises(openai.NotFoundError):
        await rate_limits.update_rate_limit("rl-nothing", project_id=id, max_requests_per_1_minute=1)
    with pytest.raises(openai.NotFoundError):
        await rate_limits.update_rate_limit("rl-gpt-4o", project_id="proj_x", max_requests_per_1_minute=1)
    with pytest.raises(openai.NotFoundError):
        await rate_limits.list_rate_limits("proj_x")
    await administration.owner.admin.organization.projects.archive(id)
    with pytest.raises(openai.ConflictError):
        await rate_limits.update_rate_limit("rl-gpt-4o", project_id=id, max_requests_per_1_minute=1)
    assert len((await rate_limits.list_rate_limits(id)).data) == len(MODELS)
    assert await limits(administration) == []
