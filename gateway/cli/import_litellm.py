"""`gateway import-litellm`: bring over what LiteLLM's proxy has, so that its clients change nothing but the address."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.cli.arguments import add_json
from gateway.cli.failures import CommandError, Exit, with_cause
from gateway.cli.keys_import import new_file
from gateway.cli.litellm_config import ENVIRONMENT, Converted, convert, render
from gateway.cli.litellm_keys import Brought, Mover
from gateway.cli.office import DatabaseOffice, run_on_database
from gateway.cli.printing import print_json
from gateway.core.errors import GatewayError
from gateway.core.ids import PREFIXES
from gateway.sources import random_base62
from gateway.store import litellm
from gateway.store.engine import Connection, Database

ID_CHARACTERS = 20


@dataclass(frozen=True, slots=True)
class Report:
    """What --json prints. `brought` is null without a database."""

    config_file: str
    upstreams: int
    prices: int
    brought: Brought | None
    notes: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("config", type=Path, metavar="CONFIG_YAML", help="LiteLLM's config.yaml; it is only read")
    parser.add_argument(
        "--database-url", metavar="URL", help="LiteLLM's database; default: what its file names, if any"
    )
    parser.add_argument("--output", type=Path, default=Path("gateway.toml"), metavar="FILE", help="the new TOML file")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    config = _load(arguments.config)
    converted = convert(config, os.environ)
    url = arguments.database_url or _database_url(config)
    with new_file(arguments.output) as file:
        try:
            brought = None if url is None else run_on_database(lambda office: _bring(office, litellm.driver_url(url)))
        except BaseException:
            arguments.output.unlink()
            raise
        file.write(render(converted))
    _print(arguments, converted, brought)
    return Exit.DONE


def _load(path: Path) -> Mapping[str, Any]:
    import yaml  # type: ignore[import-untyped]  # noqa: PLC0415 - no other command reads YAML

    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CommandError(f"{path} cannot be read: {error}", Exit.WRONG_USAGE) from error
    if not isinstance(config, dict):
        raise CommandError(f"{path} is not a config.yaml of LiteLLM.", Exit.WRONG_USAGE)
    return config


def _database_url(config: Mapping[str, Any]) -> str | None:
    general = config.get("general_settings")
    told = general.get("database_url") if isinstance(general, dict) else None
    if isinstance(told, str) and told.startswith(ENVIRONMENT):
        return os.environ.get(told.removeprefix(ENVIRONMENT))
    return told if isinstance(told, str) else None


async def _bring(office: DatabaseOffice, url: str) -> Brought:
    theirs = Database(url)
    try:
        books = await theirs.read(litellm.read)
    except GatewayError as error:
        raise CommandError(f"LiteLLM's database cannot be read: {with_cause(error)}") from error
    finally:
        await theirs.close()

    def work(connection: Connection) -> Brought:
        return Mover(connection, books, _new_id, office.now).bring()

    return await office.services.database.change(work)


def _new_id(noun: str) -> str:
    return PREFIXES.get(noun, "") + random_base62(ID_CHARACTERS)


def _print(arguments: argparse.Namespace, converted: Converted, brought: Brought | None) -> None:
    notes = [*converted.notes, *(brought.notes if brought else ())]
    if arguments.json:
        endpoints, prices = len(converted.endpoints), len(converted.prices)
        print_json(Report(str(arguments.output), endpoints, prices, brought, notes))
        return
    print(f"{arguments.output}: {len(converted.endpoints)} upstreams, {len(converted.prices)} prices.")
    if brought is None:
        print("No database was named, so no keys were brought over: see --database-url.")
    else:
        print(
            f"Brought over: {brought.keys} keys, {brought.projects} projects, {brought.users} users, "
            f"{brought.service_accounts} service accounts, {brought.limits} limits."
        )
    for note in notes:
        print(f"Note: {note}")
    print(f"Next: GATEWAY_CONFIG={arguments.output} gateway doctor")
