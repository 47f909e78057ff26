"""What a configuration may say of Azure, and what it is taken for."""

from pathlib import Path

import pytest

from gateway.core.upstreams import Upstream
from gateway.settings import SettingsError, load_catalog

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
