"""The `gateway` command: which command a command line means, and what its failures are told like.

Only the chosen command's module is imported, because `serve` must be ready in under a second. Each module has
`add_arguments(parser)`, which sets `run` to a function of the parsed arguments that returns the exit code.

Exit codes: 0 done, 1 what was asked for failed or is off, 2 wrong usage, 3 cannot start.
"""

import argparse
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from gateway.cli.failures import CommandError, Exit, with_cause
from gateway.core.errors import GatewayError
from gateway.settings import SettingsError


@dataclass(frozen=True, slots=True)
class Command:
    """One word after `gateway`, and the module of this package that does it."""

    name: str
    module: str
    summary: str


COMMANDS = (
    Command("quickstart", "quickstart", "try it out: a database, a project, a key, a curl line; then serve"),
    Command("serve", "serve", "serve, for operation: strict about what is missing"),
    Command("migrate", "migrate", "bring the database's schema up to date"),
    Command("doctor", "doctor", "check settings, database, upstreams and data files"),
    Command("projects", "projects", "teams: list, create, archive"),
    Command("users", "users", "people: list, create, disable, enable, erase"),
    Command("keys", "keys", "API keys: list, show, create, import, rotate, disable, enable, delete"),
    Command("limits", "limits", "limits and budgets: list, create, set, delete"),
    Command("rate-limits", "rate_limits", "a project's limits per model: list, set"),
    Command("model-permissions", "model_permissions", "models that a project permits: show, allow, deny, clear"),
    Command("spend-alerts", "spend_alerts", "who is told of a month's cost: list, create, delete"),
    Command("admin-keys", "admin_keys", "keys that administer: list, create, delete"),
    Command("audit-log", "audit_log", "who changed what, and who was not let in"),
    Command("usage", "usage", "what was used: a table and a bar per day"),
    Command("report", "report", "a month's statement: table, JSON, CSV or a page to print"),
    Command("audit", "audit", "check the ledger's invariants, repair what is derived"),
    Command("reconcile", "reconcile", "compare our usage and costs with the provider's export"),
    Command("backup", "backup", "the whole database in one file, while the gateway serves"),
    Command("restore", "restore", "put a backup back, into SQLite or PostgreSQL"),
    Command("copy", "copy", "carry the database into another one, such as PostgreSQL"),
    Command("import-litellm", "import_litellm", "bring over LiteLLM's models, upstreams and keys"),
    Command("prices", "prices", "the price table (for developers)"),
)
DESCRIPTION = """\
An LLM gateway for a team: a key per person and service, exact limits, every call on a durable ledger.

first steps:
  gateway quickstart                      try it, with nothing configured
  gateway migrate                         for operation: make the database,
  gateway admin-keys create --name ops    then the first owner key,
  gateway serve                           then serve"""
EPILOG = """\
Settings are environment variables (GATEWAY_PORT, GATEWAY_DATABASE_URL, OPENAI_API_KEY ...), see README.md.
Data commands work on the database directly, with or without a running server, which sees each change on its next call.

exit codes: 0 done, 1 failed or off, 2 wrong usage, 3 cannot start"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, by default the process's own. Returns the exit code."""
    # Imports make no garbage, and looking for it takes an eighth of a start. `opening.run_server` turns it on again;
    # all other commands are over before it would matter.
    gc.disable()
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser_for(words).parse_args(words)
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except CommandError as failure:
        return _told(str(failure), failure.exit_code)
    except SettingsError as error:
        return _told(str(error), Exit.CANNOT_START)
    except argparse.ArgumentTypeError as error:
        return _told(str(error), Exit.WRONG_USAGE)
    except GatewayError as error:
        message = with_cause(error) if error.status >= 500 else error.message
        return _told(message, Exit.WRONG_USAGE if error.status == 400 else Exit.FAILED)
    except KeyboardInterrupt:
        return _told("Interrupted.", 130)
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted; the interpreter must not fail on flushing the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _told(message: str, exit_code: int) -> int:
    print(f"gateway: {message}", file=sys.stderr)
    return exit_code


def parser_for(words: Sequence[str]) -> "Parser":
    """Return a parser that knows all commands by name and the arguments of the one that is meant."""
    parser = Parser(prog="gateway", description=DESCRIPTION, epilog=EPILOG, formatter_class=HelpFormatter)
    parser.add_argument("--version", action=Version, help="print the version, and end")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands", required=True)
    meant = next((word for word in words if not word.startswith("-")), None)
    for command in COMMANDS:
        sentence = f"{command.summary[:1].upper()}{command.summary[1:]}."
        child = commands.add_parser(command.name, help=command.summary, description=sentence)
        if command.name == meant:
            importlib.import_module(f"gateway.cli.{command.module}").add_arguments(child)
    return parser


class Version(argparse.Action):
    """Prints the installed version; a start does not look it up."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Leave with 0."""
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - 15 ms of a start

        try:
            number = version("gateway")
        except PackageNotFoundError:
            number = "(not installed)"
        print(f"gateway {number}")
        parser.exit(Exit.DONE)


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Leaves our line breaks alone, and room for our longest words beside what they mean."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, then where help is."""

    def error(self, message: str) -> NoReturn:
        """Leave with 2, wrong usage."""
        self.exit(Exit.WRONG_USAGE, f"gateway: {message}\nTry `{self.prog} --help`.\n")
