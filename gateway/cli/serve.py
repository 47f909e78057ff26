"""`gateway serve`: for operation. What is missing is an error that says what to do; nothing is made up."""

import argparse
import asyncio
import logging
import os

from gateway.cli.failures import CommandError, Exit
from gateway.cli.opening import ensure_owner, prepare_schema, run_server, server_settings, sole_server, url_of
from gateway.logs import configure
from gateway.settings import Settings, load_settings

FACTORY = "gateway.app:from_environment"
"""As a string: each worker makes an application of its own, and a start that is refused imports none."""
NO_UPSTREAM = (
    "No provider is configured. Set OPENAI_API_KEY, ANTHROPIC_API_KEY or GEMINI_API_KEY, or name a TOML file with "
    "[[upstreams]] in GATEWAY_CONFIG."
)
NO_OWNER = (
    "Nobody can administer this gateway: its database has no owner key. Make one (gateway admin-keys create), or set "
    "GATEWAY_ADMIN_KEY to 32 or more characters, which become the first owner key."
)

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: everything is a setting."""
    parser.epilog = (
        "Logs are JSON lines on standard output. SIGTERM drains and ends, SIGHUP reads GATEWAY_CONFIG again."
    )
    parser.set_defaults(run=_run)


def _run(_arguments: argparse.Namespace) -> int:
    settings = load_settings(os.environ)
    require_upstream(settings, "To try the gateway without a provider: gateway quickstart")
    with sole_server(settings):
        asyncio.run(_prepare(settings))
        if settings.workers > 1:
            # The workers configure their own; here it is for the supervisor's few words.
            configure(settings.log_level, settings.secrets)
        return run_server(FACTORY, server_settings(settings), lambda host, port: _ready(settings, host, port))


def require_upstream(settings: Settings, way_out: str) -> None:
    """Raises CommandError without an upstream. It ends with `way_out`, which tells what else can be done."""
    if not settings.catalog.upstreams:
        raise CommandError(f"{NO_UPSTREAM} {way_out}", Exit.CANNOT_START)


async def _prepare(settings: Settings) -> None:
    await prepare_schema(settings)
    if not await ensure_owner(settings):
        raise CommandError(NO_OWNER, Exit.CANNOT_START)


def _ready(settings: Settings, host: str, port: int) -> None:
    names = ", ".join(upstream.name for upstream in settings.catalog.upstreams)
    log.info("ready on %s, upstreams: %s", url_of(settings, host, port), names)
