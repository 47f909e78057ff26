"""`gateway doctor`: a look at everything that a start needs, one line each. Changes nothing and calls no provider."""

import argparse
import asyncio
import http.client
import os
import re
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from importlib import resources

import msgspec

from gateway.cli.arguments import add_json
from gateway.cli.failures import CommandError, Exit, with_cause
from gateway.cli.office import require_schema
from gateway.cli.printing import cell, print_json
from gateway.core.errors import GatewayError
from gateway.core.prices import PriceTable
from gateway.settings import Settings, SettingsError, load_settings
from gateway.sources import SystemClock
from gateway.store import admin_api_keys
from gateway.store.engine import Database, is_sqlite, sqlite_path
from gateway.tokens.encodings import VOCABULARIES
from gateway.tokens.vocabulary import VocabularyError, read_ranks

METRICS_SECONDS = 10.0
LOOPBACKS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a gateway that listens everywhere is asked
_FACTOR = re.compile(r'^gateway_estimate_factor\{model="([^"]+)"\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Finding:
    """One look: `detail` says what was found or what to do."""

    subject: str
    ok: bool
    detail: str


class PriceSource(msgspec.Struct):
    """The part of the price table that says where it comes from."""

    source: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = "Exit code 1 when something is not ok. No provider is called."
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    findings = asyncio.run(_examine())
    if arguments.json:
        print_json(findings)
    else:
        for finding in findings:
            print(f"{'ok    ' if finding.ok else 'NOT OK'}  {finding.subject}: {cell(finding.detail)}")
    return Exit.DONE if all(finding.ok for finding in findings) else Exit.FAILED


async def _examine() -> list[Finding]:
    try:
        settings = load_settings(os.environ)
    except SettingsError as error:
        return [Finding("settings", False, str(error)), _vocabularies()]
    checks: tuple[tuple[str, Callable[[Settings], Awaitable[str]]], ...] = (
        ("settings", _settings),
        ("data folder", _data_folder),
        ("database", _database),
        ("owner key", _owner_key),
        ("upstreams", _upstreams),
        ("prices", _prices),
        ("estimates", _estimates),
    )
    return [*[await _found(subject, check, settings) for subject, check in checks], _vocabularies()]


async def _found(subject: str, check: Callable[[Settings], Awaitable[str]], settings: Settings) -> Finding:
    try:
        return Finding(subject, True, await check(settings))
    except GatewayError as error:
        return Finding(subject, False, with_cause(error))
    except (CommandError, OSError, ValueError) as error:
        return Finding(subject, False, str(error))


async def _settings(settings: Settings) -> str:
    file = f"{settings.config_file} and the environment" if settings.config_file else "from the environment"
    return f"{file}; it will listen on {settings.host}:{settings.port}"


async def _data_folder(settings: Settings) -> str:
    folder = settings.data_folder
    parent = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(parent, os.W_OK | os.X_OK):
        raise CommandError(f"{parent} cannot be written to; set GATEWAY_DATA_DIR")
    return f"{folder.absolute()}" + ("" if folder.exists() else " (to be made)")


async def _database(settings: Settings) -> str:
    schema = await require_schema(settings)
    url = settings.database_url
    kind = f"SQLite in {sqlite_path(url)}" if is_sqlite(url) else "PostgreSQL"
    return f"{kind}, schema {schema}"


async def _owner_key(settings: Settings) -> str:
    await require_schema(settings)
    database, now = Database(settings.database_url), int(SystemClock().now())
    try:
        if await database.read(lambda connection: admin_api_keys.has_owner(connection, now)):
            return "there is one"
    finally:
        await database.close()
    if settings.admin_key:
        return "GATEWAY_ADMIN_KEY becomes the first one"
    raise CommandError("there is none: gateway admin-keys create")


async def _upstreams(settings: Settings) -> str:
    upstreams = settings.catalog.upstreams
    if not upstreams:
        raise CommandError("none is configured: set OPENAI_API_KEY (or another provider's) or GATEWAY_CONFIG")
    return "; ".join(f"{one.name} ({one.provider}, {one.base_url}, {' '.join(one.models)})" for one in upstreams)


async def _prices(settings: Settings) -> str:
    data = (resources.files("gateway") / "data" / "models.json").read_bytes()
    PriceTable.from_json(data, settings.catalog.prices)
    overridden = f", {len(settings.catalog.prices)} overridden" if settings.catalog.prices else ""
    return f"{msgspec.json.decode(data, type=PriceSource).source}{overridden}"


async def _estimates(settings: Settings) -> str:
    factors = await asyncio.to_thread(_learned, settings.host, settings.port)
    if factors is None:
        return "no gateway runs here; one that does learns how far its estimates are from what providers report"
    return ", ".join(factors) or "the running gateway has nothing to correct yet"


def _learned(host: str, port: int) -> list[str] | None:
    """Return `model x1.04` of what a gateway on this machine has learned, None where none shows its metrics."""
    connection = http.client.HTTPConnection(LOOPBACKS.get(host, host), port, timeout=METRICS_SECONDS)
    try:
        with closing(connection):
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace") if answer.status == 200 else ""
    except (OSError, http.client.HTTPException):
        return None
    return [f"{model} x{float(factor):.2f}" for model, factor in _FACTOR.findall(text)] if text else None


def _vocabularies() -> Finding:
    try:
        for vocabulary in VOCABULARIES.values():
            read_ranks(vocabulary)
    except VocabularyError as error:
        return Finding("vocabularies", False, f"{error}; install the gateway again")
    return Finding("vocabularies", True, f"{', '.join(VOCABULARIES)} are intact")
