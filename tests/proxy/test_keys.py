"""Which keys open the data plane, and that a change binds the very next call."""

import time
from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Connection

from gateway.core.keys import make_key
from gateway.core.limits import Interval, Metric
from gateway.store import api_keys, limits, projects, users
from tests.gateway import MODEL, RunningGateway, bearer, chat_body

CHAT = "/v1/chat/completions"


async def refused(gateway: RunningGateway, headers: dict[str, str]) -> tuple[int, str]:
    """Call with these headers; return the refusal's status and code. No provider may hear of it."""
    before = len(gateway.provider.requests)
    answer = await gateway.http.post(CHAT, json=chat_body(), headers=headers)
    assert len(gateway.provider.requests) == before
    return answer.status_code, answer.json()["error"]["code"]


async def test_key_opens_by_each_header_that_clients_use(gateway: RunningGateway) -> None:
    gateway.provider.chat("Hello")
    key = await gateway.key()
    for headers in (
        {"authorization": f"Bearer {key}"},
        {"authorization": f"bearer  {key}"},
        {"x-api-key": key},
        {"api-key": key},
        {"x-goog-api-key": key},
        {"authorization": f"Bearer {key}", "api-key": key},
    ):
        answer = await gateway.http.post(CHAT, json=chat_body(), headers=headers)
        assert answer.status_code == 200, headers


async def test_key_that_opens_nothing_is_refused_without_an_echo(gateway: RunningGateway) -> None:
    key = await gateway.key()
    wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
    unknown = make_key("u" * 10, "v" * 32).text
    for text in (wrong, unknown, "sk-gw-", "sk-proj-abcdefgh", "x" * 600, key + "x", key.upper()):
        answer = await gateway.http.post(CHAT, json=chat_body(), headers=bearer(text))
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key"), text
        assert text not in answer.text or text == "sk-gw-"
        assert answer.headers["www-authenticate"] == "Bearer"
    assert await refused(gateway, {}) == (401, "invalid_api_key")
    assert await refused(gateway, {"authorization": f"Basic {key}"}) == (401, "invalid_api_key")
    assert await gateway.usage() == []


async def test_two_different_keys_are_a_bad_request(gateway: RunningGateway) -> None:
    one, two = await gateway.key(), await gateway.key()
    answer = await gateway.http.post(CHAT, json=chat_body(), headers=bearer(one) | {"x-api-key": two})
    assert answer.status_code == 400 and "two" in answer.json()["error"]["message"].lower()


async def test_key_in_the_query_of_an_openai_path_opens_nothing(gateway: RunningGateway) -> None:
    key = await gateway.key()
    answer = await gateway.http.post(f"{CHAT}?key={key}", json=chat_body())
    assert answer.status_code == 401


async def test_admin_key_cannot_make_calls(gateway: RunningGateway) -> None:
    admin = await gateway.admin_key()
    assert await refused(gateway, bearer(admin)) == (403, "insufficient_permissions")


async def test_key_that_expired_is_refused(gateway: RunningGateway) -> None:
    gateway.provider.chat("Hello")
    assert await refused(gateway, bearer(await gateway.key(expires_at=int(time.time()) - 1))) == (
        401,
        "invalid_api_key",
    )
    assert (await gateway.chat(await gateway.key(expires_at=int(time.time()) + 100))).status_code == 200


async def test_revoked_key_is_refused_from_the_next_call_on(any_gateway: RunningGateway) -> None:
    any_gateway.provider.chat("Hello")

    async def ended(change: Callable[[Connection, str, str, int], object]) -> tuple[int, str]:
        key = await any_gateway.key()
        assert (await any_gateway.chat(key)).status_code == 200
        number = len(any_gateway.provider.requests)
        await any_gateway.change(lambda connection: change(connection, f"proj_{number}", f"user_{number}", number))
        return await refused(any_gateway, bearer(key))

    now = int(time.time())
    changes: list[Callable[[Connection, str, str, int], object]] = [
        lambda c, project, _user, n: api_keys.delete(c, project, f"key_{n}", now),
        lambda c, project, _user, _n: projects.archive(c, project, now),
        lambda c, _project, user, _n: users.update(c, user, disabled=True),
        lambda c, _project, user, _n: users.delete(c, user, now),
    ]
    for change in changes:
        assert await ended(change) == (401, "invalid_api_key")
    await any_gateway.audit()


async def test_rotated_key_opens_by_both_texts_until_the_grace_ends(gateway: RunningGateway) -> None:
    gateway.provider.chat("Hello")
    old = await gateway.key()
    assert (await gateway.chat(old)).status_code == 200
    now = int(time.time())
    with_grace, without = make_key("a" * 10, "b" * 32), make_key("c" * 10, "d" * 32)
    await gateway.change(lambda c: api_keys.rotate(c, "proj_1", "key_1", with_grace, 100, now))
    assert (await gateway.chat(old)).status_code == 200
    assert (await gateway.chat(with_grace.text)).status_code == 200
    await gateway.change(lambda c: api_keys.rotate(c, "proj_1", "key_1", without, 0, now))
    assert await refused(gateway, bearer(with_grace.text)) == (401, "invalid_api_key")
    assert (await gateway.chat(without.text)).status_code == 200
    assert {row.api_key_id for row in await gateway.usage()} == {"key_1"}


async def test_model_list_binds_by_wildcard_and_a_refusal_names_it(gateway: RunningGateway) -> None:
    gateway.provider.chat("Hello")
    key = await gateway.key(models=["gpt-4o*", "o3"])
    for model, status in (("gpt-4o", 200), ("gpt-4o-mini", 200), ("o3", 200), ("o3-mini", 403), ("GPT-4o", 403)):
        answer = await gateway.chat(key, model=model)
        assert answer.status_code == status, model
    error = (await gateway.chat(key, model="gpt-4.1")).json()["error"]
    assert (error["code"], error["param"]) == ("model_not_allowed", "model")
    assert "gpt-4o*" in error["message"]
    assert len(await gateway.usage()) == 3


async def test_changed_model_list_binds_the_next_call(any_gateway: RunningGateway) -> None:
    any_gateway.provider.chat("Hello")
    key = await any_gateway.key()
    assert (await any_gateway.chat(key)).status_code == 200

    def narrow(connection: Connection) -> None:
        present = api_keys.get(connection, "proj_1", "key_1")
        api_keys.update(connection, replace(present, models=("o3",)), int(time.time()))

    await any_gateway.change(narrow)
    assert (await any_gateway.chat(key)).status_code == 403
    assert (await any_gateway.chat(key, model="o3")).status_code == 200


async def test_lowered_limit_binds_the_next_call(any_gateway: RunningGateway) -> None:
    any_gateway.provider.chat("Hello")
    key = await any_gateway.key(limits=[(Metric.REQUESTS, Interval.DAY, 100)])
    assert (await any_gateway.chat(key)).status_code == 200
    await any_gateway.change(lambda c: limits.set_amount(c, "lim_1_0", 1))
    answer = await any_gateway.chat(key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "budget_exhausted")
    await any_gateway.change(lambda c: limits.delete(c, "lim_1_0"))
    assert (await any_gateway.chat(key, model=MODEL)).status_code == 200
