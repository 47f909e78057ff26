"""LiteLLM's file and database become ours: its clients' keys go on working, its limits go on binding."""

import hashlib
import json
import sqlite3
import tomllib
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import asyncpg
import msgspec
import pytest
from sqlalchemy import create_engine, text

from gateway.cli.import_litellm import _new_id
from gateway.cli.litellm_config import convert, render
from gateway.cli.litellm_keys import Brought, Mover, interval_of
from gateway.core.limits import Interval, Limit, Metric
from gateway.core.prices import override_price
from gateway.settings import ConfigFile
from gateway.store import api_keys, limits, litellm, model_permissions, projects
from gateway.store.engine import Connection, Database, is_sqlite, postgres_dsn
from gateway.store.litellm import Books
from gateway.store.pages import Cursor
from tests.cli.shell import Shell
from tests.gateway import RunningGateway, chat_body

NOW = 1_800_000_000
CONFIG = {
    "model_list": [
        {"model_name": "gpt-4o", "litellm_params": {"model": "openai/gpt-4o", "api_key": "os.environ/OPENAI_KEY"}},
        {"model_name": "fast", "litellm_params": {"model": "gpt-4o-mini", "api_key": "os.environ/OPENAI_KEY"}},
        {"model_name": "opus", "litellm_params": {"model": "anthropic/claude-opus-4", "api_key": "sk-ant-secret"}},
        {
            "model_name": "gpt-4.1",
            "litellm_params": {
                "model": "azure/team-gpt41", "api_base": "https://team.openai.azure.com/", "api_version": "2024-10-21",
                "api_key": "os.environ/AZURE_KEY",
            },
        },
        {
            "model_name": "llama",
            "litellm_params": {"model": "hosted_vllm/llama", "api_base": "http://10.0.0.7:8000/v1"},
            "model_info": {"input_cost_per_token": 3e-07, "output_cost_per_token": 0.0000012},
        },
        {"model_name": "nova", "litellm_params": {"model": "bedrock/amazon.nova"}},
        {"model_name": "broken"},
    ]
}  # fmt: skip
TABLES = """
    CREATE TABLE "LiteLLM_BudgetTable" (budget_id TEXT, max_budget DOUBLE PRECISION, max_parallel_requests INTEGER,
        tpm_limit BIGINT, rpm_limit BIGINT, budget_duration TEXT);
    CREATE TABLE "LiteLLM_TeamTable" (team_id TEXT, team_alias TEXT, models {list}, max_budget DOUBLE PRECISION,
        spend DOUBLE PRECISION, max_parallel_requests INTEGER, tpm_limit BIGINT, rpm_limit BIGINT,
        budget_duration TEXT, blocked BOOLEAN DEFAULT FALSE);
    CREATE TABLE "LiteLLM_UserTable" (user_id TEXT, user_email TEXT, max_budget DOUBLE PRECISION,
        spend DOUBLE PRECISION, max_parallel_requests INTEGER, tpm_limit BIGINT, rpm_limit BIGINT,
        budget_duration TEXT, models {list} DEFAULT {none});
    CREATE TABLE "LiteLLM_VerificationToken" (token TEXT, key_name TEXT, key_alias TEXT, spend DOUBLE PRECISION,
        expires TIMESTAMP(3), models {list}, user_id TEXT, team_id TEXT, max_parallel_requests INTEGER,
        blocked BOOLEAN, tpm_limit BIGINT, rpm_limit BIGINT, max_budget DOUBLE PRECISION, budget_duration TEXT,
        budget_id TEXT);
    INSERT INTO "LiteLLM_BudgetTable" VALUES ('b1', 7.5, NULL, NULL, NULL, '14d');
    INSERT INTO "LiteLLM_TeamTable" VALUES ('t1', 'Research', {none}, 100, 3, NULL, NULL, 600, '30d', FALSE);
    INSERT INTO "LiteLLM_UserTable" VALUES ('u1', 'Ann@example.com', 20, 5.25, NULL, NULL, NULL, NULL, {none}),
        ('u2', NULL, 1, 0, NULL, NULL, NULL, NULL, {none});
    INSERT INTO "LiteLLM_VerificationToken" VALUES
        ('{ann}', 'sk-...1234', 'ann laptop', 0, '2030-01-01 00:00:00', {some}, 'u1', 't1', 3, NULL, 1000, NULL,
         NULL, NULL, NULL),
        ('{bot}', 'sk-...abcd', NULL, 0, NULL, {all}, 'u2', NULL, NULL, TRUE, NULL, NULL, NULL, NULL, 'b1'),
        ('litellm-dashboard', NULL, NULL, 0, NULL, {none}, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"""
LATER = """
    ALTER TABLE "LiteLLM_TeamTable" ADD COLUMN organization_id TEXT;
    ALTER TABLE "LiteLLM_UserTable" ADD COLUMN model_max_budget {json} DEFAULT '{{}}';
    ALTER TABLE "LiteLLM_VerificationToken" ADD COLUMN model_max_budget {json} DEFAULT '{{}}';
    ALTER TABLE "LiteLLM_VerificationToken" ADD COLUMN metadata {json} DEFAULT '{{}}';
    ALTER TABLE "LiteLLM_VerificationToken" ADD COLUMN allowed_routes {list} DEFAULT {none};
    UPDATE "LiteLLM_TeamTable" SET organization_id = 'o1';
    UPDATE "LiteLLM_UserTable" SET user_email = 'a b' WHERE user_id = 'u2';
    UPDATE "LiteLLM_VerificationToken" SET allowed_routes = {some}, model_max_budget = '{{"o3": 1}}'
        WHERE user_id = 'u1';
    UPDATE "LiteLLM_VerificationToken" SET metadata = '{{"model_rpm_limit": {{"o3": 1}}}}' WHERE user_id = 'u2'"""
DROP = "; ".join(
    f'DROP TABLE "LiteLLM_{name}"' for name in ("BudgetTable", "TeamTable", "UserTable", "VerificationToken")
)
ANN, BOT = "sk-litellm-ann-0123456789", "sk-litellm-bot-0123456789"


def statements(*, arrays: bool) -> str:
    digests = {name: hashlib.sha256(key.encode()).hexdigest() for name, key in (("ann", ANN), ("bot", BOT))}
    if arrays:
        return TABLES.format(
            list="TEXT[]", none="'{}'", some="ARRAY['gpt-4o','fast']", all="ARRAY['all-proxy-models']", **digests
        )
    return TABLES.format(
        list="TEXT", none="'[]'", some="""'["gpt-4o","fast"]'""", all="""'["all-proxy-models"]'""", **digests
    )


@pytest.fixture
async def theirs(database_url: str, tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a LiteLLM database of either kind."""
    if is_sqlite(database_url):
        file = tmp_path / "litellm.db"
        make_file(file)
        yield f"sqlite+aiosqlite:///{file}"
        return
    remote = await asyncpg.connect(postgres_dsn(database_url))
    try:
        await remote.execute(statements(arrays=True))
        yield postgres_dsn(database_url) + "?schema=public&connection_limit=5"
        await remote.execute(DROP)
    finally:
        await remote.close()


def make_file(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.executescript(statements(arrays=False))
    connection.close()


async def books_at(url: str) -> Books:
    database = Database(litellm.driver_url(url))
    try:
        return await database.read(litellm.read)
    finally:
        await database.close()


async def bring(url: str, books: Books) -> Brought:
    database = Database(url)
    try:
        return await database.change(lambda connection: Mover(connection, books, _new_id, NOW).bring())
    finally:
        await database.close()


def test_config_names_credentials_addresses_of_the_environment_groups_and_wildcards() -> None:
    models = [
        {"model_name": "gpt-4o", "litellm_params": {"model": "azure/gpt4o", "litellm_credential_name": "team"}},
        {"model_name": "*", "litellm_params": {"model": "openai/*"}},
        {"model_name": "anthropic/*", "litellm_params": {"model": "anthropic/*"}},
        {"model_name": "lost", "litellm_params": {"model": "azure/x", "api_base": "os.environ/NOWHERE"}},
    ]
    values = {"api_key": "os.environ/TEAM_KEY", "api_base": "os.environ/TEAM_BASE", "api_version": "2024-10-21"}
    made = convert(
        {
            "model_list": models,
            "credential_list": [{"credential_name": "team", "credential_values": values}],
            "router_settings": {"model_group_alias": {"best": "gpt-4o", "hidden": {"model": "gpt-4o", "hidden": True}}},
        },
        {"TEAM_BASE": "https://team.openai.azure.com"},
    )
    assert [(one.provider, one.base_url, one.key_variable, one.models) for one in made.endpoints] == [
        ("azure", "https://team.openai.azure.com", "TEAM_KEY", ["gpt-4o"]),
        ("openai", "https://api.openai.com/v1", "OPENAI_API_KEY", ["*"]),
        ("anthropic", "https://api.anthropic.com", "ANTHROPIC_API_KEY", ["claude-*"]),
    ]
    assert made.aliases == {"best": "gpt-4o", "hidden": "gpt-4o"}
    assert ["anthropic/*" in note or "lost" in note for note in made.notes] == [True, True]


def test_config_becomes_upstreams_aliases_and_prices_without_secrets() -> None:
    made = convert(CONFIG, {})
    written = render(made)
    config = msgspec.convert(tomllib.loads(written), ConfigFile)
    assert "sk-ant-secret" not in written
    assert {
        upstream.name: (upstream.provider, upstream.base_url, upstream.api_key_env, upstream.models)
        for upstream in config.upstreams
    } == {
        "openai": ("openai", "https://api.openai.com/v1", "OPENAI_KEY", ("gpt-4o", "gpt-4o-mini")),
        "anthropic": ("anthropic", "https://api.anthropic.com", "ANTHROPIC_API_KEY", ("claude-opus-4",)),
        "azure": ("azure", "https://team.openai.azure.com", "AZURE_KEY", ("gpt-4.1",)),
        "openai-2": ("openai", "http://10.0.0.7:8000/v1", "OPENAI_API_KEY", ("llama",)),
    }
    assert [upstream.deployments for upstream in config.upstreams][2] == {"gpt-4.1": "team-gpt41"}
    assert config.models == {"fast": "gpt-4o-mini", "opus": "claude-opus-4"}
    assert config.prices == {"llama": {"input": "0.3", "output": "1.2"}}
    assert len(made.notes) == 3
    assert any("set ANTHROPIC_API_KEY" in note for note in made.notes)
    assert any("bedrock" in note for note in made.notes)


@pytest.mark.parametrize(
    "config",
    [
        {"model_list": "x"}, {"model_list": [None, "x", {"litellm_params": "x"}, {"model_name": "a"}]},
        {"model_list": {"a": 1}, "router_settings": "x", "credential_list": "x"},
        {"router_settings": {"model_group_alias": ["x"]}, "credential_list": [None, {"credential_name": ["x"]}]},
        {"model_list": [{"model_name": 5, "litellm_params": {"model": "x"}, "model_info": "x"}]},
    ],
)  # fmt: skip
def test_config_that_is_none_makes_nothing_and_breaks_nothing(config: dict[str, object]) -> None:
    made = convert(config, {})
    assert (made.endpoints, made.prices, made.aliases) == ([], {}, {})
    listed = config.get("model_list")
    assert len(made.notes) == (len(listed) if isinstance(listed, list) else 0)


def test_config_prices_are_ones_that_a_start_takes_and_half_a_price_is_told() -> None:
    rates = {"input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05, "cache_read_input_token_cost": 3e-07}
    infos = {
        "cached": {**rates, "cache_creation_input_token_cost": 3.75e-06},
        "embed": {"input_cost_per_token": 2e-08, "mode": "embedding"},
        "half": {"input_cost_per_token": 2e-08},
        "other": {"output_cost_per_token": 2e-08},
    }
    models = [
        {"model_name": name, "litellm_params": {"model": name}, "model_info": info} for name, info in infos.items()
    ]
    made = convert({"model_list": models}, {})
    prices = msgspec.convert(tomllib.loads(render(made)), ConfigFile).prices
    assert prices == {
        "cached": {"input": "3", "output": "15", "cached_input": "0.3", "cache_write": "3.75"},
        "embed": {"input": "0.02", "output": "0"},
    }
    for model, words in prices.items():
        override_price(model, words)
    assert [(note[:5], "left out" in note) for note in made.notes] == [("half:", True), ("other", True)]


async def test_books_of_litellm_are_read_as_they_are(theirs: str) -> None:
    books = await books_at(theirs)
    (team,) = books.teams
    assert (team.name, team.models) == ("Research", None)
    assert (team.terms.max_budget, team.terms.requests_per_minute) == (Decimal(100), 600)
    keys = {key.name: key for key in books.keys}
    assert len(keys) == 2
    ann = keys["ann laptop"]
    assert (ann.models, ann.expires_at, ann.blocked, ann.last_four) == (
        ("gpt-4o", "fast"),
        1_893_456_000,
        False,
        "1234",
    )
    bot = next(key for name, key in keys.items() if name != "ann laptop")
    assert (bot.models, bot.blocked, bot.terms.max_budget, bot.terms.duration) == (None, True, Decimal("7.5"), "14d")


async def test_keys_come_with_their_limits_and_a_second_time_nothing_comes(theirs: str, database_url: str) -> None:
    books = await books_at(theirs)
    brought = await bring(database_url, books)
    assert (brought.keys, brought.projects, brought.users, brought.service_accounts) == (2, 2, 1, 1)
    assert [note for note in brought.notes if "14d" in note]
    database = Database(database_url)
    try:
        found = await database.read(every_limit)
    finally:
        await database.close()
    assert {(limit.scope.value, limit.metric, limit.interval, limit.amount) for limit in found} == {
        ("project", Metric.COST, Interval.MONTH, 100 * 10**9),
        ("project", Metric.REQUESTS, Interval.MINUTE, 600),
        ("user", Metric.COST, Interval.LIFETIME, 14_750_000_000),
        ("api_key", Metric.TOKENS, Interval.MINUTE, 1000),
        ("api_key", Metric.CONCURRENCY, None, 3),
        ("api_key", Metric.COST, Interval.MONTH, 7_500_000_000),
    }
    again = await bring(database_url, books)
    assert (again.keys, again.projects, again.users, again.service_accounts, again.limits) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("names", "team", "permitted", "expected"),
    [
        ([], "t1", None, None), (["all-team-models"], "t1", None, None), (["all-proxy-models", "a"], None, None, None),
        (["*"], None, None, None), (["a", "no-default-models"], None, None, ("a",)),
        (["all-team-models"], None, None, ()), (["no-default-models"], "t1", None, ()), ([], None, ["a"], ("a",)),
        (["a", "b"], None, ["b"], ("b",)), ([], "t1", ["a"], None), ([], None, ["no-default-models"], ()),
    ],
)  # fmt: skip
def test_models_of_a_key_are_never_more_than_litellm_lets_it_call(
    names: list[str], team: str | None, permitted: list[str] | None, expected: tuple[str, ...] | None, tmp_path: Path
) -> None:
    connection = sqlite3.connect(tmp_path / "litellm.db")
    connection.executescript(statements(arrays=False))
    theirs = (
        """UPDATE "LiteLLM_VerificationToken" SET models = ?, team_id = ?, user_id = 'u1' WHERE key_alias LIKE 'a%'"""
    )
    connection.execute(theirs, (json.dumps(names), team))
    connection.execute("""UPDATE "LiteLLM_UserTable" SET models = ?""", (json.dumps(permitted or []),))
    connection.commit()
    connection.close()
    engine = create_engine(f"sqlite:///{tmp_path / 'litellm.db'}")
    with engine.connect() as opened:
        (ann,) = [key for key in litellm.read(opened).keys if key.name == "ann laptop"]
    engine.dispose()
    assert ann.models == expected


async def test_team_that_is_blocked_or_bound_to_models_stays_so(sqlite_url: str, tmp_path: Path) -> None:
    make_file(tmp_path / "litellm.db")
    books = await books_at(f"sqlite+aiosqlite:///{tmp_path / 'litellm.db'}")
    team = replace(books.teams[0], models=("gpt-4o",), blocked=True)
    brought = await bring(sqlite_url, replace(books, teams=(team,)))
    database = Database(sqlite_url)
    try:
        found = {project.name: project.id for project in (await database.read(every_project))}
        keys = await database.read(lambda connection: api_keys.page(connection, found["Research"], Cursor()).items)
        permitted = await database.read(lambda connection: model_permissions.get(connection, found["Research"]))
    finally:
        await database.close()
    assert [key.disabled for key in keys] == [True]
    assert (permitted.mode, permitted.model_ids) == ("allow_list", ("gpt-4o",))
    assert [note for note in brought.notes if "blocked" in note]


async def test_what_binds_a_key_there_and_cannot_come_is_told(theirs: str, database_url: str) -> None:
    kinds = {"json": "TEXT", "list": "TEXT", "none": "'[]'", "some": """'["/chat/completions"]'"""}
    if not is_sqlite(theirs):
        kinds = {"json": "JSONB", "list": "TEXT[]", "none": "'{}'", "some": "'{/chat/completions}'"}

    def alter(connection: Connection) -> None:
        for statement in LATER.format(**kinds).split(";"):
            connection.execute(text(statement))

    books = Database(litellm.driver_url(theirs))
    try:
        await books.write(alter)
    finally:
        await books.close()
    notes = (await bring(database_url, await books_at(theirs))).notes
    assert "Of team Research these do not come: organization's budget and models. Look after that." in notes
    assert "Of key ann laptop these do not come: budgets by model, list of routes. Look after that." in notes
    assert [note for note in notes if note.startswith("Of key LiteLLM") and "rates by model" in note]
    assert [note for note in notes if note.startswith("User u2 has no e-mail") and "budget and rates do not" in note]
    assert len(notes) == 5  # the last is that of a budget for 14 days


@pytest.mark.parametrize("budget", [Decimal(10**10), Decimal("Infinity"), Decimal("NaN")])
async def test_budget_beyond_all_counting_is_none_and_told(sqlite_url: str, tmp_path: Path, budget: Decimal) -> None:
    make_file(tmp_path / "litellm.db")
    books = await books_at(f"sqlite+aiosqlite:///{tmp_path / 'litellm.db'}")
    team = replace(books.teams[0], terms=replace(books.teams[0].terms, max_budget=budget))
    brought = await bring(sqlite_url, replace(books, teams=(team,), people=(), keys=()))
    assert (brought.projects, brought.limits) == (1, 1)
    assert brought.notes == ["The budget of team Research is more than can be counted: it has none here."]


def every_project(connection: Connection) -> tuple[projects.Project, ...]:
    return projects.page(connection, Cursor(limit=100)).items


def every_limit(connection: Connection) -> tuple[Limit, ...]:
    return limits.page(connection, Cursor(limit=100)).items


async def test_client_of_litellm_calls_with_its_old_key(
    gateway: RunningGateway, sqlite_url: str, tmp_path: Path
) -> None:
    make_file(tmp_path / "litellm.db")
    await bring(sqlite_url, await books_at(f"sqlite+aiosqlite:///{tmp_path / 'litellm.db'}"))
    gateway.provider.chat("Hello")
    assert (await gateway.post(ANN, "/v1/chat/completions", chat_body(model="gpt-4o"))).status_code == 200
    refused = await gateway.post(ANN, "/v1/chat/completions", chat_body(model="o3"))
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
    assert (await gateway.post(BOT, "/v1/chat/completions", chat_body())).status_code == 401
    await gateway.audit()


@pytest.mark.parametrize(
    ("duration", "interval", "is_exact"),
    [
        (None, Interval.LIFETIME, True), ("1h", Interval.HOUR, True), ("24h", Interval.DAY, True),
        ("1d", Interval.DAY, True), ("7d", Interval.WEEK, True), ("30d", Interval.MONTH, True),
        ("1mo", Interval.MONTH, True), ("30m", Interval.HOUR, False), ("14d", Interval.MONTH, False),
        ("90d", Interval.LIFETIME, False), ("soon", Interval.LIFETIME, False),
    ],
)  # fmt: skip
def test_duration_of_a_budget_becomes_an_interval_that_is_no_shorter(
    duration: str | None, interval: Interval, is_exact: bool
) -> None:
    assert interval_of(duration) == (interval, is_exact)


async def test_import_writes_a_file_that_doctor_understands_and_overwrites_none(empty_shell: Shell) -> None:
    make_file(empty_shell.folder / "litellm.db")
    (empty_shell.folder / "config.yaml").write_text(json.dumps(CONFIG))
    words = ("import-litellm", "config.yaml", "--database-url", "sqlite+aiosqlite:///litellm.db", "--json")
    done = await empty_shell.run(*words)
    assert done.exit_code == 0, done.errors
    report = json.loads(done.output)
    assert (report["upstreams"], report["brought"]["keys"]) == (4, 2)
    assert [key["name"] for key in await empty_shell.ask_list("keys", "list", "--project", "Research")] == [
        "ann laptop"
    ]
    again = await empty_shell.run(*words)
    assert (again.exit_code, "is there already" in again.errors) == (1, True)
