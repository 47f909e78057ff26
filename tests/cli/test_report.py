"""A month's statement: it adds up to the ledger's records, and its page asks no network and believes no name."""

import csv
import io
import json
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.admin import projects, service_accounts, users
from gateway.cli.asking import Office
from gateway.cli.office import office as office_of
from gateway.cli.statement import make_statement
from gateway.cli.statement_page import page
from gateway.core.money import render_usd
from gateway.ledger.entries import Caller, Figures, Settlement
from gateway.settings import Settings
from tests.cli.shell import Shell
from tests.team import call, settle

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
START, END = int(NOVEMBER.timestamp()), int(datetime(2026, 12, 1, tzinfo=UTC).timestamp())
EVIL = '<script src="https://evil.example/x.js"></script>'


@pytest.fixture
async def office(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    async with office_of(Settings(database_url, tmp_path)) as opened:
        yield opened


async def furnish(office: Office) -> list[Caller]:
    """Make two projects with two people and a program in each."""
    callers: list[Caller] = []
    for name in ("Search", EVIL):
        project = (await office.ask(projects.create_project, body={"name": name})).id
        for person in ("ann", "bob"):
            email = f"{person}{len(callers)}@example.com"
            user = (await office.ask(users.create_user, body={"email": email, "name": person})).id
            callers.append(Caller(f"key_{len(callers)}", project, user, None))
        bot = await office.ask(
            service_accounts.create_service_account,
            {"project_id": project},
            body={"name": "bot", "create_service_account_only": True},
        )
        callers.append(Caller(f"key_{len(callers)}", project, None, bot.id))
    return callers


def drawn(callers: list[Caller], count: int = 200) -> list[Settlement]:
    """Calls at random around November."""
    dice = random.Random(11)
    return [
        replace(
            call(
                f"req_{number:04d}",
                START - 86_400 + dice.random() * (END - START + 2 * 86_400),
                Figures(
                    1, 1, dice.randrange(9_999), output_tokens=dice.randrange(99), cost_nano_usd=dice.randrange(10**9)
                ),
                model=dice.choice(["gpt-4o", "o3"]),
                operation=dice.choice(["chat", "embeddings"]),
            ),
            caller=dice.choice(callers),
        )
        for number in range(count)
    ]


def spent(calls: list[Settlement]) -> str:
    return render_usd(sum(one.figures.cost_nano_usd or 0 for one in calls))


async def test_statement_of_a_month_adds_up_to_its_records(office: Office, database_url: str) -> None:
    callers = await furnish(office)
    calls = drawn(callers)
    await settle(database_url, calls)
    inside = [one for one in calls if START <= one.admitted_at_us // 1_000_000 < END]
    assert 0 < len(inside) < len(calls)
    statement = await make_statement(office, NOVEMBER, None)
    assert (statement.month, statement.start_date, statement.end_date) == ("2026-11", "2026-11-01", "2026-11-30")
    assert (statement.usage.cost_usd, statement.usage.requests) == (spent(inside), len(inside))
    for project in statement.projects:
        of_project = [one for one in inside if one.caller.project_id == project.id]
        assert project.usage.cost_usd == spent(of_project)
        for holder in project.holders:
            theirs = [one for one in of_project if holder.id in (one.caller.user_id, one.caller.service_account_id)]
            assert (holder.usage.cost_usd, holder.usage.succeeded) == (spent(theirs), len(theirs))
        assert {share.name: share.usage.cost_usd for share in project.models} == {
            model: spent([one for one in of_project if one.subject.model == model]) for model in ("gpt-4o", "o3")
        }
    for parts in (statement.projects, statement.holders, statement.days):
        assert sum(Decimal(part.usage.cost_usd) for part in parts) == Decimal(statement.usage.cost_usd)
    assert len(statement.days) == 30
    names = {holder.name for project in statement.projects for holder in project.holders}
    assert names == {"ann0@example.com", "bob1@example.com", "bot", "ann3@example.com", "bob4@example.com"}


async def test_statement_of_one_project_is_its_own(office: Office, database_url: str) -> None:
    callers = await furnish(office)
    calls = drawn(callers)
    await settle(database_url, calls)
    statement = await make_statement(office, NOVEMBER, callers[0].project_id)
    assert [project.name for project in statement.projects] == ["Search"]
    assert statement.usage == statement.projects[0].usage


class Elements(HTMLParser):
    """What a page is made of: its tags with their attributes, and its texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


async def test_page_of_a_statement_asks_no_network_and_shows_names_as_texts(office: Office, database_url: str) -> None:
    callers = await furnish(office)
    await settle(database_url, drawn(callers))
    statement = await make_statement(office, NOVEMBER, None)
    text = page(statement)
    elements = Elements(text)
    assert elements.open == []
    tags = {tag for tag, _ in elements.found}
    assert tags.isdisjoint({"script", "link", "img", "iframe", "object", "form", "a", "base"})
    assert not {name for _, attributes in elements.found for name in attributes} & {"src", "href", "onload", "action"}
    (style,) = [data for data in elements.texts if "font-variant-numeric" in data]
    assert "url(" not in style and "@import" not in style
    assert EVIL in elements.texts
    assert statement.usage.cost_usd in elements.texts
    assert [tag for tag, _ in elements.found].count("rect") == 30 * (1 + len(statement.projects))
    widths = [float((of["style"] or "")[6:-1]) for tag, of in elements.found if tag == "div"]
    assert max(widths) == 100 and min(widths) >= 0


async def test_page_of_a_month_without_usage_or_without_costs_is_a_page(office: Office, database_url: str) -> None:
    assert "0 USD for 0 requests" in page(await make_statement(office, NOVEMBER, None))
    (caller, *_) = await furnish(office)
    free = call("req_1", START, Figures(1, 1, 500, cost_nano_usd=None), model="own")
    await settle(database_url, [replace(free, caller=caller)])
    text = page(await make_statement(office, NOVEMBER, None))
    assert "0 USD for 1 request, 1 without a price" in text
    assert 'style="width:100.0%"' in text


async def test_report_prints_a_table_csv_json_and_a_page(empty_shell: Shell, tmp_path: Path) -> None:
    url = empty_shell.variables["GATEWAY_DATABASE_URL"]
    async with office_of(Settings(url, tmp_path)) as here:
        callers = await furnish(here)
    await settle(url, drawn(callers, 40))
    month = ("report", "--month", "2026-11")
    statement = json.loads((await empty_shell.run(*month, "--json")).output)
    rows = list(csv.DictReader(io.StringIO((await empty_shell.run(*month, "--csv")).output)))
    assert sum(Decimal(row["cost_usd"]) for row in rows) == Decimal(statement["usage"]["cost_usd"])
    assert {row["project"] for row in rows} == {"Search", EVIL}
    assert (await empty_shell.run(*month, "--html")).output.startswith("<!doctype html>")
    table = await empty_shell.run(*month, "--project", "Search")
    assert "ann0@example.com" in table.output and "ann3@example.com" not in table.output
    wrong = await empty_shell.run("report", "--month", "2026-13")
    assert (wrong.exit_code, "write it like 2026-11" in wrong.errors) == (2, True)
