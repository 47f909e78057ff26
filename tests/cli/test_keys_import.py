"""Keys for a list of people: all of them or, for a list with a mistake, none; their texts for nobody else's eyes."""

import argparse
import csv
import stat
from pathlib import Path

import pytest

from gateway.cli import parser_for
from gateway.cli.failures import CommandError
from gateway.cli.keys_import import _read
from gateway.core.keys import is_well_formed
from tests.cli.shell import Shell

PEOPLE = """email,name,project,models,limits
ann@example.com,Ann,,gpt-4o* o3,cost:month:25 requests:minute:60
"bob@example.com","=Bob, the second",,,
"""


async def test_keys_are_imported_for_a_list_into_a_file_of_our_own(empty_shell: Shell) -> None:
    await empty_shell.ask("projects", "create", "Research")
    people = empty_shell.folder / "people.csv"
    people.write_text(PEOPLE, encoding="utf-8")
    words = ("keys", "import", "people.csv", "--project", "Research", "--limit", "cost:day:1", "--expires-in", "30d")
    done = await empty_shell.run(*words)
    assert (done.exit_code, done.errors) == (0, "")
    file = empty_shell.folder / "people.keys.csv"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    assert [(row["email"], row["name"]) for row in rows] == [
        ("ann@example.com", "Ann"),
        ("bob@example.com", "'=Bob, the second"),
    ]
    assert all(is_well_formed(row["key"]) for row in rows)
    assert not any(row["key"] in done.output for row in rows)
    limits = await empty_shell.ask_list("limits", "list")
    assert {(limit["scope_id"], limit["interval"], limit["amount"]) for limit in limits} == {
        (rows[0]["api_key_id"], "month", "25"),
        (rows[0]["api_key_id"], "minute", 60),
        (rows[1]["api_key_id"], "day", "1"),
    }
    again = await empty_shell.run(*words)
    assert (again.exit_code, "is there already" in again.errors) == (1, True)
    assert len(await empty_shell.ask_list("keys", "list")) == 2


async def test_key_that_the_gateway_refuses_leaves_those_before_it_in_the_file(empty_shell: Shell) -> None:
    await empty_shell.ask("projects", "create", "Research")
    over = str((await empty_shell.ask("projects", "create", "Over"))["id"])
    await empty_shell.ask("projects", "archive", over)
    people = empty_shell.folder / "people.csv"
    people.write_text(f"email,project\nann@example.com,\nbob@example.com,{over}\n", encoding="utf-8")
    done = await empty_shell.run("keys", "import", "people.csv", "--project", "Research")
    assert done.exit_code == 1
    assert "bob@example.com: " in done.errors and "The 1 keys before it are made" in done.errors
    rows = list(csv.DictReader((empty_shell.folder / "people.keys.csv").read_text().splitlines()))
    assert [row["email"] for row in rows] == ["ann@example.com"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the first line must name the columns"),
        ("name\nAnn\n", "the first line must name the columns"),
        ("email,colour\na@b.example,red\n", "the first line must name the columns"),
        ("email\n", "names nobody"),
        ("email\nann@example.com\nnobody\n", "line 3: `nobody` is not an e-mail address"),
        ("email,name\nann@example.com\n", "line 2: it has more or fewer cells"),
        ("email,name\nann@example.com,Ann,more\n", "line 2: it has more or fewer cells"),
        ("email,limits\nann@example.com,cost\n", "line 2: `cost` is not METRIC:INTERVAL:AMOUNT"),
        ("email,project\nann@example.com,\n", "line 2: no project"),
        (f"email,name\nann@example.com,Ann\nbob@example.com,{'b' * 201}\n", "line 3: `name`: .*length <= 200"),
        ("email,name\nann@example.com,A\x1b[2J\n", "line 2: `name`: .*without control characters"),
        (f"email\n{'b' * 250}@example.com\n", "line 2: `email`: .*length <= 254"),
        (f"email,models\nann@example.com,{'m' * 201}\n", r"line 2: `models\[0\]`: .*length <= 200"),
        ("email,limits\nann@example.com,cost:month:5 cost:month:-5\n", r"line 2: `limits\[1\].amount`: "),
        ("email,limits\nann@example.com,cost:year:5\n", r"line 2: `limits\[0\].interval`: "),
        ("email,limits\nann@example.com,concurrency:5 tokens:5\n", r"line 2: `?(limits\[1\]|.tokens:5.)"),
    ],
)
def test_list_with_a_mistake_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(CommandError, match=words) as refused:
        _read(arguments(tmp_path, text, () if "project" in text else ("--project", "Research")))
    assert refused.value.exit_code == 2


def test_list_is_read_as_spreadsheets_write_it(tmp_path: Path) -> None:
    text = "\ufeffEmail;Name\r\nann@example.com;Änn\r\n"
    (line,) = _read(arguments(tmp_path, text, ("--project", "Research")))
    assert (line.email, line.name, line.project) == ("ann@example.com", "Änn", "Research")


def arguments(folder: Path, text: str, words: tuple[str, ...]) -> argparse.Namespace:
    people = folder / "people.csv"
    people.write_text(text, encoding="utf-8")
    given = ["keys", "import", str(people), *words]
    return parser_for(given).parse_args(given)
