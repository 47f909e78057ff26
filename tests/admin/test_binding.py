"""What an admin changes through OpenAI's SDK binds the next call, on a whole gateway."""

from contextlib import AsyncExitStack
from pathlib import Path

from gateway.admin.rate_limits import UNLIMITED
from gateway.core.upstreams import Upstream
from gateway.settings import CatalogSettings
from gateway.store.engine import is_sqlite
from tests.gateway import MODEL, RunningGateway, running_gateway
from tests.provider import Provider


async def test_rate_limit_of_a_model_binds_the_next_call(any_gateway: RunningGateway) -> None:
    any_gateway.provider.chat("Hello", input_tokens=8, output_tokens=10)
    key, other = await any_gateway.key(), await any_gateway.key()
    rate_limits = any_gateway.admin(await any_gateway.admin_key()).projects.rate_limits
    assert (await any_gateway.chat(key)).status_code == 200
    await rate_limits.update_rate_limit(f"rl-{MODEL}", project_id="proj_1", max_requests_per_1_day=2)
    assert (await any_gateway.chat(key)).status_code == 200
    refused = await any_gateway.chat(key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_exhausted")
    assert (await any_gateway.chat(other)).status_code == 200
    await rate_limits.update_rate_limit(f"rl-{MODEL}", project_id="proj_1", max_requests_per_1_day=UNLIMITED)
    assert (await any_gateway.chat(key)).status_code == 200


async def test_spend_limit_knows_what_the_month_used_and_binds_the_next_call(any_gateway: RunningGateway) -> None:
    any_gateway.provider.chat("Hello", input_tokens=8_000, output_tokens=100_000)  # 6.12 cents
    key = await any_gateway.key()
    organization = any_gateway.admin(await any_gateway.admin_key())
    assert (await any_gateway.chat(key)).status_code == 200
    await any_gateway.charged()
    limit = await organization.projects.spend_limit.update(
        "proj_1", threshold_amount=7, currency="USD", interval="month"
    )
    assert limit.enforcement.status == "inactive"
    await organization.spend_limit.update(threshold_amount=6, currency="USD", interval="month")
    assert (await organization.spend_limit.retrieve()).enforcement.status == "enforcing"
    refused = await any_gateway.chat(key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_exhausted")
    await organization.spend_limit.delete()
    assert (await any_gateway.chat(key, max_tokens=10)).status_code == 200


async def test_rate_limits_know_every_model_of_every_upstream(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    provider.answer(body=b'{"object":"list","data":[{"id":"brand-new"},{"id":"not-for-us"}]}')
    down = Upstream("down", "anthropic", "http://127.0.0.1:9", "", models=("claude-sonnet-4-5", "own-*"))
    catalog = CatalogSettings((down,), {"fast": "gpt-4o-mini", "nowhere": "unknown"})
    main = Upstream("main", "openai", provider.base_url, "", models=("gpt-4o*", "brand-*", "spelt-out"))
    async with running_gateway(sqlite_url, provider, tmp_path, upstream=lambda _: main, catalog=catalog) as gateway:
        await gateway.key()
        rate_limits = gateway.admin(await gateway.admin_key()).projects.rate_limits
        models = {row.model async for row in rate_limits.list_rate_limits("proj_1", limit=2)}
    assert models >= {"gpt-4o", "gpt-4o-mini", "brand-new", "spelt-out", "claude-sonnet-4-5"}
    assert not models & {"fast", "unknown", "not-for-us", "o1", "own-*", "gpt-4o*"}


async def test_model_permissions_bind_the_next_call_on_every_replica(
    database_url: str, provider: Provider, tmp_path: Path
) -> None:
    provider.chat("Hello", input_tokens=8, output_tokens=10)
    aliases = CatalogSettings(aliases={"fast": MODEL})
    async with AsyncExitStack() as stack:
        # One process may use SQLite.
        folders = [tmp_path / "0"] if is_sqlite(database_url) else [tmp_path / "0", tmp_path / "1"]
        replicas = [
            await stack.enter_async_context(running_gateway(database_url, provider, folder, catalog=aliases))
            for folder in folders
        ]
        key, admin = await replicas[0].key(), replicas[0].admin(await replicas[0].admin_key())

        async def answers(model: str) -> set[tuple[int, str | None]]:
            responses = [await replica.chat(key, model=model) for replica in replicas]
            return {(it.status_code, it.json().get("error", {}).get("code")) for it in responses}

        permissions = admin.projects.model_permissions
        assert await answers(MODEL) == {(200, None)}
        await permissions.update("proj_1", mode="deny_list", model_ids=[MODEL.upper()])
        assert await answers(MODEL) == await answers("fast") == {(403, "model_not_allowed")}
        assert await answers("gpt-4o") == {(200, None)}
        await permissions.update("proj_1", mode="allow_list", model_ids=["fast"])
        assert await answers(MODEL) == await answers("gpt-4o") == {(403, "model_not_allowed")}
        assert await answers("fast") == {(200, None)}
        provider.answer(body=b'{"object":"list","data":[{"id":"gpt-4o"},{"id":"%s"}]}' % MODEL.encode())
        assert [model.id async for model in replicas[0].openai(key).models.list()] == ["fast"]
        await permissions.delete("proj_1")
        provider.chat("Hello", input_tokens=8, output_tokens=10)
        assert await answers("gpt-4o") == {(200, None)}


async def test_refused_model_says_whose_rule_it_is(gateway: RunningGateway) -> None:
    key = await gateway.key(models=["gpt-4o*"])
    permissions = gateway.admin(await gateway.admin_key()).projects.model_permissions
    await permissions.update("proj_1", mode="deny_list", model_ids=["gpt-4o"])
    by_project = (await gateway.chat(key, model="gpt-4o")).json()["error"]["message"]
    assert by_project == "The project of this API key does not permit the model `gpt-4o`."
    by_key = (await gateway.chat(key, model="o1")).json()["error"]["message"]
    assert by_key == "This API key may not call the model `o1`. It may call: gpt-4o*."
