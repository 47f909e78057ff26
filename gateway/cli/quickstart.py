"""`gateway quickstart`: from nothing to a gateway that answers, with a curl line that works on every run.

What it makes is made once and found again: the database, a project, a user, a key whose text is kept in the data folder
(readable by its owner only), an admin key whose text is printed this once.
"""

import argparse
import asyncio
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from gateway.admin import admin_api_keys, api_keys, projects, users
from gateway.app import Gateway, load_prices
from gateway.cli.failures import CommandError, Exit
from gateway.cli.office import DatabaseOffice, office
from gateway.cli.opening import ensure_owner, prepare_schema, run_server, server_settings, sole_server, url_of
from gateway.cli.serve import require_upstream
from gateway.core.errors import NotFound
from gateway.core.keys import digest
from gateway.core.selection import Catalog
from gateway.core.upstreams import Provider, Upstream
from gateway.settings import Settings, load_catalog, load_settings
from gateway.store import principals
from gateway.store.principals import Principal

PROVIDER_VARIABLES = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GATEWAY_CONFIG")
"""With none of these set the demo upstream answers."""
PROJECT = "Quickstart"
EMAIL = "quickstart@example.com"
KEY_FILE = "quickstart-key"
MODELS: Mapping[Provider, str] = {
    "demo": "gpt-4o-mini",
    "openai": "gpt-4o-mini",
    "azure": "gpt-4o-mini",
    "anthropic": "claude-haiku-4-5",
    "gemini": "gemini-2.5-flash",
}
"""A cheap model of each provider, for the curl line."""
WILDCARDS = frozenset("*?[")
HELLO = [{"role": "user", "content": "Hello!"}]


@dataclass(frozen=True, slots=True)
class Client:
    """How clients of a dialect ask: the URL and fields of a call, and how their SDK for Python is made."""

    path: str
    fields: Mapping[str, object]
    sdk: str


CLIENTS: Mapping[str, Client] = {
    "openai": Client(
        "/v1/chat/completions",
        {"messages": HELLO},
        "Or with OpenAI's SDK for Python:\n\n    from openai import OpenAI\n"
        '    client = OpenAI(base_url="{url}/v1", api_key="{key}")',
    ),
    "anthropic": Client(
        "/v1/messages",
        {"max_tokens": 100, "messages": HELLO},
        "Or with Anthropic's SDK for Python:\n\n    from anthropic import Anthropic\n"
        '    client = Anthropic(base_url="{url}", api_key="{key}")',
    ),
}
"""By the dialect that the model's provider speaks itself; OpenAI's clients can ask for any model."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What is printed once the first request can be taken. `hint` says why the curl line cannot work, if so."""

    url: str
    key: str
    model: str
    client: Client
    upstreams: tuple[str, ...]
    folder: Path
    hint: str | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: everything is a setting."""
    parser.epilog = (
        f"With none of {', '.join(PROVIDER_VARIABLES)} set the built-in demo upstream answers and no provider "
        "is called. GATEWAY_PORT, GATEWAY_DATA_DIR and all other settings are honoured."
    )
    parser.set_defaults(run=_run)


def _run(_arguments: argparse.Namespace) -> int:
    settings, demo = _settings(os.environ)
    if not demo:
        require_upstream(settings, "To try the gateway without a provider, unset GATEWAY_CONFIG.")
    with sole_server(settings):
        key = asyncio.run(_furnish(settings))
        model, client, hint = _sensible_model(settings)

        def announce(host: str, port: int) -> None:
            names = tuple(upstream.name for upstream in settings.catalog.upstreams)
            url = url_of(settings, host, port)
            print(_text(Ready(url, key, model, client, names, settings.data_folder, hint)), flush=True)

        def make_gateway() -> Gateway:
            return Gateway(settings, demo=demo, reload=lambda: load_catalog(os.environ), owns_process=True)

        return run_server(make_gateway, server_settings(settings), announce)


def _settings(environment: Mapping[str, str]) -> tuple[Settings, bool]:
    """Return the settings and whether the demo upstream is used. What is not set is set for trying out."""
    settings = load_settings(environment)
    if "GATEWAY_LOG_LEVEL" not in environment:
        settings = replace(settings, log_level="warning")  # the friendly lines are not to drown in JSON
    if "GATEWAY_DRAIN_DELAY_SECONDS" not in environment:
        settings = replace(settings, drain_delay_seconds=0.0)  # no load balancer has to notice, and Ctrl-C is quick
    demo = not any(environment.get(name, "").strip() for name in PROVIDER_VARIABLES)
    return replace(settings, workers=1, migrates_at_start=True), demo


async def _furnish(settings: Settings) -> str:
    """See that schema, owner key, project, user and key are there. Returns the key."""
    await prepare_schema(settings)
    owned = await ensure_owner(settings)
    async with office(settings) as here:
        if not owned:
            await _make_admin_key(here)
        return await _key(here)


async def _make_admin_key(office: DatabaseOffice) -> None:
    """Make it and print it at once: only its digest is kept, so nobody would ever see it if the start failed later."""
    made = await office.ask(admin_api_keys.create_admin_key, body={"name": "quickstart"})
    print(f"\nThe admin key, shown only this once:\n\n    {made.value}", flush=True)


async def _key(office: DatabaseOffice) -> str:
    """Return the kept key if it still opens, else make one and keep it."""
    path = office.settings.data_folder / KEY_FILE
    try:
        kept = path.read_text().strip()
    except FileNotFoundError:
        kept = ""
    if kept and await _opens(office, kept):
        return kept
    path_of_project = {"project_id": await _project(office)}
    body = {"name": "quickstart", "user_id": await _user(office)}
    made = await office.ask(api_keys.create_api_key, path_of_project, body=body)
    _keep(path, made.value)
    return made.value


async def _opens(office: DatabaseOffice, text: str) -> bool:
    found = await office.read(lambda connection: principals.find(connection, digest(text)))
    return isinstance(found, Principal) and (found.expires_at is None or found.expires_at > office.now)


async def _project(office: DatabaseOffice) -> str:
    for project in await office.list_all(projects.list_projects):
        if project.name == PROJECT:
            return project.id
    return (await office.ask(projects.create_project, body={"name": PROJECT})).id


async def _user(office: DatabaseOffice) -> str:
    found = (await office.ask(users.list_users, query={"emails": [EMAIL]})).data
    if not found:
        return (await office.ask(users.create_user, body={"email": EMAIL, "name": PROJECT})).id
    if found[0].disabled:
        raise CommandError(
            f"The quickstart's user is disabled. Enable it: gateway users enable {EMAIL}", Exit.CANNOT_START
        )
    return found[0].id


def _keep(path: Path, text: str) -> None:
    """Write the file anew, for its owner's eyes only; whoever reads meanwhile sees the old one or the new one whole."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{text}\n")
    fresh.replace(path)


def _sensible_model(settings: Settings) -> tuple[str, Client, str | None]:
    """Return a model for the curl line, who asks for it, and what to know if that cannot work with these upstreams."""
    catalog = settings.catalog
    upstreams = catalog.upstreams or (Upstream("demo", "demo", "", ""),)
    known = Catalog(upstreams, catalog.aliases, load_prices(catalog.prices))
    named = [name for upstream in upstreams for name in upstream.models if not WILDCARDS & set(name)]
    candidates = [*catalog.aliases, *named, *(MODELS[upstream.provider] for upstream in upstreams)]
    refusal = None
    for model in candidates:
        try:
            speaks = known.find("openai", model).speaks
        except NotFound as error:
            refusal = refusal or error.message
        else:
            return model, CLIENTS.get(speaks, CLIENTS["openai"]), None
    return candidates[0], CLIENTS["openai"], refusal


def _text(ready: Ready) -> str:
    """Return the friendly lines."""
    body = msgspec.json.encode({"model": ready.model, **ready.client.fields}).decode()
    curl = (
        f"curl {ready.url}{ready.client.path} -H 'Authorization: Bearer {ready.key}' "
        f"-H 'Content-Type: application/json' -d '{body}'"
    )
    if ready.upstreams:
        source = f"Calls go to: {', '.join(ready.upstreams)}."
    else:
        source = (
            "Answers come from the built-in DEMO upstream: no provider is called. "
            "Set OPENAI_API_KEY (or another\nprovider's) and start again for real ones."
        )
    parts = [
        f"\nThe gateway is ready on {ready.url}\n\n{source}",
        f"Try it, in another terminal:\n\n{curl}",
        ready.client.sdk.format(url=ready.url, key=ready.key),
        f"What was used: {_command()} usage. Data and this key are in {ready.folder.absolute()}. Ctrl-C ends.",
    ]
    if ready.hint:
        parts.insert(2, f"Note: {ready.hint}")
    return "\n\n".join(parts) + "\n"


def _command() -> str:
    """Return what to type for `gateway`: its path where the shell does not find it, as behind `make run`.

    Another terminal does not have this one's GATEWAY_DATA_DIR, without which the command would look elsewhere.
    """
    folder = os.environ.get("GATEWAY_DATA_DIR")
    where = f"GATEWAY_DATA_DIR={shlex.quote(folder)} " if folder else ""
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        return f"{where}{sys.executable} -m gateway"
    return where + (program.name if shutil.which(program.name) else str(program))
