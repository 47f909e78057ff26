"""What `serve` and `quickstart` do around serving: one server per SQLite file, the schema, the first owner key, and
words for what can go wrong at the start.
"""

import errno
import fcntl
import gc
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.cli.failures import CommandError, Exit, with_cause
from gateway.core.errors import GatewayError
from gateway.core.ids import PREFIXES
from gateway.core.keys import digest
from gateway.server import AppFactory, OnReady, ServerSettings, serve
from gateway.settings import Settings
from gateway.sources import SystemClock, random_base62
from gateway.store import admin_api_keys, audit_log, migrate, principals, revision
from gateway.store.admin_api_keys import AdminApiKey
from gateway.store.audit_log import COMMAND_LINE
from gateway.store.engine import Connection, Database, is_sqlite, sqlite_path

ID_CHARACTERS = 20
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}  # noqa: S104 - compared, not bound
_BIND_FAULTS = {
    errno.EADDRINUSE: "another program listens there. Stop it, or choose another port with GATEWAY_PORT",
    errno.EACCES: "ports below 1024 need special rights. Choose another with GATEWAY_PORT",
    errno.EADDRNOTAVAIL: "this machine has no such address. Set GATEWAY_HOST",
}


@contextmanager
def sole_server(settings: Settings) -> Iterator[None]:
    """Hold the lock of a SQLite file's server while the body runs. Raises CommandError if another process has it.

    The system drops the lock with the process, however that ends. PostgreSQL takes any number of servers.
    """
    if not is_sqlite(settings.database_url):
        yield
        return
    path = sqlite_path(settings.database_url)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CommandError(f"{error.filename} cannot be written: {error.strerror}.", Exit.CANNOT_START) from error
    try:
        _lock(file, str(path))
        yield
    finally:
        os.close(file)


def _lock(file: int, path: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise CommandError(
            f"Another gateway serves {path} already, and SQLite takes one. Stop that one, give this one a folder of "
            "its own (GATEWAY_DATA_DIR), or use PostgreSQL (GATEWAY_DATABASE_URL).",
            Exit.CANNOT_START,
        ) from error


async def prepare_schema(settings: Settings) -> None:
    """Migrate if the settings say so, else see that nothing is left to migrate. Raises CommandError."""
    url = settings.database_url
    try:
        if settings.migrates_at_start:
            await migrate.upgrade(url)
            return
        present = await migrate.current(url)
        migrate.accept(present)
    except (GatewayError, migrate.UnknownSchema, OSError) as error:
        raise CommandError(with_cause(error), Exit.CANNOT_START) from error
    if present.is_behind(migrate.HEAD):
        raise CommandError(
            f"The database is at schema {present.revision or 'none'}, this gateway needs {migrate.HEAD}, and "
            "GATEWAY_MIGRATE is off. Run: gateway migrate",
            Exit.CANNOT_START,
        )


async def ensure_owner(settings: Settings) -> bool:
    """See that somebody can administer: GATEWAY_ADMIN_KEY becomes the first owner key of a database that has none.

    Returns False when there is neither. Raises CommandError.
    """
    database, now = Database(settings.database_url), int(SystemClock().now())
    text = settings.admin_key
    try:
        if await database.read(lambda connection: admin_api_keys.has_owner(connection, now)):
            return True
        if text is None:
            return False
        await database.change(lambda connection: _take_owner(connection, text, now))
        return True
    except GatewayError as error:
        raise CommandError(with_cause(error), Exit.CANNOT_START) from error
    finally:
        await database.close()


def _take_owner(connection: Connection, text: str, now: int) -> None:
    """Store the environment's key. Replicas that start at once take turns at the revision's row."""
    revision.bump(connection)
    if admin_api_keys.has_owner(connection, now):
        return
    if principals.find(connection, digest(text)) is not None:
        raise CommandError(
            "GATEWAY_ADMIN_KEY is the text of a key that does not own the gateway. Set another, or run: "
            "gateway admin-keys create",
            Exit.CANNOT_START,
        )
    id = PREFIXES["admin_api_key"] + random_base62(ID_CHARACTERS)
    key = AdminApiKey(id, "GATEWAY_ADMIN_KEY", "owner", f"...{text[-4:]}", now, None)
    admin_api_keys.create(connection, key, digest(text))
    event_id, detail = (
        audit_log.new_id(now, random_base62(audit_log.EVENT_ID_CHARACTERS)),
        audit_log.Detail(id, after=key),
    )
    event = audit_log.Event(event_id, now, "tenant.admin_api_key.created", None, COMMAND_LINE, None, detail)
    audit_log.append(connection, event)


def server_settings(settings: Settings) -> ServerSettings:
    """Return the part of the settings that serving needs."""
    return ServerSettings(
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        trusted_proxies=settings.trusted_proxies,
        ssl_certificate_file=settings.tls_certificate_file,
        ssl_key_file=settings.tls_key_file,
        drain_delay_seconds=settings.drain_delay_seconds,
        drain_timeout_seconds=settings.drain_timeout_seconds,
    )


def run_server(factory: AppFactory | str, settings: ServerSettings, on_ready: OnReady) -> int:
    """Serve until a signal; return the exit code. Raises CommandError when address or certificate are not usable."""
    _check_certificate(settings)

    def ready(host: str, port: int) -> None:
        gc.enable()
        on_ready(host, port)

    try:
        return serve(factory, settings, on_ready=ready)
    except socket.gaierror as error:
        raise CommandError(
            f"GATEWAY_HOST: {settings.host} is not an address of this machine.", Exit.CANNOT_START
        ) from error
    except OSError as error:
        fault = _BIND_FAULTS.get(error.errno or 0)
        if fault is None:
            raise
        where = f"port {settings.port} of {settings.host}"
        raise CommandError(f"Cannot listen on {where}: {fault}.", Exit.CANNOT_START) from error


def _check_certificate(settings: ServerSettings) -> None:
    if settings.ssl_certificate_file is None:
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.ssl_certificate_file, settings.ssl_key_file)
    except OSError as error:
        raise CommandError(
            f"GATEWAY_TLS_CERTIFICATE_FILE and GATEWAY_TLS_KEY_FILE: {error.strerror or error}.", Exit.CANNOT_START
        ) from error


def url_of(settings: Settings, host: str, port: int) -> str:
    """Return the URL under which a program on this machine finds the server."""
    scheme = "https" if settings.tls_certificate_file else "http"
    shown = _EVERY_ADDRESS.get(host) or (f"[{host}]" if ":" in host else host)
    return f"{scheme}://{shown}:{port}"
