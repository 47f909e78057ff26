"""`gateway audit`: whether the ledger's books balance. Changes nothing; a server may run meanwhile."""

import argparse
from dataclasses import dataclass

from gateway.cli.arguments import add_json
from gateway.cli.failures import Exit
from gateway.cli.office import run
from gateway.cli.printing import cell, print_json
from gateway.store import audit
from gateway.store.audit import Check

MOST_SHOWN = 20
"""Faults of one check that are printed for people; --json has all."""


@dataclass(frozen=True, slots=True)
class Report:
    """What --json prints."""

    ok: bool
    checks: list[Check]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = "Exit code 1 when something is off."
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    checks = run(lambda office: office.read(audit.checks))
    balanced = not any(check.faults for check in checks)
    if arguments.json:
        print_json(Report(balanced, checks))
    else:
        for check in checks:
            _print(check)
        print("The ledger is in order." if balanced else "The ledger is NOT in order.")
    return Exit.DONE if balanced else Exit.FAILED


def _print(check: Check) -> None:
    print(f"{'ok    ' if not check.faults else 'NOT OK'}  {check.promise} ({check.examined} examined)")
    for fault in check.faults[:MOST_SHOWN]:
        print(f"          {cell(fault)}")
    if len(check.faults) > MOST_SHOWN:
        print(f"          and {len(check.faults) - MOST_SHOWN} more (--json has all)")
