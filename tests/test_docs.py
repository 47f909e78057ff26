"""What a reader is told is what there is: settings, keys of the TOML file, error codes, metrics, commands and URLs.

Every name is taken from the code that has it, so that a new one fails here until somebody has written about it.
"""

import argparse
import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway import cli, routes
from gateway.admin.table import ROUTES as ADMIN_ROUTES
from gateway.cli.quickstart import PROVIDER_VARIABLES
from gateway.core.limits import Interval, Metric, Scope
from gateway.core.prices import _OVERRIDE_FEES, _OVERRIDE_RATES, override_price
from gateway.me.routes import ANSWERS as OWN_ROUTES
from gateway.metrics import Metrics
from gateway.settings import IGNORED, VARIABLES, ConfigFile
from gateway.upstream_table import UpstreamTable

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))
TEXT = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
ALL_TEXT = "\n".join(TEXT.values())

LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
COMMAND = re.compile(r"^(?:\.venv/bin/)?gateway +(.*)$", re.MULTILINE)


def is_told(word: str, text: str = ALL_TEXT) -> bool:
    """Whether a name stands in the text as a word of its own, not as a part of a longer one."""
    return re.search(rf"(?<![\w/.-]){re.escape(word)}(?![\w/{{-])", text) is not None


def untold(words: set[str], text: str = ALL_TEXT) -> list[str]:
    return sorted(word for word in words if not is_told(word, text))


# --- settings ---


def test_readme_settings_table_is_the_settings() -> None:
    rows = [line for line in TEXT["README.md"].splitlines() if line.startswith("| `GATEWAY_")]
    assert rows == [f"| `{one.name}` | {one.default} | {one.meaning} |" for one in VARIABLES]


def test_variable_that_is_told_exists() -> None:
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    told = set(re.findall(r"\bGATEWAY_[A-Z_]*[A-Z]\b", ALL_TEXT))
    known = {*(one.name for one in VARIABLES), *IGNORED, *re.findall(r"\$\{(GATEWAY_\w+)", compose)}
    assert sorted(told - known) == []


def test_provider_variable_is_told() -> None:
    assert untold({*PROVIDER_VARIABLES, *(name.replace("API_KEY", "BASE_URL") for name in PROVIDER_VARIABLES)}) == []


def test_toml_key_is_told() -> None:
    keys = {*ConfigFile.__struct_fields__, *UpstreamTable.__struct_fields__, *_OVERRIDE_RATES, *_OVERRIDE_FEES}
    assert untold(keys, TEXT["docs/configuration.md"]) == []


def blocks(language: str) -> list[str]:
    return [block for text in TEXT.values() for its_language, block in FENCE.findall(text) if its_language == language]


@pytest.mark.parametrize("block", blocks("toml"))
def test_pasted_toml_is_understood(block: str) -> None:
    config = msgspec.convert(tomllib.loads(block), ConfigFile)
    for model, words in config.prices.items():
        override_price(model, words)


@pytest.mark.parametrize("block", blocks("python"))
def test_pasted_python_is_understood(block: str) -> None:
    ast.parse(block)


def test_word_of_a_limit_is_told() -> None:
    assert untold({*Metric, *Interval, *Scope}, TEXT["docs/admin.md"]) == []


# --- error codes ---


def error_codes() -> set[str]:
    """Every text that the source gives to a `code`: as an argument, as a default, or by assignment."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "gateway").rglob("*.py"))
    return {code for tree in trees for node in ast.walk(tree) for code in codes_in(node)}


def codes_in(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.keyword(arg="code", value=value):
            yield from texts(value)
        case ast.arguments():
            positional = node.posonlyargs + node.args
            defaulted = positional[len(positional) - len(node.defaults) :] if node.defaults else []
            for argument, default in (
                *zip(defaulted, node.defaults, strict=True),
                *zip(node.kwonlyargs, node.kw_defaults, strict=True),
            ):
                if argument.arg == "code" and default is not None:
                    yield from texts(default)
        case ast.Assign(targets=[target], value=value):
            yield from assigned_codes(target, value)


def assigned_codes(target: ast.expr, value: ast.expr) -> Iterator[str]:
    """Look into `code = ...` and `code, other = ...`, whose right side may choose between several."""
    match target, value:
        case _, ast.IfExp(body=body, orelse=orelse):
            yield from assigned_codes(target, body)
            yield from assigned_codes(target, orelse)
        case ast.Name(id="code"), _:
            yield from texts(value)
        case ast.Tuple(elts=targets), ast.Tuple(elts=values):
            for one, its_value in zip(targets, values, strict=False):
                yield from assigned_codes(one, its_value)


def texts(value: ast.expr) -> Iterator[str]:
    match value:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from texts(body)
            yield from texts(orelse)


def test_error_codes_are_found_in_every_way_of_writing() -> None:
    assert error_codes() >= {"invalid_api_key", "rate_limit_exceeded", "budget_held", "budget_exhausted", "no_upstream"}


def test_error_code_is_told_and_no_other_is() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", TEXT["docs/errors.md"], re.MULTILINE)
    assert sorted(rows) == sorted(error_codes())


# --- metrics ---


def test_metric_is_told_and_no_other_is() -> None:
    shown = re.findall(r"^# TYPE (gateway_\w+)", Metrics().render().decode(), re.MULTILINE)
    rows = re.findall(r"^\| `(gateway_\w+)` \|", TEXT["docs/operations.md"], re.MULTILINE)
    assert sorted(rows) == sorted(shown)


# --- commands ---


def command_lines() -> set[str]:
    """Every command with its own commands: `gateway serve`, `gateway keys create` ..."""
    lines = set()
    for command in cli.COMMANDS:
        parser = children(cli.parser_for([command.name]))[command.name]
        below = children(parser)
        lines |= {f"gateway {command.name} {child}" for child in below} or {f"gateway {command.name}"}
    return lines


def children(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def test_command_is_told() -> None:
    assert untold(command_lines()) == []


def pasted_commands() -> list[tuple[str, str]]:
    """(page, command line) of every gateway command that a reader would paste; lines that go on are joined."""
    return [
        (name, arguments)
        for name, text in TEXT.items()
        for language, block in FENCE.findall(text)
        if language == "bash"
        for arguments in COMMAND.findall(block.replace("\\\n", " "))
    ]


def test_pages_have_commands_to_paste() -> None:
    assert len(pasted_commands()) > 20


@pytest.mark.parametrize(("page", "arguments"), pasted_commands())
def test_pasted_command_is_understood(page: str, arguments: str) -> None:
    words = shlex.split(arguments, comments=True)
    assert callable(cli.parser_for(words).parse_args(words).run), page


# --- URLs ---


def data_plane_urls() -> set[str]:
    """`METHOD path` of what routes.py serves itself, without the prefix that stands for the same."""
    calls = {(call.method, path) for path, call in [*routes.CALLS.items(), *routes.ANTHROPIC_CALLS.items()]}
    stored = {(call.method, path) for path, call in routes.STORED}
    calls |= {(call.method, f"/{{version}}/models/{{model}}:{verb}") for (_, verb), call in routes.GEMINI_CALLS.items()}
    # What has no table of its own is written out in routes.py.
    tree = ast.parse((ROOT / "gateway" / "routes.py").read_text(encoding="utf-8"))
    literals = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    paths = {text for text in literals if re.fullmatch(r"(/[\w{}:-]+)+", text)}
    paths -= {*routes.OPENAI_PREFIXES, *routes.ANTHROPIC_PREFIXES, *routes.PINNED}
    tabled = {path for _, path in calls | stored}
    return {f"{method} {path}" for method, path in calls | stored | {("GET", path) for path in paths - tabled}}


def urls() -> set[str]:
    administration = {f"{route.method} {route.path}" for route in ADMIN_ROUTES}
    own = {f"GET {path}" for path in OWN_ROUTES}
    return {re.sub(r":\w+\}", "}", url) for url in data_plane_urls() | own | administration}


def test_url_is_told_and_no_other_is() -> None:
    rows = re.findall(r"^\| `((?:GET|POST|DELETE) [^`]+)` \|", TEXT["docs/api.md"], re.MULTILINE)
    assert sorted(rows) == sorted(urls())


# --- links ---


def slugs(text: str) -> set[str]:
    """The anchors that a page's headings get."""
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(FENCE.sub("", text)))
    return {heading.strip().replace(" ", "-") for heading in plain}


def test_relative_link_leads_somewhere() -> None:
    dead = []
    for name, text in TEXT.items():
        for link in LINK.findall(FENCE.sub("", text)):
            path, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", link):
                continue
            page = (ROOT / name).parent / path if path else ROOT / name
            if not page.exists() or (anchor and anchor not in slugs(page.read_text(encoding="utf-8"))):
                dead.append(f"{name}: {link}")
    assert dead == []


def test_page_of_docs_is_linked_from_the_readme() -> None:
    linked = {link.partition("#")[0] for link in LINK.findall(TEXT["README.md"])}
    assert sorted(set(TEXT) - linked - {"README.md"}) == []


# --- the proof ---


def test_promise_names_its_tests_and_they_run_on_both_databases() -> None:
    proof = TEXT["docs/promise.md"].partition("## The proof")[2]
    rows = re.findall(r"^\| (?!what)[^|]+ \| (`tests/.*`) \|$", proof, re.MULTILINE)
    assert len(rows) == 10
    for row in rows:
        owners = [found.split("::") for found in re.findall(r"`([^`]+)`", row)]
        assert any(fixtures_of(ROOT / path, name) & ON_BOTH for path, name in owners), row


ON_BOTH = {"database_url", "any_gateway", "site"}
"""Fixtures whose tests run on SQLite and on PostgreSQL."""


def fixtures_of(path: Path, name: str) -> set[str]:
    """Return what a test takes. Raises StopIteration if there is none of this name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = next(node for node in tree.body if isinstance(node, functions) and node.name == name)
    return {argument.arg for argument in found.args.args}
