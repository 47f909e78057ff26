"""The `gateway` command: decides which command group a command line means."""

import argparse


def main() -> int:
    """Run the command of `sys.argv`. Returns the process's exit code."""
    argparse.ArgumentParser(prog="gateway", description="An LLM gateway for a team.").parse_args()
    return 0
