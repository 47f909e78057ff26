"""docs/admin.md, from zero to a team of ten: every line of it does what the page says, in the order it stands."""

import csv
import re
import shlex
from pathlib import Path

from tests.cli.shell import Shell

PAGE = (Path(__file__).parent.parent.parent / "docs" / "admin.md").read_text(encoding="utf-8")
(WALK,) = re.findall(r"^## From zero to a team of ten\n(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(bash|csv)\n(.*?)^```", re.MULTILINE | re.DOTALL)


async def test_new_admin_gets_from_zero_to_a_team_of_ten(shell: Shell) -> None:
    outputs = {}
    for language, text in BLOCK.findall(WALK):
        if language == "csv":
            (shell.folder / "people.csv").write_text(text, encoding="utf-8")
            continue
        for line in text.splitlines():
            done = await shell.run(*shlex.split(line)[1:])
            assert (done.exit_code, done.errors) == (0, ""), line
            outputs[line] = done.output
    assert len(outputs) == 15
    with (shell.folder / "people.keys.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    listed = outputs["gateway keys list --project Research"]
    assert all(row["email"] in listed and row["key"] not in listed for row in rows)
    amounts = [limit["amount"] for limit in await shell.ask_list("limits", "list")]
    assert sorted(map(str, amounts)) == sorted(["200", "600", "50", *["25"] * 8, "5", "10", "3"])
    assert outputs["gateway report --html"].startswith("<!doctype html>")
    assert "in order" in outputs["gateway audit"]
