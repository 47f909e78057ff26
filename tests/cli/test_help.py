"""`--help` on every level: a person finds the next word to type, and each command says what it does."""

import argparse

import pytest

from gateway.cli import COMMANDS, Parser, parser_for


@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_help_every_command_says_what_it_does(name: str) -> None:
    for parser in parsers(parser_for([name]), name):
        assert parser.description, parser.prog
        for action in parser._actions:
            assert action.help or action.metavar or action.choices, f"{parser.prog}: {action.dest}"


@pytest.mark.parametrize("name", ["projects", "users", "keys", "limits", "admin-keys"])
def test_data_command_prints_json_and_csv_and_asks_a_gateway_too(name: str) -> None:
    _, *leaves = parsers(parser_for([name]), name)
    assert leaves
    for parser in leaves:
        if parser.prog.endswith(" import"):
            continue  # what it makes goes into a file
        for option in ("--json", "--csv", "--url"):
            assert option in parser.format_help(), parser.prog


def test_help_names_every_command() -> None:
    words = parser_for([]).format_help()
    assert [command.name for command in COMMANDS if command.summary.split(":")[0] not in words] == []


def parsers(root: Parser, name: str) -> list[argparse.ArgumentParser]:
    """Return the parser of a command and those of its commands."""
    (chosen,) = [child for child in children(root) if child.prog.endswith(f" {name}")]
    return [chosen, *children(chosen)]


def children(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    return [
        child
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for child in action.choices.values()
    ]
