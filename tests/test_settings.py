"""What settings may say, what they are taken for, and in which words the others are refused."""

from pathlib import Path

import pytest

from gateway.core.upstreams import Upstream
from gateway.settings import SettingsError, load_catalog, load_settings

TABLE = '[[upstreams]]\nname = "azure"\nprovider = "{provider}"\nbase_url = "{base_url}"\n{more}\n'
ROOT, NEWER = "https://team.openai.azure.com", "https://team.openai.azure.com/openai/v1"


def configured(folder: Path, base_url: str, more: str = "", provider: str = "azure") -> Upstream:
    file = folder / "gateway.toml"
    file.write_text(TABLE.format(base_url=base_url, more=more, provider=provider))
    (upstream,) = load_catalog({"GATEWAY_CONFIG": str(file)}).upstreams
    return upstream


def test_deployments_are_the_models_unless_others_are_named(tmp_path: Path) -> None:
    more = 'api_version = "2024-10-21"\ndeployments = { "gpt-4o" = "team" }'
    upstream = configured(tmp_path, ROOT, more)
    assert (upstream.models, upstream.called("gpt-4o"), upstream.called("o3")) == (("gpt-4o",), "team", "o3")
    assert configured(tmp_path, ROOT, f'{more}\nmodels = ["gpt-*"]').models == ("gpt-*",)
    assert configured(tmp_path, NEWER).models == ("*",)


@pytest.mark.parametrize(
    ("base_url", "more", "provider", "complaint"),
    [
        (ROOT, "", "azure", "needs an api_version"),
        (ROOT, 'api_version = "2024-10-21&x=y"', "azure", "such as 2024-10-21"),
        (ROOT, 'api_version = "2024-10-21"', "openai", "is for azure"),
    ],
)
def test_azure_that_cannot_be_called_is_refused(
    tmp_path: Path, base_url: str, more: str, provider: str, complaint: str
) -> None:
    with pytest.raises(SettingsError, match=complaint):
        configured(tmp_path, base_url, more, provider)


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ("first_byte_seconds = -1", "first_byte_seconds"),
        ("first_byte_seconds = nan", "first_byte_seconds"),
        ("idle_seconds = 0", "idle_seconds"),
        ("connect_seconds = inf", "connect_seconds"),
        ("max_connections = 0", "max_connections"),
        ('proxy_url = "socks5://proxy:1080"', "proxy_url must be http"),
        ('proxy_url = "proxy:3128"', "proxy_url must be http"),
        ('ca_file = "/nowhere/ca.pem"', "/nowhere/ca.pem cannot be used: No such file"),
        ('ca_file = "{folder}/gateway.toml"', "gateway.toml cannot be used"),
    ],
)
def test_upstream_that_nobody_could_reach_is_refused(tmp_path: Path, more: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        configured(tmp_path, "http://10.0.0.7/v1", more.replace("{folder}", str(tmp_path)), "openai")


@pytest.mark.parametrize("name", ["", " a", "a\\u0000", "a\\n", "\u00e4", "a" * 65])
def test_name_that_a_database_or_a_log_could_not_hold_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "gateway.toml"
    text = TABLE.format(base_url=NEWER, more="", provider="azure").replace('"azure"', f'"{name}"', 1)
    file.write_text(text, "utf-8")
    with pytest.raises(SettingsError, match="name"):
        load_catalog({"GATEWAY_CONFIG": str(file)})


def test_file_that_is_no_text_is_refused_in_words(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_bytes(b"# \xff\n")
    with pytest.raises(SettingsError, match="is not UTF-8: byte 2 "):
        load_catalog({"GATEWAY_CONFIG": str(file)})


@pytest.mark.parametrize("key", [b"sk-secret\nx-more: header", b"sk-secret \xff"])
def test_provider_key_that_no_header_can_hold_is_refused_and_not_shown(tmp_path: Path, key: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(key)
    with pytest.raises(SettingsError, match="must be printable ASCII") as refused:
        configured(tmp_path, NEWER, f'api_key_file = "{file}"')
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("place", ["host:port", "host:", "[::1", "host:54 32"])
def test_database_at_no_place_is_refused_in_words(place: str) -> None:
    with pytest.raises(SettingsError, match="GATEWAY_DATABASE_URL must end in @host:port/name") as refused:
        load_settings({"GATEWAY_DATABASE_URL": f"postgresql+asyncpg://gateway:secret@{place}/gateway"})
    assert "secret" not in str(refused.value)


def test_password_may_have_any_character_but_one(tmp_path: Path) -> None:
    url = "postgresql+asyncpg://gateway:a#b?c/d:e@db.internal:5432/gateway"
    assert load_settings({"GATEWAY_DATABASE_URL": url}).database_url == url
