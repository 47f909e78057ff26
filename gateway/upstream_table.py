"""One `[[upstreams]]` table of the TOML file: what may stand in it, and the upstream that it describes."""

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.core.upstreams import Upstream

_Name = Annotated[str, Meta(pattern=r"^[!-~]([ -~]{0,62}[!-~])?\Z")]
_Seconds = Annotated[float, Meta(gt=0, le=86_400)]
_KEY = re.compile(r"[!-~]*")
_API_VERSION = re.compile(r"[A-Za-z0-9.-]{1,32}")


class SettingsError(Exception):
    """A setting that cannot be; the message names it and says what would be right."""


class UpstreamTable(msgspec.Struct, forbid_unknown_fields=True):
    """`[[upstreams]]` in the TOML file."""

    name: _Name
    provider: Literal["openai", "azure", "anthropic", "gemini"]
    base_url: str
    api_key_env: str | None = None
    api_key_file: str | None = None
    models: tuple[str, ...] | None = None
    deployments: dict[str, str] = {}
    api_version: str | None = None
    proxy_url: str | None = None
    ca_file: str | None = None
    stream_usage: bool = True
    objects: bool = True
    first_byte_seconds: _Seconds = 600
    idle_seconds: _Seconds = 300
    connect_seconds: _Seconds = 5
    max_connections: Annotated[int, Meta(ge=1, le=1_000_000)] = 2000


def configured_upstream(table: UpstreamTable, environment: Mapping[str, str]) -> Upstream:
    """Return the upstream that a table describes. Raises SettingsError."""
    if not table.base_url.startswith(("http://", "https://")) or any(mark in table.base_url for mark in "@?#"):
        raise SettingsError(
            f"Upstream `{table.name}`: base_url must be http:// or https:// without user, query or fragment."
        )
    _check_azure(table)
    _check_way(table)
    return Upstream(
        name=table.name,
        provider=table.provider,
        base_url=table.base_url.rstrip("/"),
        api_key=_api_key(table, environment),
        models=table.models or tuple(table.deployments) or ("*",),
        proxy_url=table.proxy_url or None,
        ca_file=table.ca_file or None,
        stream_usage=table.stream_usage,
        objects=table.objects,
        deployments=tuple(table.deployments.items()),
        api_version=table.api_version,
        first_byte_seconds=table.first_byte_seconds,
        idle_seconds=table.idle_seconds,
        connect_seconds=table.connect_seconds,
        max_connections=table.max_connections,
    )


def _check_azure(table: UpstreamTable) -> None:
    """Raise SettingsError where it is not clear how Azure's API is to be called."""
    version = table.api_version
    if version is not None and (table.provider != "azure" or _API_VERSION.fullmatch(version) is None):
        raise SettingsError(f"Upstream `{table.name}`: api_version is for azure, such as 2024-10-21 or preview.")
    if table.provider == "azure" and version is None and not table.base_url.rstrip("/").endswith("/v1"):
        raise SettingsError(
            f"Upstream `{table.name}`: Azure needs an api_version, or a base_url that ends with /openai/v1."
        )


def _check_way(table: UpstreamTable) -> None:
    """Raise SettingsError for a proxy that is not spoken to, and for authorities that cannot be read."""
    if table.proxy_url and re.fullmatch(r"https?://[^/?#]+/?", table.proxy_url) is None:
        raise SettingsError(f"Upstream `{table.name}`: proxy_url must be http://[user:password@]host:port.")
    if table.ca_file:
        try:
            ssl.create_default_context(cafile=table.ca_file)
        except OSError as error:  # ssl.SSLError too
            raise SettingsError(
                f"Upstream `{table.name}`: ca_file {table.ca_file} cannot be used: {error.strerror or error}."
            ) from None


def _api_key(table: UpstreamTable, environment: Mapping[str, str]) -> str:
    key = ""
    if table.api_key_env:
        key = environment.get(table.api_key_env, "").strip()
        if not key:
            raise SettingsError(f"Upstream `{table.name}`: the variable {table.api_key_env} is not set.")
    elif table.api_key_file:
        try:
            key = Path(table.api_key_file).read_text("utf-8").strip()
        except OSError as error:
            raise SettingsError(
                f"Upstream `{table.name}`: {table.api_key_file} cannot be read: {error.strerror}."
            ) from None
        except UnicodeDecodeError:
            key = " "  # told below, and without a byte of it
    if _KEY.fullmatch(key) is None:
        where = table.api_key_env or table.api_key_file
        raise SettingsError(
            f"Upstream `{table.name}`: the key in {where} must be printable ASCII characters without spaces or lines."
        )
    return key
