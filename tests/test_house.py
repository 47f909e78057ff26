"""Keeps the house rules: who may import whom, where each library lives, how long things may grow.

The layers and the ban on cycles stand in pyproject.toml (`lint-imports` runs them alone). What import-linter can't say
over a growing tree (every library has one home, phases are strangers, the pure shelves stay pure) stands here, on the
same import graph. A rule that hinders is changed here, with its reason beside it.
"""

import ast
import functools
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import grimp
import pytest
from importlinter import configuration
from importlinter.application import use_cases

configuration.configure()
ROOT = Path(__file__).parent.parent

# --- the rules, as data ---

# Library -> the only children of `gateway` that may import it. A library that is not here may not be imported.
HOMES: Mapping[str, frozenset[str]] = {
    "aiohttp": frozenset({"upstream", "couriers"}),  # what goes to providers, and what goes to who asked to be told
    "aiohappyeyeballs": frozenset({"upstream"}),  # which of a host's addresses answers first
    "yarl": frozenset({"upstream"}),
    "sqlalchemy": frozenset({"store"}),
    "alembic": frozenset({"store"}),
    "asyncpg": frozenset({"ledger", "store"}),  # the ledger's few hot statements run on the driver itself
    "aiosqlite": frozenset({"ledger", "store"}),
    "tiktoken": frozenset({"tokens"}),
    "prometheus_client": frozenset({"metrics"}),
    "uvicorn": frozenset({"cycle", "server", "protocol"}),
    "uvloop": frozenset({"server"}),
    "httptools": frozenset({"server", "protocol", "upstream"}),
    "h11": frozenset({"server"}),
    "starlette": frozenset({"app", "routes", "server", "middleware", "admin", "me", "web", "proxy"}),
    "rich": frozenset({"cli"}),
    "yaml": frozenset({"cli"}),
    "genai_prices": frozenset({"cli"}),  # a developer's command makes the price table from it; no run needs it
    "msgspec": frozenset({"*"}),  # the one library that the pure shelves may use
}

PURE = ("core", "dialects", "translate")
# What has a clock, chance, a thread, a file, a socket or a process behind it.
# urllib is not among them: urllib.parse only cuts strings, and the graph can't tell it from urllib.request.
IMPURE = frozenset(
    {"asyncio", "concurrent", "ctypes", "fcntl", "getpass", "glob", "http", "importlib", "io", "logging", "mmap",
     "multiprocessing", "os", "pathlib", "platform", "queue", "random", "resource", "sched", "secrets", "select",
     "selectors", "shutil", "signal", "socket", "socketserver", "sqlite3", "ssl", "subprocess", "sys", "tempfile",
     "threading", "time", "uuid", "warnings"}
)  # fmt: skip

SETTINGS_READERS = frozenset({"app", "cli"})

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
# "path" or "path:function" -> why a reader accepts its length.
LONG_FOR_A_REASON: Mapping[str, str] = {}

# The only places that may catch everything and go on -> why.
BLANKET_CATCHERS: Mapping[str, str] = {
    "gateway/app.py": "a job behind the calls that failed once is due again, else alerts would end for good",
    "gateway/proxy/endpoint.py": "the data plane's last resort: a fault of ours becomes an answer in the dialect",
    "gateway/proxy/settle.py": "a settlement is tried again whatever went wrong, then spooled",
    "gateway/ledger/writer.py": "one value that the database can't take must not fail its neighbours' batch",
    "gateway/upstream/body.py": "what a taker of pieces raises is its own, not the connection's",
    "gateway/ledger/disk.py": "what goes wrong in its thread is raised where the work was asked for",
    "gateway/ledger/lease.py": "a process whose heartbeat ends has its living calls swept by the others",
    "gateway/proxy/follow.py": "jobs that nobody follows any more would hold their limits for ever",
    "gateway/logs.py": "logging's own contract for emit: a bad record must not end the call that logs it",
    "gateway/admin/boundary.py": "administration's last resort: a fault of ours becomes an answer",
}

NOT_NAMES = frozenset({"util", "utils", "helper", "helpers", "handler", "handlers", "manager", "managers", "common"})
# Ways in which a test passes without testing, or depends on luck.
NOT_IN_TESTS = frozenset(
    {"monkeypatch", "pytest.skip", "pytest.importorskip", "pytest.xfail", "pytest.mark.skip", "pytest.mark.skipif",
     "pytest.mark.xfail", "unittest.mock", "time.sleep"}
)  # fmt: skip


# --- imports ---


@functools.cache
def import_graph() -> grimp.ImportGraph:
    return grimp.build_graph("gateway", include_external_packages=True, cache_dir=None)


def shelf_of(module: str) -> str:
    """The child of `gateway` that a module belongs to; '' for `gateway` itself."""
    return module.split(".")[1] if "." in module else ""


def imports_from_outside() -> Iterator[tuple[str, str]]:
    """Yield (module, top-level package it imports), the standard library included."""
    graph = import_graph()
    for module in sorted(graph.modules):
        if module.split(".")[0] == "gateway":
            for imported in sorted(graph.find_modules_directly_imported_by(module)):
                if imported.split(".")[0] != "gateway":
                    yield module, imported.split(".")[0]


@pytest.mark.parametrize("contract", ["layers", "cycles"])
def test_import_contract_is_kept(contract: str, capsys: pytest.CaptureFixture[str]) -> None:
    # Not by its command line, which switches off every logger that there is, also for the tests that come after.
    kept = use_cases.lint_imports(
        str(ROOT / "pyproject.toml"), limit_to_contracts=(contract,), cache_dir=None, no_logo=True
    )
    assert kept, capsys.readouterr().out


def test_library_is_imported_only_at_home() -> None:
    strays = [
        f"{module} imports {library}"
        for module, library in imports_from_outside()
        if library not in sys.stdlib_module_names and not {"*", shelf_of(module)} & HOMES.get(library, frozenset())
    ]
    assert strays == []


def test_pure_shelf_imports_nothing_impure() -> None:
    strays = [
        f"{module} imports {library}"
        for module, library in imports_from_outside()
        if shelf_of(module) in PURE
        and (library in IMPURE or (library not in sys.stdlib_module_names and library != "msgspec"))
    ]
    assert strays == []


def test_settings_are_read_by_app_and_cli_only() -> None:
    graph = import_graph()
    readers = (
        graph.find_modules_that_directly_import("gateway.settings") if "gateway.settings" in graph.modules else set()
    )
    assert {reader for reader in readers if shelf_of(reader) not in SETTINGS_READERS} == set()


def test_proxy_phase_imports_no_other_phase() -> None:
    graph = import_graph()
    children = graph.find_children("gateway.proxy") if "gateway.proxy" in graph.modules else set()
    # The endpoint calls the phases, the relay those that run while an answer passes; the exchange is what all of them
    # read, and it holds the meter of its stream; the till is where a record is made of it. What the provider goes on
    # with is followed after its answer, with the same phases.
    names = ("endpoint", "relay", "follow", "till", "exchange", "meter")
    endpoint, relay, follow, till, exchange, meter = (f"gateway.proxy.{name}" for name in names)
    phases = children - {endpoint, relay, follow, till, exchange, meter}
    layers = [{endpoint}, {relay, follow}, phases, {till}, {exchange}, {meter}]
    broken = graph.find_illegal_dependencies_for_layers(layers=layers) if children else set()
    assert sorted(f"{dependency.importer} imports {dependency.imported}" for dependency in broken) == []


# --- files and functions ---


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def place(path: Path, line: int | None = None) -> str:
    return f"{path.relative_to(ROOT)}" + (f":{line}" if line else "")


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_file_is_not_longer_than_a_reader_bears() -> None:
    lengths = {place(path): len(path.read_text(encoding="utf-8").splitlines()) for path in sources("gateway", "tests")}
    assert {
        name: lines for name, lines in lengths.items() if lines > MAX_FILE_LINES and name not in LONG_FOR_A_REASON
    } == {}


def test_function_is_not_longer_than_a_screen() -> None:
    lengths = {
        f"{place(path)}:{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in sources("gateway", "tests", "bench")
        for node in functions(path)
    }
    assert {
        name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES and name not in LONG_FOR_A_REASON
    } == {}


def test_file_opens_with_what_it_decides() -> None:
    silent = [
        place(path)
        for path in sources("gateway", "tests", "migrations", "bench", ".ci")
        if parsed(path).body and ast.get_docstring(parsed(path)) is None
    ]
    assert silent == []


def test_module_keeps_no_global_state() -> None:
    found = [
        place(path, node.lineno)
        for path in sources("gateway", "tests", "migrations", "bench")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Global)
    ]
    assert found == []


def test_nothing_is_caught_blindly_but_where_it_ends() -> None:
    found = [
        place(path, node.lineno)
        for path in sources("gateway")
        if place(path) not in BLANKET_CATCHERS
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ExceptHandler | ast.Call) and catches_everything(node)
    ]
    assert found == []


def catches_everything(node: ast.ExceptHandler | ast.Call) -> bool:
    """Whether the node swallows any exception. A handler that raises again at its end only tidies up on the way."""
    if isinstance(node, ast.ExceptHandler):
        last = node.body[-1]
        raises_again = isinstance(last, ast.Raise) and last.exc is None
        return not raises_again and (node.type is None or names_everything(node.type))
    return (
        isinstance(node, ast.Call) and dotted(node.func).endswith("suppress") and any(map(names_everything, node.args))
    )


def names_everything(caught: ast.expr) -> bool:
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(dotted(name) in {"Exception", "BaseException"} for name in names)


def dotted(node: ast.AST) -> str:
    """`a.b.c` for an attribute chain of names, else ''."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def test_file_is_named_for_what_it_holds() -> None:
    vague = [place(path) for path in sources("gateway") if NOT_NAMES & set(path.stem.lower().split("_"))]
    assert vague == []


def test_tests_neither_skip_nor_patch_nor_sleep() -> None:
    found = [
        f"{place(path, getattr(node, 'lineno', None))} {word}"
        for path in sources("tests")
        for node in ast.walk(parsed(path))
        for word in words(node)
        if word in NOT_IN_TESTS
    ]
    assert found == []


def words(node: ast.AST) -> Iterator[str]:
    """The dotted names that a node uses, imports or takes as a parameter."""
    match node:
        case ast.Attribute():
            yield dotted(node)
        case ast.arg():
            yield node.arg
        case ast.Import():
            yield from (alias.name for alias in node.names)
        case ast.ImportFrom(module=str(module)):
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        case _:
            return
