"""The audit log through OpenAI's SDK: every change is in it, with who did it, and nobody can take it out."""

import ast
import csv
import io
import operator
import sqlite3
from pathlib import Path
from typing import Any, get_args

import msgspec
import openai
import pytest
from openai.types.admin.organization import AuditLogListParams, AuditLogListResponse
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from gateway.admin.audit_logs import AuditEvent
from gateway.admin.audit_types import TYPES
from gateway.admin.failed_logins import MOST_ADDRESSES, QUIET_SECONDS
from gateway.core.errors import InvalidKey
from gateway.store.audit_log import Actor, EventType
from gateway.store.engine import is_sqlite
from tests.admin.conftest import READER, Administration

GATEWAY = Path(__file__).parents[2] / "gateway"


async def events(administration: Administration, **query: Any) -> list[AuditLogListResponse]:
    return [event async for event in administration.reader.admin.organization.audit_logs.list(**query)]


async def raw(administration: Administration, query: str = "") -> list[dict[str, Any]]:
    response = await administration.http.get(f"/v1/organization/audit_logs?{query}")
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["data"]
    return found


async def team(administration: Administration) -> tuple[str, str, str]:
    """Make a project, a user and a key of theirs, a second apart."""
    project = await administration.made("/projects", {"name": "Search"})
    administration.clock.advance(1)
    user = await administration.made("/users", {"email": "ada@example.com", "name": "Ada"})
    administration.clock.advance(1)
    key = await administration.made(f"/projects/{project}/api_keys", {"name": "k", "user_id": user})
    return project, user, key


async def everything(administration: Administration) -> None:
    """Make, change and end one of each thing."""
    project, user, key = await team(administration)
    organization, post = administration.owner.admin.organization, administration.post
    projects = organization.projects
    await projects.update(project, name="Find")
    await post(f"/users/{user}", {"name": "Ada L.", "role": "owner"})
    await projects.api_keys.update(key, project_id=project, expires_in_seconds=60)
    await post(f"/projects/{project}/api_keys/{key}/rotate", {"grace_seconds": 5})
    account = await projects.service_accounts.create(project, name="Bot")
    await projects.service_accounts.update(account.id, project_id=project, role="owner")
    await projects.service_accounts.delete(account.id, project_id=project)
    await projects.users.update(user, project_id=project, role="owner")
    await projects.rate_limits.update_rate_limit("rl-gpt-4o", project_id=project, max_requests_per_1_minute=5)
    await projects.spend_limit.update(project, threshold_amount=5, currency="USD", interval="month")
    await projects.model_permissions.update(project, mode="deny_list", model_ids=["o1"])
    await organization.spend_limit.update(threshold_amount=5, currency="USD", interval="month")
    for scope, id in (("user", user), ("api_key", key)):
        await post("/limits", {"scope": scope, "scope_id": id, "metric": "requests", "interval": "day", "amount": 5})
    await projects.api_keys.delete(key, project_id=project)
    await projects.users.delete(user, project_id=project)
    await organization.users.delete(user)
    await organization.admin_api_keys.delete((await organization.admin_api_keys.create(name="Ops")).id)
    await projects.archive(project)
    await administration.http.get("/v1/organization/users", headers={"authorization": "Bearer sk-gw-wrong"})


async def test_every_type_of_event_is_as_the_sdk_types_it(administration: Administration) -> None:
    await everything(administration)
    found = await events(administration, limit=3)
    assert {event.type for event in found} == set(get_args(EventType))
    for event in found:
        payload = event.to_dict()[event.type]
        assert isinstance(payload, dict) and payload, event.type


async def test_event_tells_who_when_whence_and_what(administration: Administration) -> None:
    project = await administration.made("/projects", {"name": "Search"})
    administration.clock.advance(5)
    await administration.owner.admin.organization.projects.update(project, name="Find")
    changed, made = await events(administration)
    assert (made.type, made.effective_at) == ("project.created", administration.now() - 5)
    assert made.project_created is not None and made.project_created.data is not None
    assert (made.project_created.id, made.project_created.data.title) == (project, "Search")
    assert made.project is not None and (made.project.id, made.project.name) == (project, "Find")
    assert changed.project_updated is not None and changed.project_updated.changes_requested is not None
    assert changed.project_updated.changes_requested.title == "Find"
    assert changed.actor is not None and changed.actor.api_key is not None
    assert (changed.actor.type, changed.actor.api_key.id) == ("api_key", "admkey_owner")
    shown = (await raw(administration))[0]
    assert (shown["object"], shown["ip_address"]) == ("organization.audit_log", "127.0.0.1")
    assert (shown["actor"]["api_key"]["name"], shown["resource_id"]) == ("owner", project)
    assert (shown["before"]["name"], shown["after"]["name"]) == ("Search", "Find")


async def test_pages_go_back_in_time_and_forward_again(administration: Administration) -> None:
    await team(administration)
    assert [event.type for event in await events(administration, limit=1)] == [
        "api_key.created", "user.added", "project.created",
    ]  # fmt: skip
    found = await raw(administration)
    logs = administration.owner.admin.organization.audit_logs
    newer = await logs.list(before=found[2]["id"], limit=1)
    assert ([event.id for event in newer.data], newer.has_more) == ([found[1]["id"]], True)
    newest = await logs.list(before=found[1]["id"])
    assert ([event.id for event in newest.data], newest.has_more) == ([found[0]["id"]], False)


async def test_filters_narrow_the_list(administration: Administration) -> None:
    project, user, key = await team(administration)
    began = administration.now() - 2
    cases: list[tuple[AuditLogListParams, int]] = [
        ({}, 3),
        ({"event_types": ["user.added", "project.created", "invite.sent"]}, 2),
        ({"project_ids": [project]}, 2),
        ({"resource_ids": [user, key]}, 2),
        ({"actor_ids": ["admkey_owner"]}, 3),
        ({"actor_ids": ["admkey_reader", "cli"]}, 0),
        ({"actor_emails": ["ada@example.com"]}, 0),
        ({"effective_at": {"gt": began}}, 2),
        ({"effective_at": {"gte": began, "lt": began + 2}}, 2),
        ({"effective_at": {"lte": began + 1, "gt": began}}, 1),
        ({"tenant_only": True}, 0),
    ]
    for query, count in cases:
        assert len(await events(administration, **query)) == count, query
    await administration.owner.admin.organization.admin_api_keys.create(name="Ops")
    assert len(await events(administration, tenant_only=True, event_types=["tenant.admin_api_key.created"])) == 1


async def test_log_is_exported_as_csv_with_payloads_as_json(administration: Administration) -> None:
    await team(administration)
    url = "/v1/organization/audit_logs?format=csv"
    rows = list(csv.DictReader(io.StringIO((await administration.http.get(url)).text)))
    assert [row["type"] for row in rows] == ["api_key.created", "user.added", "project.created"]
    assert {row["actor.api_key.name"] for row in rows} == {"owner"}
    assert msgspec.json.decode(rows[1]["user.added"])["data"]["email"] == "ada@example.com"
    assert (rows[0]["user.added"], rows[2]["project.name"]) == ("", "Search")
    back = await administration.http.get(f"{url}&before={rows[2]['id']}")
    assert [row["id"] for row in csv.DictReader(io.StringIO(back.text))] == [rows[0]["id"], rows[1]["id"]]


@pytest.mark.parametrize(
    ("query", "param"),
    [("event_types[]=project.created&event_types[]=project.burnt", "event_types[1]"), ("limit=101", "limit"),
     ("tenant_only=true&event_types[]=project.created", "event_types[0]"), ("tenant_only=perhaps", "tenant_only"),
     ("effective_at[gt]=soon", "effective_at[gt]"), ("effective_at[lt]=-1", "effective_at[lt]"),
     ("effective_at[lt]=1e400", "effective_at[lt]"), ("effective_at=5", "effective_at"),
     ("effective_at[eq]=5", "effective_at[eq]"), ("after=audit_log-x", "after"), ("before=proj_1", "before"),
     ("actor_emails[]=ada", "actor_emails[0]"), ("order=asc", "order")],
)  # fmt: skip
async def test_bad_query_is_refused_by_name(administration: Administration, query: str, param: str) -> None:
    response = await administration.http.get(f"/v1/organization/audit_logs?{query}")
    assert (response.status_code, response.json()["error"]["param"]) == (400, param), response.text


async def test_failed_logins_are_on_record_once_at_first_and_then_counted(administration: Administration) -> None:
    wrong = {"authorization": "Bearer sk-gw-admin-0123456789"}
    for _ in range(70):
        await administration.http.get("/v1/organization/users", headers=wrong)
    assert len(await events(administration)) == 1
    administration.clock.advance(60)
    await administration.failed_logins.flush(administration.clock.now())
    repeated, first = await raw(administration, "event_types[]=login.failed")
    assert (first["actor"], repeated["ip_address"]) == (
        {"type": "session", "session": {"ip_address": "127.0.0.1"}}, "127.0.0.1",
    )  # fmt: skip
    assert (first["login.failed"]["attempts"], repeated["login.failed"]["attempts"]) == (1, 69)
    assert (first["login.failed"]["error_code"], repeated["login.failed"]["error_code"]) == (
        "invalid_api_key", "rate_limit_exceeded",
    )  # fmt: skip
    assert "sk-gw-admin" not in str(first["login.failed"])
    await administration.failed_logins.flush(administration.clock.now(), every=True)
    assert len(await events(administration)) == 2


async def test_good_key_that_tries_too_much_is_named(administration: Administration) -> None:
    with pytest.raises(openai.PermissionDeniedError):
        await administration.reader.admin.organization.projects.create(name="Search")
    (event,) = await events(administration)
    assert event.type == "login.failed" and event.login_failed is not None
    assert event.login_failed.error_code == "insufficient_permissions"
    assert event.actor is not None and event.actor.api_key is not None and event.actor.api_key.id == "admkey_reader"
    assert READER.text not in event.to_json()


async def test_nobody_can_change_the_log(administration: Administration) -> None:
    await administration.made("/projects", {"name": "Search"})
    (event,) = await raw(administration)
    for method in ("POST", "DELETE", "PUT", "PATCH"):
        for path in ("/v1/organization/audit_logs", f"/v1/organization/audit_logs/{event['id']}"):
            assert (await administration.http.request(method, path, json={})).status_code == 404
    assert await raw(administration) == [event]


async def test_the_database_lets_nobody_change_what_was_done(administration: Administration, database_url: str) -> None:
    await administration.made("/projects", {"name": "Research"})
    before = await raw(administration)
    statements = [
        "DELETE FROM audit_log", "UPDATE audit_log SET actor = 'cli'", "UPDATE audit_log SET effective_at = 1",
    ]  # fmt: skip
    if not is_sqlite(database_url):
        statements += ["TRUNCATE audit_log", "TRUNCATE usage, audit_log CASCADE"]
    for statement in map(text, statements):
        with pytest.raises((sqlite3.IntegrityError, DBAPIError), match="append-only"):
            await administration.database.write(operator.methodcaller("execute", statement))
    assert await raw(administration) == before


def test_no_code_changes_what_is_in_the_log_but_the_erasing_of_a_person() -> None:
    doers = {"update", "delete", "update_of", "delete_from"}
    found = {
        path.name
        for path in GATEWAY.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in doers
        and any("audit_log" in ast.unparse(argument) for argument in node.args)
    }  # fmt: skip
    assert found == {"erasure.py"}


def test_types_are_those_of_the_sdk_and_each_that_happens_has_a_field() -> None:
    theirs = AuditLogListResponse.model_fields["type"].annotation
    assert set(get_args(theirs)) == TYPES
    assert set(get_args(EventType)) <= TYPES & set(AuditEvent.__struct_encode_fields__)


async def test_flood_of_addresses_is_counted_together(administration: Administration) -> None:
    logins, now = administration.failed_logins, administration.clock.now()
    for number in range(MOST_ADDRESSES + 50):
        await logins.note(InvalidKey("No."), Actor("", None, f"192.0.{number // 250}.{number % 250}"), None, now)
    await logins.note(InvalidKey("No."), Actor("", None, "2001:db8::1"), None, now)
    assert len(await events(administration, limit=100)) == MOST_ADDRESSES + 1
    await logins.flush(now + QUIET_SECONDS)
    (rest,) = [event for event in await raw(administration, "limit=1") if event["login.failed"]["attempts"] > 1]
    assert (rest["login.failed"]["attempts"], "ip_address" in rest) == (50, False)
