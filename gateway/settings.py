"""Settings: the environment for what differs per machine, a TOML file for upstreams, models and prices.

Read once at start (the TOML again on SIGHUP) into frozen values; only `app.py` and the command line read them. Secrets
come from the environment or from files that are named, never from the TOML itself.
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from gateway.core.prices import override_price
from gateway.core.upstreams import Upstream
from gateway.couriers.destinations import (
    MailServer,
    email_address,
    email_addresses,
    mail_server,
    percents,
    signing_secret,
    webhook_url,
)
from gateway.upstream_table import SettingsError as SettingsError  # for those who read settings
from gateway.upstream_table import UpstreamTable, configured_upstream

MIN_ADMIN_KEY_LENGTH = 32
MEBIBYTE = 1_048_576
IGNORED = frozenset({"GATEWAY_TEST_POSTGRES_URL"})
"""Read by the tests, not by the gateway."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting of one process. Sizes are in bytes, times in seconds."""

    database_url: str
    data_folder: Path
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    admin_key: str | None = field(default=None, repr=False)
    config_file: Path | None = None
    migrates_at_start: bool = True
    log_level: str = "info"
    cors_origins: tuple[str, ...] = ("*",)
    trusted_proxies: tuple[str, ...] = ()
    retention_days: int = 90
    max_body_bytes: int = 64 * MEBIBYTE
    max_form_bytes: int = 32 * MEBIBYTE
    max_bodies_bytes: int = 512 * MEBIBYTE
    max_waiting: int = 2_000
    database_wait_seconds: float = 4.5
    on_disconnect: Literal["cancel", "drain"] = "cancel"
    disconnect_drain_seconds: float = 60.0
    job_seconds: float = 86_400.0
    drain_delay_seconds: float = 5.0
    drain_timeout_seconds: float = 600.0
    tls_certificate_file: str | None = None
    tls_key_file: str | None = None
    metrics_folder: Path | None = None
    smtp_server: MailServer | None = None
    smtp_from: str = ""
    alert_recipients: tuple[str, ...] = ()
    budget_percents: tuple[int, ...] = (80, 100)
    webhook_url: str | None = None
    webhook_secret: str | None = field(default=None, repr=False)
    webhook_private: bool = False
    alert_seconds: float = 10.0
    catalog: "CatalogSettings" = field(default_factory=lambda: CatalogSettings())

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the texts that must never reach a log."""
        keys = [upstream.api_key for upstream in self.catalog.upstreams]
        mail = self.smtp_server.password if self.smtp_server is not None else None
        return tuple(text for text in (*keys, self.admin_key, mail, self.webhook_secret) if text)


@dataclass(frozen=True, slots=True)
class CatalogSettings:
    """What SIGHUP reads again: upstreams, aliases, price overrides."""

    upstreams: tuple[Upstream, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    prices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable: what it sets, how its text is read, what a reader of the README is told."""

    name: str
    field: str
    parse: Callable[[str], object]
    default: str
    meaning: str


def _whole(low: int, high: int, scale: int = 1) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text) * scale

    return parse


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86_400:
        raise ValueError("must be a number of seconds from 0 to 86400")
    return seconds


def _choice(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text

    return parse


def _switch(text: str) -> bool:
    return _choice("on", "off")(text) == "on"


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _admin_key(text: str) -> str:
    if len(text) < MIN_ADMIN_KEY_LENGTH or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"must be {MIN_ADMIN_KEY_LENGTH} or more printable characters without spaces")
    return text


def database_url(text: str) -> str:
    """Return the text if it is the URL of a database. Raises ValueError, never with the password in it."""
    if not text.startswith(("sqlite+aiosqlite:///", "postgresql+asyncpg://")):
        raise ValueError("must begin with sqlite+aiosqlite:/// or postgresql+asyncpg://")
    if text.startswith("postgresql") and _POSTGRES.fullmatch(text) is None:
        raise ValueError("must end in @host:port/name, with a number as the port")
    return text


VARIABLES = (
    Variable("GATEWAY_DATABASE_URL", "database_url", database_url, "SQLite in the data folder",
             "`sqlite+aiosqlite:///...` for one process, `postgresql+asyncpg://...` for more"),
    Variable("GATEWAY_DATA_DIR", "data_folder", Path, "data", "folder of the SQLite file and the spool"),
    Variable("GATEWAY_HOST", "host", str, "127.0.0.1", "address to listen on"),
    Variable("GATEWAY_PORT", "port", _whole(0, 65_535), "8080", "port to listen on"),
    Variable("GATEWAY_WORKERS", "workers", _whole(1, 64), "1", "processes; more than one needs PostgreSQL"),
    Variable("GATEWAY_ADMIN_KEY", "admin_key", _admin_key, "none",
             "32 or more characters; becomes the first owner key of a database that has none"),
    Variable("GATEWAY_CONFIG", "config_file", Path, "none", "the TOML file of upstreams, models and prices"),
    Variable("GATEWAY_MIGRATE", "migrates_at_start", _switch, "on", "`off`: `serve` does not apply migrations"),
    Variable("GATEWAY_RETENTION_DAYS", "retention_days", _whole(0, 36_500), "90",
             "days for which single calls are kept, 0 for ever; their sums by hour and day always are"),
    Variable("GATEWAY_LOG_LEVEL", "log_level", _choice("debug", "info", "warning", "error"), "info", "least level"),
    Variable("GATEWAY_CORS_ORIGINS", "cors_origins", _list, "*", "web pages that may call, comma-separated"),
    Variable("GATEWAY_TRUSTED_PROXIES", "trusted_proxies", _list, "none", "whose X-Forwarded-For is believed"),
    Variable("GATEWAY_MAX_BODY_MIB", "max_body_bytes", _whole(1, 1_024, MEBIBYTE), "64", "largest request body"),
    Variable("GATEWAY_MAX_FORM_MIB", "max_form_bytes", _whole(1, 1_024, MEBIBYTE), "32", "largest form with files"),
    Variable("GATEWAY_MAX_BODIES_MIB", "max_bodies_bytes", _whole(1, 65_536, MEBIBYTE), "512",
             "request bodies in memory at once"),
    Variable("GATEWAY_MAX_WAITING", "max_waiting", _whole(1, 100_000), "2000",
             "calls of a process that wait to be admitted; more are refused with 503"),
    Variable("GATEWAY_DATABASE_WAIT_SECONDS", "database_wait_seconds", _seconds, "4.5",
             "how long a call waits for a slow database, all in all, before it is refused with 503"),
    Variable("GATEWAY_ON_DISCONNECT", "on_disconnect", _choice("cancel", "drain"), "cancel",
             "when a client leaves: close the provider's connection, or read on for the exact figure"),
    Variable("GATEWAY_DISCONNECT_DRAIN_SECONDS", "disconnect_drain_seconds", _seconds, "60",
             "how long to read on; reasoning models always are"),
    Variable("GATEWAY_JOB_HOURS", "job_seconds", _whole(1, 720, 3_600), "24",
             "how long a background response may take, and a batch beyond its day, before it is cancelled and charged "
             "by what is known"),
    Variable("GATEWAY_DRAIN_DELAY_SECONDS", "drain_delay_seconds", _seconds, "5",
             "how long requests are still accepted after SIGTERM"),
    Variable("GATEWAY_DRAIN_TIMEOUT_SECONDS", "drain_timeout_seconds", _seconds, "600",
             "how long running calls may take to end after that"),
    Variable("GATEWAY_TLS_CERTIFICATE_FILE", "tls_certificate_file", str, "none", "PEM file, to serve HTTPS itself"),
    Variable("GATEWAY_TLS_KEY_FILE", "tls_key_file", str, "none", "the certificate's private key"),
    Variable("GATEWAY_SMTP_URL", "smtp_server", mail_server, "none",
             "where alerts are mailed: `smtp://user:password@host:587`, or `smtps://` for TLS from the start"),
    Variable("GATEWAY_SMTP_FROM", "smtp_from", email_address, "none", "the address that alerts come from"),
    Variable("GATEWAY_ALERT_RECIPIENTS", "alert_recipients", email_addresses, "none",
             "who is mailed when a part of a budget is used, comma-separated"),
    Variable("GATEWAY_BUDGET_PERCENTS", "budget_percents", percents, "80,100",
             "the parts of a budget that are told of, `none` for none"),
    Variable("GATEWAY_WEBHOOK_URL", "webhook_url", webhook_url, "none", "where alerts are posted, signed"),
    Variable("GATEWAY_WEBHOOK_SECRET", "webhook_secret", signing_secret, "none",
             "what they are signed with: 16 or more characters, or `whsec_` and base64"),
    Variable("GATEWAY_WEBHOOK_PRIVATE", "webhook_private", _switch, "off",
             "`on`: that URL may be `http://` and on a private network"),
    Variable("GATEWAY_ALERT_SECONDS", "alert_seconds", _whole(1, 3_600), "10", "how often thresholds are looked at"),
)  # fmt: skip
_POSTGRES = re.compile(
    r"[^:]+://([^:/]*(:[^@]*)?@)?(\[[0-9A-Fa-f:.%]+\]|[^:/?\[\]]+)?(:[0-9]{1,5})?([/?].*)?"  # as SQLAlchemy reads it
)
METRICS_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Set by the supervisor of several workers for its children."""


class ConfigFile(msgspec.Struct, forbid_unknown_fields=True):
    """The whole TOML file."""

    upstreams: list[UpstreamTable] = []
    models: dict[str, str] = {}
    prices: dict[str, dict[str, str]] = {}


def load_settings(environment: Mapping[str, str]) -> Settings:
    """Read the environment and the file that it names. Raises SettingsError."""
    _check_names(environment)
    values: dict[str, object] = {}
    for variable in VARIABLES:
        text = environment.get(variable.name, "").strip()
        if text:
            values[variable.field] = _parsed(variable, text)
    folder = values.setdefault("data_folder", Path("data"))
    values.setdefault("database_url", f"sqlite+aiosqlite:///{folder}/gateway.db")
    if METRICS_FOLDER_VARIABLE in environment:
        values["metrics_folder"] = Path(environment[METRICS_FOLDER_VARIABLE])
    settings = Settings(catalog=load_catalog(environment), **values)  # type: ignore[arg-type] # each parsed above
    if settings.workers > 1 and settings.database_url.startswith("sqlite"):
        raise SettingsError("Several workers need PostgreSQL: SQLite serves one process. Set GATEWAY_DATABASE_URL.")
    _check_alerts(settings)
    return settings


def _check_alerts(settings: Settings) -> None:
    """Raises SettingsError for half of what a way to tell people needs."""
    if settings.smtp_server is not None and not settings.smtp_from:
        raise SettingsError("GATEWAY_SMTP_URL needs GATEWAY_SMTP_FROM, the address that alerts come from.")
    if settings.alert_recipients and settings.smtp_server is None:
        raise SettingsError("GATEWAY_ALERT_RECIPIENTS needs GATEWAY_SMTP_URL, the server to mail them through.")
    if settings.webhook_url is None:
        return
    if settings.webhook_secret is None:
        raise SettingsError("GATEWAY_WEBHOOK_URL needs GATEWAY_WEBHOOK_SECRET, to sign what is posted there.")
    if settings.webhook_url.startswith("http:") and not settings.webhook_private:
        raise SettingsError("GATEWAY_WEBHOOK_URL must be https://, unless GATEWAY_WEBHOOK_PRIVATE is on.")


def load_catalog(environment: Mapping[str, str]) -> CatalogSettings:
    """Read upstreams, aliases and prices. Without upstreams in the file, the providers' own variables make them.

    Raises SettingsError.
    """
    file = environment.get("GATEWAY_CONFIG", "").strip()
    config = _read_file(Path(file)) if file else ConfigFile()
    upstreams = tuple(configured_upstream(table, environment) for table in config.upstreams) or _from_environment(
        environment
    )
    names = [upstream.name for upstream in upstreams]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"{file}: two upstreams are named `{name}`; give each a name of its own.")
    for model, words in config.prices.items():
        try:
            override_price(model, words)
        except ValueError as error:
            raise SettingsError(f"{file}: {error}.") from None
    return CatalogSettings(upstreams, config.models, config.prices)


def _check_names(environment: Mapping[str, str]) -> None:
    known = [variable.name for variable in VARIABLES]
    for name in environment:
        if name.startswith("GATEWAY_") and name not in known and name not in IGNORED:
            raise SettingsError(f"The environment variable {name} is not one of the gateway's.{_nearest(name, known)}")


def _parsed(variable: Variable, text: str) -> object:
    try:
        return variable.parse(text)
    except ValueError as error:
        raise SettingsError(f"{variable.name} {error}.") from None


def _read_file(path: Path) -> ConfigFile:
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), ConfigFile)
    except OSError as error:
        raise SettingsError(f"GATEWAY_CONFIG: {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8: byte {error.start} does not belong there.") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not TOML: {error}.") from None
    except msgspec.ValidationError as error:
        raise SettingsError(f"{path}: {error}.{_nearest_key(str(error))}") from None


def _nearest_key(message: str) -> str:
    if "unknown field" not in message:
        return ""
    known = [*ConfigFile.__struct_fields__, *UpstreamTable.__struct_fields__]
    return _nearest(message.split("`")[1], known)


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, 1, 0.5)
    return f" Did you mean {close[0]}?" if close else f" Known are: {', '.join(sorted(known))}."


def _from_environment(environment: Mapping[str, str]) -> tuple[Upstream, ...]:
    """Make one upstream per provider whose key is set, as the providers' own SDKs read these variables."""
    made = []
    for provider, prefix, base_url, models in (
        ("anthropic", "ANTHROPIC", "https://api.anthropic.com", ("claude-*",)),
        ("gemini", "GEMINI", "https://generativelanguage.googleapis.com", ("gemini-*",)),
        ("openai", "OPENAI", "https://api.openai.com/v1", ("*",)),
    ):
        key = environment.get(f"{prefix}_API_KEY", "").strip()
        if key:
            table = UpstreamTable(
                name=provider,
                provider=provider,  # type: ignore[arg-type] # one of the three words above
                base_url=environment.get(f"{prefix}_BASE_URL", "").strip() or base_url,
                api_key_env=f"{prefix}_API_KEY",
                models=models,
            )
            made.append(configured_upstream(table, environment))
    return tuple(made)
