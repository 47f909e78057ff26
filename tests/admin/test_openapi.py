"""The OpenAPI document of administration: it is whole, and the gateway does what it says (schemathesis)."""

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.admin.openapi import document
from gateway.admin.table import ROUTES
from tests.gateway import RunningGateway, bearer
from tests.provider import compose

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 6
SPEND_LIMIT = {"threshold_amount": 500, "currency": "USD", "interval": "month"}
SPEND_ALERT = {**SPEND_LIMIT, "notification_channel": {"type": "email", "recipients": ["ops@example.com"]}}


@pytest.fixture
async def admin(gateway: RunningGateway) -> Mapping[str, str]:
    """The header of an owner of the gateway."""
    return bearer(await gateway.admin_key())


async def served(gateway: RunningGateway, admin: Mapping[str, str]) -> dict[str, Any]:
    answer = await gateway.http.get("/v1/organization/openapi.json", headers=dict(admin))
    assert answer.status_code == 200
    described: dict[str, Any] = answer.json()
    return described


async def test_document_has_every_route_and_no_other(gateway: RunningGateway, admin: Mapping[str, str]) -> None:
    paths = (await served(gateway, admin))["paths"]
    found = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert found == {(route.method, route.path) for route in ROUTES}
    names = [operation["operationId"] for methods in paths.values() for operation in methods.values()]
    assert len(names) == len(set(names))
    assert all(operation["summary"] for methods in paths.values() for operation in methods.values())


def test_document_refers_to_nothing_that_is_not_in_it() -> None:
    made = document(ROUTES)
    for text in strings(made):
        if text.startswith("#/"):
            place: Any = made
            for step in text[2:].split("/"):
                place = place[step]
        assert "\\Z" not in text


def strings(value: object) -> Iterable[str]:
    match value:
        case str():
            yield value
        case dict():
            for part in value.values():
                yield from strings(part)
        case list():
            for part in value:
                yield from strings(part)
        case _:
            return


async def test_document_of_administration_is_not_for_members(gateway: RunningGateway) -> None:
    answer = await gateway.http.get("/v1/organization/openapi.json", headers=bearer(await gateway.key()))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "insufficient_permissions")


async def test_gateway_does_what_its_document_says(gateway: RunningGateway, admin: Mapping[str, str]) -> None:
    """Requests at random as the document allows them, on things that are there; what ends a thing comes last."""
    models = b'{"object":"list","data":[{"id":"gpt-4o"}]}'
    gateway.provider.always(lambda _request: compose(200, {"content-type": "application/json"}, models))
    schema = schemathesis.openapi.from_dict(await served(gateway, admin))
    ids = await furnish(gateway, admin)
    operations: list[Any] = [found.ok() for found in schema.get_all_operations()]  # type: ignore[union-attr]  # else it fails
    operations.sort(key=rank)
    assert len(operations) == len(ROUTES)
    statuses: dict[str, set[int]] = {}
    for operation in operations:
        seen = statuses.setdefault(f"{operation.method} {operation.path}", set())
        await asyncio.to_thread(exercise, operation, gateway.url, admin, ids, seen)
    unreached = {name for name, seen in statuses.items() if 200 not in seen}
    assert unreached <= UNREACHED, "nothing was ever answered with 200"
    await gateway.audit()


def rank(operation: Any) -> tuple[int, int]:
    """Rotate keys late, delete parts before what they are part of, and end people and projects last of all."""
    if re.search(r"/(archive|erase)$", operation.path):
        return 3, 0
    if operation.method == "delete":
        return 2, -operation.path.count("/")
    return int(operation.path.endswith("/rotate")), 0


UNREACHED = {
    # Of two ids exactly one is right, and it must be the id of a thing that is there.
    "post /v1/organization/projects/{project_id}/users",
    "post /v1/organization/projects/{project_id}/api_keys",
    "post /v1/organization/limits",
    # A request at random may have let the key expire; then it cannot be changed any more.
    "delete /v1/organization/projects/{project_id}/api_keys/{api_key_id}",
}
"""Operations that a request at random may never get to answer with 200; that they are sound is shown elsewhere."""


def exercise(operation: Any, url: str, headers: Mapping[str, str], ids: Mapping[str, str], seen: set[int]) -> None:
    """Send some requests to one operation and hold the answers against the document."""
    if "{project_id}" not in operation.path:
        ids = {**ids, "alert_id": ids["organization_alert"]}

    @given(case=operation.as_strategy(), real=st.sampled_from([True, True, True, False]))
    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def send(case: Any, real: bool) -> None:
        if real and case.path_parameters:
            case.path_parameters = {name: ids.get(name, value) for name, value in case.path_parameters.items()}
        response = case.call(base_url=url, headers=dict(headers))
        seen.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    send()


async def furnish(gateway: RunningGateway, admin: Mapping[str, str]) -> dict[str, str]:
    """Make one of each thing; return their ids by the names that paths give them."""

    async def made(path: str, body: Mapping[str, object]) -> str:
        answer = await gateway.http.post(f"/v1/organization{path}", json=dict(body), headers=dict(admin))
        assert answer.status_code == 200, answer.text
        id: str = answer.json()["id"]
        return id

    project = await made("/projects", {"name": "Search"})
    user = await made("/users", {"email": "ann@example.com", "name": "Ann"})
    await made(f"/projects/{project}/users", {"user_id": user, "role": "member"})
    key = {"name": "k", "user_id": user, "limits": [{"metric": "cost", "interval": "month", "amount": "5"}]}
    limit = {"scope": "organization", "metric": "requests", "interval": "day", "amount": 9}
    for path in ("/spend_limit", f"/projects/{project}/spend_limit"):
        await gateway.http.post(f"/v1/organization{path}", json=SPEND_LIMIT, headers=dict(admin))
    return {
        "project_id": project,
        "rate_limit_id": "rl-gpt-4o",
        "user_id": user,
        "service_account_id": await made(f"/projects/{project}/service_accounts", {"name": "bot"}),
        "api_key_id": await made(f"/projects/{project}/api_keys", key),
        "key_id": await made("/admin_api_keys", {"name": "second"}),
        "limit_id": await made("/limits", limit),
        "alert_id": await made(f"/projects/{project}/spend_alerts", SPEND_ALERT),
        "organization_alert": await made("/spend_alerts", SPEND_ALERT),
    }  # fmt: skip
