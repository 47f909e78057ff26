"""Every data command, for programs and for people, on each database: what it prints, what it leaves, how it fails."""

import msgspec
import pytest
from sqlalchemy import select, update

from gateway.core.keys import is_well_formed
from gateway.store import api_keys, audit_log
from gateway.store.engine import Connection, Database
from tests.cli.shell import Shell


async def audited(shell: Shell) -> list[tuple[str, str]]:
    """Return actor and type of every change on record."""
    database = Database(shell.variables["GATEWAY_DATABASE_URL"])

    def work(connection: Connection) -> list[tuple[str, str]]:
        columns = audit_log.audit_log.c
        query = select(columns.actor, columns.type).order_by(columns.effective_at, columns.id)
        return [(row.actor, row.type) for row in connection.execute(query)]

    try:
        return await database.read(work)
    finally:
        await database.close()


async def test_projects_are_made_listed_and_archived(empty_shell: Shell) -> None:
    made = await empty_shell.ask("projects", "create", "Team")
    assert (made["object"], made["name"], made["status"]) == ("organization.project", "Team", "active")
    assert [project["id"] for project in await empty_shell.ask_list("projects", "list")] == [made["id"]]
    table = await empty_shell.run("projects", "list")
    assert f"{made['id']}" in table.output and "active" in table.output
    assert (await empty_shell.ask("projects", "archive", "Team"))["status"] == "archived"
    assert await empty_shell.ask_list("projects", "list") == []
    assert len(await empty_shell.ask_list("projects", "list", "--archived")) == 1
    assert sorted(await audited(empty_shell)) == [("cli", "project.archived"), ("cli", "project.created")]


async def test_users_are_made_listed_disabled_and_enabled(empty_shell: Shell) -> None:
    made = await empty_shell.ask("users", "create", "Ada@example.com", "--name", "Ada", "--role", "owner")
    assert (made["email"], made["name"], made["role"]) == ("ada@example.com", "Ada", "owner")
    assert (await empty_shell.ask("users", "disable", "ada@example.com"))["disabled"] is True
    (listed,) = await empty_shell.ask_list("users", "list")
    assert (listed["id"], listed["disabled"]) == (made["id"], True)
    assert (await empty_shell.ask("users", "enable", str(made["id"])))["disabled"] is False
    again = await empty_shell.run("users", "create", "ada@example.com")
    assert (again.exit_code, again.output) == (1, "")
    assert "already" in again.errors


async def test_keys_are_made_with_limits_shown_rotated_and_deleted(team_shell: Shell) -> None:
    project = await team_shell.ask("projects", "create", "Team")
    await team_shell.ask("users", "create", "ada@example.com")
    made = await team_shell.ask(
        "keys", "create", "--project", "Team", "--user", "ada@example.com", "--name", "laptop", "--expires-in", "30d",
        "--models", "gpt-4o*,o3", "--limit", "cost:month:2.50", "--limit", "concurrency:5",
    )  # fmt: skip
    id, value = str(made["id"]), str(made["value"])
    assert is_well_formed(value)
    assert (made["name"], made["models"]) == ("laptop", ["gpt-4o*", "o3"])
    limits = await team_shell.ask_list("limits", "list", "--key", id)
    assert {(limit["metric"], limit["interval"], limit["amount"]) for limit in limits} == {
        ("cost", "month", "2.5"),
        ("concurrency", None, 5),
    }
    table = await team_shell.run("keys", "list", "--project", str(project["id"]))
    assert "ada@example.com" in table.output
    assert value not in table.output
    rotated = await team_shell.ask("keys", "rotate", id, "--grace", "1h")
    assert (rotated["id"], rotated["value"] != value) == (id, True)
    assert (await team_shell.ask("keys", "disable", id))["disabled"] is True
    assert (await team_shell.ask("keys", "enable", id))["disabled"] is False
    assert (await team_shell.ask("keys", "show", id))["models"] == ["gpt-4o*", "o3"]
    assert "laptop" in (await team_shell.run("keys", "show", id)).output
    assert (await team_shell.ask("keys", "delete", id))["deleted"] is True
    assert await team_shell.ask_list("keys", "list") == []


async def test_key_of_a_service_account_makes_the_account_once(empty_shell: Shell) -> None:
    await empty_shell.ask("projects", "create", "Team")
    words = ("keys", "create", "--project", "Team", "--service-account", "bot")
    holders = [(await empty_shell.ask(*words))["owner"] for _ in range(2)]
    assert holders[0] == holders[1]


async def test_key_whose_time_is_over_is_listed_as_expired(empty_shell: Shell) -> None:
    await empty_shell.ask("projects", "create", "Team")
    await empty_shell.ask("keys", "create", "--project", "Team", "--service-account", "bot", "--expires-in", "1h")
    assert "active" in (await empty_shell.run("keys", "list")).output
    database = Database(empty_shell.variables["GATEWAY_DATABASE_URL"])
    await database.change(lambda connection: connection.execute(update(api_keys.api_key).values(expires_at=1)))
    await database.close()
    assert "expired" in (await empty_shell.run("keys", "list")).output


async def test_limits_are_made_changed_and_deleted(team_shell: Shell) -> None:
    await team_shell.ask("projects", "create", "Team")
    made = await team_shell.ask("limits", "create", "cost:day:25", "--project", "Team", "--models", "gpt-*")
    assert (made["scope"], made["amount"], made["used"], made["models"]) == ("project", "25", "0", ["gpt-*"])
    everyone = await team_shell.ask("limits", "create", "requests:minute:600", "--organization")
    assert (everyone["scope_id"], everyone["amount"]) == ("org_gateway", 600)
    assert (await team_shell.ask("limits", "set", str(made["id"]), "30.5"))["amount"] == "30.5"
    wrong = await team_shell.run("limits", "set", str(everyone["id"]), "30.5")
    assert (wrong.exit_code, "whole number" in wrong.errors) == (2, True)
    assert "cost (USD) per day" in (await team_shell.run("limits", "list")).output
    rows = (await team_shell.run("limits", "list", "--csv")).output.splitlines()
    assert rows[0] == "id,scope,scope_id,metric,interval,amount,models,used,held,remaining,resets_at"
    listed = sorted(row.split(",")[3:6] for row in rows[1:])  # made in the same second, perhaps
    assert listed == [["cost", "day", "30.5"], ["requests", "minute", "600"]]
    assert (await team_shell.ask("limits", "delete", str(made["id"])))["deleted"] is True
    assert len(await team_shell.ask_list("limits", "list")) == 1


async def test_admin_keys_are_made_and_the_last_owner_stays(empty_shell: Shell) -> None:
    owner = await empty_shell.ask("admin-keys", "create", "--name", "ops")
    reader = await empty_shell.ask("admin-keys", "create", "--role", "reader", "--expires-in", "12h")
    assert str(owner["value"]).startswith("sk-gw-admin-")
    assert reader["expires_at"] == int(str(reader["created_at"])) + 12 * 3600
    assert {key["role"] for key in await empty_shell.ask_list("admin-keys", "list")} == {"owner", "reader"}
    assert "ops" in (await empty_shell.run("admin-keys", "list")).output
    last = await empty_shell.run("admin-keys", "delete", str(owner["id"]))
    assert (last.exit_code, "last owner" in last.errors) == (1, True)
    assert (await empty_shell.ask("admin-keys", "delete", str(reader["id"])))["deleted"] is True


async def test_usage_and_audit_of_an_empty_ledger_are_in_order(team_shell: Shell) -> None:
    report = await team_shell.ask("usage", "--days", "3", "--by", "user")
    days = msgspec.convert(report["days"], list[dict[str, object]])
    assert (len(days), report["shares"]) == (3, [])
    assert "total" in (await team_shell.run("usage", "--days", "3", "--by", "model")).output
    assert (await team_shell.ask("audit"))["ok"] is True
    assert "The ledger is in order." in (await team_shell.run("audit")).output


async def test_doctor_names_what_is_missing_and_what_is_there(empty_shell: Shell) -> None:
    done = await empty_shell.run("doctor", "--json")
    findings = msgspec.json.decode(done.output, type=list[dict[str, object]])
    by_subject = {finding["subject"]: finding["ok"] for finding in findings}
    assert done.exit_code == 1
    assert by_subject == {
        "settings": True, "data folder": True, "database": True, "owner key": False, "upstreams": False,
        "prices": True, "estimates": True, "vocabularies": True,
    }  # fmt: skip
    await empty_shell.ask("admin-keys", "create")
    sound = await empty_shell.run("doctor", OPENAI_API_KEY="sk-provider-secret")
    assert (sound.exit_code, "NOT OK" in sound.output, "sk-provider-secret" in sound.output) == (0, False, False)


async def test_migrate_twice_says_that_nothing_is_left(shell: Shell) -> None:
    first = await shell.ask("migrate")
    assert first["before"] is None
    assert await shell.ask("migrate") == {"before": first["after"], "after": first["after"]}
    assert "up to date" in (await shell.run("migrate")).output


async def test_data_command_without_a_database_says_how_to_make_one(shell: Shell) -> None:
    done = await shell.run("projects", "list")
    assert (done.exit_code, done.output) == (3, "")
    assert "gateway migrate" in done.errors
    assert not (shell.folder / "data").exists()


async def test_data_command_on_a_file_that_is_no_database_fails_in_words(shell: Shell) -> None:
    (shell.folder / "data").mkdir()
    (shell.folder / "data" / "gateway.db").write_bytes(b"something else, and rather long" * 100)
    done = await shell.run("projects", "list")
    assert (done.exit_code, "Traceback" in done.errors) == (1, False)
    assert "not a database" in done.errors


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("nonsense",),
        ("keys",),
        ("keys", "create", "--project", "Team"),
        ("keys", "create", "--project", "Team", "--user", "a@b.c", "--limit", "cost"),
        ("keys", "rotate", "key_1", "--grace", "soon"),
        ("keys", "show", "sk-gw-0123456789-secret"),
        ("limits", "create", "cost:fortnight:3", "--organization"),
        ("limits", "create", "requests:day:3"),
        ("users", "create", "nobody"),
        ("usage", "--days", "0"),
    ],
)
async def test_wrong_usage_is_told_and_exits_with_2(migrated_shell: Shell, words: tuple[str, ...]) -> None:
    done = await migrated_shell.run(*words)
    assert (done.exit_code, done.output) == (2, "")
    assert done.errors.startswith("gateway: ")


@pytest.mark.parametrize(
    "words",
    [
        ("keys", "delete", "key_unknown"),
        ("projects", "archive", "proj_unknown"),
        ("projects", "archive", "Unknown"),
        ("limits", "delete", "lim_unknown"),
        ("usage", "--key", "key_unknown"),
        ("users", "disable", "nobody@example.com"),
        ("admin-keys", "delete", "admkey_unknown"),
    ],
)
async def test_unknown_thing_is_told_and_exits_with_1(migrated_shell: Shell, words: tuple[str, ...]) -> None:
    done = await migrated_shell.run(*words)
    assert (done.exit_code, done.output) == (1, "")
    assert done.errors.startswith("gateway: There is no ")


async def test_version_is_printed(shell: Shell) -> None:
    done = await shell.run("--version")
    assert (done.exit_code, done.errors) == (0, "")
    assert done.output.startswith("gateway ")
