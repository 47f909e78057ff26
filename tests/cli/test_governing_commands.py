"""What a project may do, who is told and who changed it: on each database, and of a running gateway with --url."""

import json
from typing import Any

import pytest

from gateway.cli.remote import KEY_VARIABLE
from tests.cli.shell import Shell
from tests.gateway import RunningGateway


async def test_model_permissions_are_set_shown_and_cleared(empty_shell: Shell) -> None:
    await empty_shell.ask("projects", "create", "Team")
    allowed = await empty_shell.ask("model-permissions", "allow", "Team", "gpt-4o*, o3")
    assert (allowed["mode"], allowed["model_ids"]) == ("allow_list", ["gpt-4o*", "o3"])
    shown = await empty_shell.run("model-permissions", "show", "Team")
    assert shown.output == "Team permits only gpt-4o*, o3.\n"
    denied = await empty_shell.run("model-permissions", "deny", "Team", "o3")
    assert denied.output == "Team permits every model but o3.\n"
    assert (await empty_shell.ask("model-permissions", "clear", "Team"))["deleted"] is True
    assert (await empty_shell.ask("model-permissions", "show", "Team"))["model_ids"] == []


async def test_rate_limits_are_listed_and_set(empty_shell: Shell) -> None:
    empty_shell.variables["OPENAI_API_KEY"] = "sk-provider"  # else no models are known
    await empty_shell.ask("projects", "create", "Team")
    changed = await empty_shell.run(
        "rate-limits", "set", "Team", "gpt-4o", "--requests-per-minute", "60", "--requests-per-day", "900"
    )
    assert changed.output == "gpt-4o in Team: 60 requests per minute, any tokens per minute, 900 requests per day.\n"
    await empty_shell.ask("rate-limits", "set", "Team", "gpt-4o", "--requests-per-day", "none")
    (row,) = [one for one in await empty_shell.ask_list("rate-limits", "list", "Team") if one["model"] == "gpt-4o"]
    assert (row["max_requests_per_1_minute"], row["max_requests_per_1_day"]) == (60, None)
    assert [limit["amount"] for limit in await empty_shell.ask_list("limits", "list")] == [60]
    nothing = await empty_shell.run("rate-limits", "set", "Team", "gpt-4o")
    assert (nothing.exit_code, "--requests-per-minute" in nothing.errors) == (2, True)


async def test_spend_alerts_are_made_listed_and_deleted(empty_shell: Shell) -> None:
    await empty_shell.ask("projects", "create", "Team")
    made = await empty_shell.ask("spend-alerts", "create", "99.50", "--to", "a@example.com,b@example.com")
    assert (made["object"], made["threshold_amount"]) == ("organization.spend_alert", 9950)
    of_team = await empty_shell.ask("spend-alerts", "create", "5", "--to", "a@example.com", "--project", "Team")
    assert of_team["object"] == "project.spend_alert"
    listed = await empty_shell.run("spend-alerts", "list", "--csv")
    assert "9950" in listed.output and str(of_team["id"]) not in listed.output
    assert (await empty_shell.ask("spend-alerts", "delete", str(of_team["id"]), "--project", "Team"))["deleted"] is True
    assert await empty_shell.ask_list("spend-alerts", "list", "--project", "Team") == []


@pytest.mark.parametrize("amount", ["NaN", "1e400", "Infinity", "0.005", "-1", "ten"])
async def test_alert_at_no_amount_of_money_is_refused(empty_shell: Shell, amount: str) -> None:
    done = await empty_shell.run("spend-alerts", "create", "--to", "a@example.com", "--", amount)
    assert (done.exit_code, done.output) == (2, "")


async def test_audit_log_tells_who_changed_what(empty_shell: Shell) -> None:
    made = await empty_shell.ask("projects", "create", "Team")
    await empty_shell.ask("users", "create", "ann@example.com")
    (event,) = await empty_shell.ask_list("audit-log", "--type", "project.created", "--last", "1h")
    assert (event["resource_id"], event["type"]) == (made["id"], "project.created")
    table = (await empty_shell.run("audit-log", "--project", "Team")).output
    assert "command line" in table and "user.added" not in table
    assert "user.added" in (await empty_shell.run("audit-log", "--csv")).output
    unknown = await empty_shell.run("audit-log", "--type", "no.such")
    assert (unknown.exit_code, "no.such" in unknown.errors) == (2, True)


async def test_running_gateway_is_asked_the_same(gateway: RunningGateway, shell: Shell) -> None:
    variables = {KEY_VARIABLE: await gateway.admin_key(), "GATEWAY_DATABASE_URL": "postgresql+asyncpg://127.0.0.1:9/x"}

    async def ask(*words: str) -> Any:
        done = await shell.run(*words, "--json", "--url", gateway.url, **variables)
        assert done.exit_code == 0, done.errors
        return json.loads(done.output)

    await ask("projects", "create", "Team")
    await ask("spend-alerts", "create", "10", "--to", "a@example.com")
    await ask("spend-alerts", "create", "5", "--to", "a@example.com", "--project", "Team")
    assert [alert["threshold_amount"] for alert in await ask("spend-alerts", "list")] == [1000]
    assert [alert["threshold_amount"] for alert in await ask("spend-alerts", "list", "--project", "Team")] == [500]
    await ask("model-permissions", "deny", "Team", "o3")
    events = await ask("audit-log", "--last", "1h")
    assert {event["type"] for event in events} >= {"project.created", "organization.updated", "project.updated"}
