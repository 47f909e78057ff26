"""What is true of every route of administration: who may, how errors look, what is written down."""

import asyncio
import re

import msgspec
import openai
import pytest
from sqlalchemy import select

from gateway.admin.boundary import MAX_BODY_BYTES
from gateway.admin.table import ROUTES
from gateway.store.audit_log import audit_log
from tests.admin.conftest import READER, Administration


def url(path: str) -> str:
    """Fill a route's path with ids of nothing."""
    return re.sub(r"\{\w+\}", "nothing", path)


async def member_key(administration: Administration) -> str:
    project = await administration.made("/projects", {"name": "Search"})
    made = await administration.owner.admin.organization.projects.service_accounts.create(project, name="Bot")
    assert made.api_key is not None
    return made.api_key.value


async def test_every_route_refuses_what_it_does_not_know_by_name(administration: Administration) -> None:
    for route in ROUTES:
        response = await administration.http.request(route.method, f"{url(route.path)}?wrong=1")
        assert (response.status_code, response.json()["error"]["param"]) == (400, "wrong"), route
        if route.method == "POST":
            response = await administration.http.request(route.method, url(route.path), json={"wrong": 1})
            assert (response.status_code, response.json()["error"]["code"]) == (400, "unknown_parameter"), route


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "missing_parameter"), (b"{", "invalid_json"), (b"[]", "invalid_value"), (b"null", "invalid_value"),
        (b'{"name":"\xff"}', "invalid_json"), (b'{"name":NaN}', "invalid_json"),
        (b'{"name":"\\ud800"}', "invalid_json"),
        (b'{"name":' + b"[" * 100_000, "invalid_value"), (b'{"x":' + b"[" * 100_000, "unknown_parameter"),
        (b'{"name":"a\\u0000b"}', "invalid_value"), (b'{"name":"%s"}' % (b"n" * 10_000), "invalid_value"),
        (b'{"name":""}', "invalid_value"), (b'{"name":"  "}', "invalid_value"), (b'{"name":1}', "invalid_value"),
        (b'{"name":"%s"}' % (b"n" * MAX_BODY_BYTES), "request_too_large"),
    ],
)  # fmt: skip
async def test_bad_body_is_refused_in_openai_shape(administration: Administration, body: bytes, code: str) -> None:
    response = await administration.http.post("/v1/organization/projects", content=body)
    assert response.status_code == (413 if code == "request_too_large" else 400)
    error = response.json()["error"]
    assert (set(error), error["code"]) == ({"message", "type", "param", "code"}, code), response.text
    assert len(error["message"]) < 200
    assert [project.id async for project in administration.owner.admin.organization.projects.list()] == []


async def test_compressed_body_is_refused(administration: Administration) -> None:
    response = await administration.http.post(
        "/v1/organization/projects", content=b"x", headers={"content-encoding": "gzip"}
    )
    assert response.status_code == 415


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/organization"), ("GET", "/v1/organization/certificates"), ("PUT", "/v1/organization/projects"),
        ("POST", "/v1/organization/projects/p/archive/x"), ("OPTIONS", "/v1/organization/users"),
    ],
)  # fmt: skip
async def test_what_is_not_served_is_not_found_in_openai_shape(
    administration: Administration, method: str, path: str
) -> None:
    response = await administration.http.request(method, path)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "route_not_served")


async def test_two_keys_that_differ_are_refused(administration: Administration) -> None:
    response = await administration.http.get("/v1/organization/projects", headers={"x-api-key": READER.text})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "conflicting_credentials")


async def test_changes_are_audited_without_secrets_and_refused_ones_are_not(administration: Administration) -> None:
    member = await member_key(administration)
    with pytest.raises(openai.NotFoundError):
        await administration.owner.admin.organization.users.update("user_x", role="reader")
    made = await administration.owner.admin.organization.admin_api_keys.create(name="Ops")
    rows = await administration.database.read(
        lambda connection: connection.execute(select(audit_log).order_by(audit_log.c.type)).all()
    )
    assert [row.type for row in rows] == ["project.created", "service_account.created", "tenant.admin_api_key.created"]
    assert {(row.actor, row.address) for row in rows} == {("admkey_owner", "127.0.0.1")}
    assert msgspec.json.decode(rows[2].detail)["after"]["name"] == "Ops"
    text = " ".join(row.detail for row in rows)
    assert member not in text and made.value not in text
    assert member[17:49] not in text and made.value[23:55] not in text


async def test_admin_keys_are_created_listed_in_either_order_and_deleted(administration: Administration) -> None:
    keys = administration.owner.admin.organization.admin_api_keys
    made = await keys.create(name="Ops", expires_in_seconds=60)
    assert made.value.startswith("sk-gw-admin-") and made.value not in made.redacted_value
    assert made.expires_at == administration.now() + 60
    ascending = [key.id async for key in keys.list(limit=1)]
    assert ascending == [key.id async for key in keys.list(limit=1, order="desc")][::-1]
    assert ascending[-1] == made.id and len(ascending) == 3
    shown = await keys.retrieve(made.id)
    assert shown.owner.role == "owner" and made.value not in shown.to_json()
    ops = administration.owner.with_options(admin_api_key=made.value)
    assert await ops.admin.organization.projects.create(name="Search")
    administration.clock.advance(60)
    with pytest.raises(openai.AuthenticationError):
        await ops.admin.organization.projects.list()
    assert (await keys.delete(made.id)).deleted


async def test_last_owner_key_cannot_be_deleted(administration: Administration) -> None:
    keys = administration.owner.admin.organization.admin_api_keys
    with pytest.raises(openai.ConflictError):
        await keys.delete("admkey_owner")
    assert (await keys.retrieve("admkey_owner")).id == "admkey_owner"


async def test_owners_who_delete_each_other_at_once_leave_one(administration: Administration) -> None:
    keys = administration.owner.admin.organization.admin_api_keys
    made = await keys.create(name="Ops")
    other = administration.owner.with_options(admin_api_key=made.value).admin.organization.admin_api_keys
    ends = await asyncio.gather(keys.delete(made.id), other.delete("admkey_owner"), return_exceptions=True)
    assert sum(not isinstance(end, Exception) for end in ends) == 1, ends


async def test_reader_keys_can_be_made_but_only_by_owners(administration: Administration) -> None:
    made = (await administration.post("/admin_api_keys", {"name": "Report", "role": "reader"})).json()
    assert made["role"] == "reader"
    with pytest.raises(openai.PermissionDeniedError):
        await administration.reader.admin.organization.admin_api_keys.create(name="More")


async def test_simultaneous_users_with_one_email_become_one(administration: Administration) -> None:
    body = {"email": "ada@example.com", "name": "Ada"}
    responses = await asyncio.gather(*(administration.post("/users", body) for _ in range(8)))
    assert sorted(response.status_code for response in responses) == [200] + [409] * 7


async def test_failures_from_one_address_are_bounded_but_valid_keys_pass(administration: Administration) -> None:
    wrong = {"authorization": "Bearer sk-gw-wrong"}
    statuses = [(await administration.http.get("/v1/organization/users", headers=wrong)).status_code for _ in range(60)]
    assert statuses == [401] * 50 + [429] * 10
    assert (await administration.http.get("/v1/organization/users")).status_code == 200
    administration.clock.advance(1)
    assert (await administration.http.get("/v1/organization/users", headers=wrong)).status_code == 401


async def test_use_of_an_admin_key_is_noted_to_the_minute(administration: Administration) -> None:
    keys = administration.reader.admin.organization.admin_api_keys
    begun = administration.now()
    assert (await keys.retrieve("admkey_reader")).last_used_at == begun
    assert (await keys.retrieve("admkey_owner")).last_used_at is None
    administration.clock.advance(59)
    assert (await keys.retrieve("admkey_reader")).last_used_at == begun
    administration.clock.advance(1)
    assert (await keys.retrieve("admkey_reader")).last_used_at == begun + 60


async def test_what_was_made_in_one_second_is_listed_in_the_order_of_its_making(administration: Administration) -> None:
    names = [f"Team {number:02d}" for number in range(25)]
    for name in names:
        administration.clock.advance(0.001)
        await administration.made("/projects", {"name": name})
    listed = [project.name async for project in administration.reader.admin.organization.projects.list(limit=7)]
    assert listed == names
