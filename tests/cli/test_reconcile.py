"""Our ledger beside what OpenAI exports: JSON pages as its SDK types them, and the CSV of its dashboard."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from openai.types.admin.organization import UsageCompletionsResponse, UsageCostsResponse

from gateway.cli.exports import read
from gateway.cli.failures import CommandError
from gateway.ledger.entries import Figures
from tests.cli.shell import Shell
from tests.team import call, running_team

DAY = 1_720_569_600
"""2024-07-10, midnight."""
SECONDS = 86_400


@pytest.fixture
async def shell(team_shell: Shell) -> AsyncIterator[Shell]:
    """A gateway with two days' calls in two projects."""
    async with running_team(team_shell.variables["GATEWAY_DATABASE_URL"]) as team:
        await team.settle(
            call("req_1", DAY + 60, Figures(1, 1, 1_000, 200, output_tokens=50, cost_nano_usd=180_000)),
            call("req_2", DAY + 120, Figures(1, 1, 500, output_tokens=20, cost_nano_usd=87_000), key="key_2"),
            call("req_3", DAY + SECONDS, Figures(1, 1, 10, output_tokens=5, cost_nano_usd=4_500)),
            call("req_4", DAY + 180, Figures(1, 0, 0)),
            call(
                "req_5",
                DAY,
                Figures(1, 1, 7, cost_nano_usd=140),
                model="text-embedding-3-small",
                operation="embeddings",
            ),
        )
    yield team_shell


def bucket(day: int, *results: dict[str, Any]) -> dict[str, Any]:
    return {"object": "bucket", "start_time": day, "end_time": day + SECONDS, "results": list(results)}


def completions(requests: int, given: int, cached: int, taken: int, **group: Any) -> dict[str, Any]:
    """A result as OpenAI's usage API gives it."""
    ungrouped = dict.fromkeys(("project_id", "user_id", "api_key_id", "model", "batch", "service_tier"))
    figures = {"input_tokens": given, "output_tokens": taken, "input_cached_tokens": cached}
    audio = {"input_audio_tokens": 0, "output_audio_tokens": 0}
    head = {"object": "organization.usage.completions.result", "num_model_requests": requests}
    return {**head, **figures, **audio, **ungrouped, **group}


def costs(value: Any, **group: Any) -> dict[str, Any]:
    ungrouped = {"line_item": None, "project_id": None}
    return {"object": "organization.costs.result", "amount": {"value": value, "currency": "usd"}, **ungrouped, **group}


def page(*buckets: dict[str, Any], has_more: bool = False) -> dict[str, Any]:
    return {"object": "page", "data": list(buckets), "has_more": has_more, "next_page": "p2" if has_more else None}


MODEL = {"model": "gpt-4o-mini-2024-07-18"}
FIRST = bucket(DAY, completions(2, 1_500, 200, 70, **MODEL))
SECOND = bucket(DAY + SECONDS, completions(1, 10, 0, 5, **MODEL))


def write(shell: Shell, name: str, content: Any) -> str:
    text = content if isinstance(content, str) else json.dumps(content)
    (shell.folder / name).write_text(text)
    return name


async def test_export_that_agrees_is_within_the_tolerance(shell: Shell) -> None:
    whole = page(FIRST, SECOND)
    UsageCompletionsResponse.model_validate(whole, strict=True)
    done = await shell.run("reconcile", write(shell, "usage.json", whole), "--tolerance", "0")
    assert (done.exit_code, done.errors) == (0, "")
    assert "All 7 figures are within 0 %." in done.output


@pytest.mark.parametrize("shape", ["files", "list", "lines"])
async def test_pages_may_come_as_files_as_a_list_or_line_by_line(shell: Shell, shape: str) -> None:
    pages = [page(FIRST, has_more=True), page(SECOND)]
    if shape == "files":
        files = [write(shell, f"{number}.json", one) for number, one in enumerate(pages)]
    else:
        text = json.dumps(pages) if shape == "list" else "\n".join(map(json.dumps, pages))
        files = [write(shell, "usage.json", text)]
    report = await shell.ask("reconcile", *files, "--tolerance", "0")
    assert (report["ok"], report["notes"]) == (True, [])


async def test_differences_are_told_per_day_model_and_project(shell: Shell) -> None:
    whole = page(
        bucket(
            DAY,
            completions(1, 1_000, 200, 50, project_id="proj_theirs", **MODEL),
            completions(1, 600, 0, 20, project_id="proj_2", **MODEL),
            completions(3, 30, 0, 30, project_id="proj_2", model="o3"),
        )
    )
    file = write(shell, "usage.json", whole)
    done = await shell.run("reconcile", file, "--project", "proj_theirs=Project 1")
    assert done.exit_code == 1
    assert "4 of 10 figures differ by more than 1 %." in done.output
    lines = [line.split() for line in done.output.splitlines() if line.startswith("2024-07-10")]
    assert ["2024-07-10", "gpt-4o-mini", "proj_2", "input_tokens", "500", "600", "-100", "16.67", "NO"] in lines
    assert ["2024-07-10", "o3", "proj_2", "requests", "0", "3", "-3", "100.00", "NO"] in lines
    tolerant = await shell.run(
        "reconcile", file, "--project", "proj_theirs=proj_1", "--models", "gpt-*", "--tolerance", "17%"
    )
    assert tolerant.exit_code == 0
    only = await shell.run("reconcile", file, "--csv", "--provider-project", "proj_2", "--models", "gpt-4o-mini")
    assert "2024-07-10,gpt-4o-mini,proj_2,input_tokens,500,600,-100,16.67,NO" in only.output.splitlines()


async def test_projects_that_are_none_of_ours_are_added_up(shell: Shell) -> None:
    whole = page(
        bucket(
            DAY, completions(1, 1_000, 200, 50, project_id="proj_a"), completions(1, 500, 0, 20, project_id="proj_b")
        )
    )
    report = await shell.ask("reconcile", write(shell, "usage.json", whole), "--tolerance", "0")
    assert report["ok"] is True
    assert "proj_a, proj_b" in str(report["notes"])


async def test_costs_are_compared_by_line_item_or_as_a_whole(shell: Shell) -> None:
    items = page(
        bucket(
            DAY,
            costs("0.000200", line_item="gpt-4o-mini-2024-07-18, input"),
            costs(0.000067, line_item="gpt-4o-mini-2024-07-18, output"),
            costs("0.00000014", line_item="text-embedding-3-small"),
        ),
        bucket(DAY + SECONDS),
    )
    report = await shell.run("reconcile", write(shell, "items.json", items), "--json")
    lines = [
        (line["date"], line["model"], line["ours"], line["provider"]) for line in json.loads(report.output)["lines"]
    ]
    assert lines == [
        ("2024-07-10", "gpt-4o-mini", "0.000267", "0.000267"),
        ("2024-07-10", "text-embedding-3-small", "0.00000014", "0.00000014"),
        ("2024-07-11", "gpt-4o-mini", "0.0000045", "0"),
    ]
    assert report.exit_code == 1
    whole = page(bucket(DAY, costs(0.00026714)), bucket(DAY + SECONDS, costs(0.0000045)))
    UsageCostsResponse.model_validate(whole, strict=True)
    assert (await shell.ask("reconcile", write(shell, "whole.json", whole), "--tolerance", "0"))["ok"] is True


async def test_csv_of_the_dashboard_is_read(shell: Shell) -> None:
    usage_csv = (
        "start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,user_id,api_key_id,model,batch,"
        "service_tier,input_tokens,output_tokens,input_cached_tokens,input_uncached_tokens\n"
        f"{DAY},{DAY + SECONDS},a,b,,2,,,gpt-4o-mini-2024-07-18,,,1500,70,200,1300\n"
        f"{DAY + SECONDS},{DAY + 2 * SECONDS},a,b,,1,,,gpt-4o-mini-2024-07-18,,,10,5,0,10\n"
        f"{DAY + 2 * SECONDS},{DAY + 3 * SECONDS},a,b,,,,,,,,,,,\n"
    )
    costs_csv = (
        "\ufeffstart_time\tend_time\tstart_time_iso\tend_time_iso\tamount_value\tamount_currency\tline_item\tproject_id\t"
        "organization_id\torganization_name\r\n"
        f"{DAY}\t{DAY + SECONDS}\ta\tb\t0.0002671400000000\tusd\t\t\torg\tPersonal\r\n"
        f"{DAY + SECONDS}\t{DAY + 2 * SECONDS}\ta\tb\t\t\t\t\t\t\r\n"
    )
    files = [write(shell, "usage.csv", usage_csv), write(shell, "costs.csv", costs_csv)]
    done = await shell.run("reconcile", *files, "--json")
    report = json.loads(done.output)
    assert done.exit_code == 1
    off = [
        (line["date"], line["figure"], line["ours"], line["provider"]) for line in report["lines"] if not line["within"]
    ]
    assert off == [("2024-07-11", "cost_usd", "0.0000045", "0")]


async def test_upstream_narrows_our_side_to_the_records_of_its_calls(shell: Shell) -> None:
    file = write(shell, "usage.json", page(FIRST))
    assert (await shell.ask("reconcile", file, "--upstream", "main", "--tolerance", "0"))["ok"] is True
    assert (await shell.run("reconcile", file, "--upstream", "another")).exit_code == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("nothing", "is not an export of OpenAI's dashboard"),
        ("{", "is not a page"),
        ('{"data": 1}', "is not a page"),
        (json.dumps(page(bucket(DAY))), "is empty"),
        (json.dumps(page(FIRST, FIRST)), "twice"),
        (json.dumps(page({**FIRST, "end_time": DAY + 30 * SECONDS})), "more than a day"),
        (json.dumps(page(bucket(DAY, {"object": "organization.usage.vector_stores.result"}))), "is not compared"),
        (json.dumps(page(bucket(DAY, {**costs(1), "amount": {"value": 1, "currency": "eur"}}))), "in eur"),
        ("start_time,end_time,input_tokens\nx,y,z\n", "line 2"),
    ],
)
def test_file_that_is_no_export_is_refused_in_words(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "file").write_text(content)
    with pytest.raises(CommandError, match=words):
        read([tmp_path / "file"])


async def test_export_that_is_not_whole_is_noted(shell: Shell) -> None:
    report = await shell.ask("reconcile", write(shell, "usage.json", page(FIRST, has_more=True)))
    assert "it is not complete" in str(report["notes"])
