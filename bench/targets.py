"""The things under test: the provider itself, the bare relay, and the gateway with everything on."""

import contextlib
import http.client
import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import relay
from bench.load import Call, call_to
from bench.script import OPENAI, PATH, Script, Stream
from bench.servers import ROOT, Cores, Server, ServerFailedError, free_port, serve

ADMIN_TIMEOUT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Target:
    """A ready server and the key that its calls carry. `name` is its column in the table."""

    name: str
    server: Server
    key: str

    @property
    def pid(self) -> int:
        return self.server.process.pid

    def call(self, stream: Stream | None = None, script: Script = OPENAI) -> Call:
        return call_to(self.server.port, self.key, stream, script)


@contextlib.contextmanager
def running_provider(folder: Path, cores: Cores) -> Iterator[Target]:
    """Run the scripted provider beside the load."""
    port = free_port()
    command = [sys.executable, "-m", "bench.provider", str(port)]
    with serve(command, _environment({}), port, "/v1/models", cores.load, folder) as server:
        yield Target("direct", server, "unchecked")


@contextlib.contextmanager
def running_relay(provider: Target, folder: Path, cores: Cores) -> Iterator[Target]:
    """Run the yardstick under uvicorn with the settings of a production server."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "bench.relay:app", "--port", str(port)]
    command += ["--no-access-log", "--log-level", "warning", "--lifespan", "off"]
    environment = _environment({"BENCH_PROVIDER_URL": f"http://127.0.0.1:{provider.server.port}{PATH}"})
    with serve(command, environment, port, "/", cores.target, folder) as server:
        yield Target("relay", server, relay.KEY)


@dataclass(frozen=True, slots=True)
class Installation:
    """Where a gateway keeps its data, and its owner key; the same over restarts."""

    name: str
    database_url: str
    folder: Path
    admin_key: str

    @classmethod
    def fresh(cls, name: str, database_url: str, folder: Path) -> "Installation":
        folder.mkdir()
        return cls(name, database_url, folder, secrets.token_hex(32))


@contextlib.contextmanager
def running_gateway(installation: Installation, provider: Target, cores: Cores) -> Iterator[Server]:
    """Run `gateway serve`; its log goes to a file, as a service manager would have it."""
    port = free_port()
    provider_url = f"http://127.0.0.1:{provider.server.port}"
    settings = {
        "GATEWAY_DATABASE_URL": installation.database_url,
        "GATEWAY_ADMIN_KEY": installation.admin_key,
        "GATEWAY_PORT": str(port),
        "OPENAI_API_KEY": "upstream",
        "OPENAI_BASE_URL": f"{provider_url}/v1",
        "ANTHROPIC_API_KEY": "upstream",
        "ANTHROPIC_BASE_URL": provider_url,
        "GEMINI_API_KEY": "upstream",
        "GEMINI_BASE_URL": provider_url,
    }
    command = [sys.executable, "-m", "gateway", "serve"]
    with serve(command, _environment(settings), port, "/readyz", cores.target, installation.folder) as server:
        yield server


def governed_key(installation: Installation, server: Server) -> str:
    """Issue a key to a new user in a new project, bind it by a cost budget and a request limit, return its text.

    Both limits are far above what a run uses: they are counted at every call and never refuse.
    """
    admin = _Administration(server.port, installation.admin_key)
    project = admin.create("/projects", {"name": "bench"})
    user = admin.create("/users", {"email": "bench@example.com", "name": "Bench", "role": "reader"})
    key = admin.create(f"/projects/{project['id']}/api_keys", {"name": "bench", "user_id": user["id"]})
    scope: dict[str, object] = {"scope": "api_key", "scope_id": key["id"]}
    admin.create("/limits", scope | {"metric": "cost", "interval": "month", "amount": "1000000"})
    admin.create("/limits", scope | {"metric": "requests", "interval": "day", "amount": 100_000_000})
    return key["value"]


@dataclass(frozen=True, slots=True)
class _Administration:
    port: int
    key: str

    def create(self, path: str, fields: Mapping[str, object]) -> dict[str, str]:
        """Return the created object; its ids and the key's value are text. Raises ServerFailedError if refused."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ADMIN_TIMEOUT_SECONDS)
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        with contextlib.closing(connection):
            connection.request("POST", f"/v1/organization{path}", json.dumps(fields), headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        if answer.status not in (200, 201):
            raise ServerFailedError(f"POST /v1/organization{path}: {answer.status} {text[:1000]}")
        created: dict[str, str] = json.loads(text)
        return created


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    # What the person's shell says about a gateway or a provider must not reach the one under test.
    foreign = ("GATEWAY_", "OPENAI_", "ANTHROPIC_", "GEMINI_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith(foreign)}
    return {**inherited, "PYTHONPATH": str(ROOT), **settings}
