"""What differs between the species of provider: where they live, how they take a key, where they list models."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import quote

from gateway.core.upstreams import Provider, Upstream


@dataclass(frozen=True, slots=True)
class Species:
    """Facts of one kind of provider.

    base_url       where it lives when nothing else is configured; "" where there is no such place
    key_header     the header that carries the key, lower case
    key_prefix     what stands before the key in it
    models_path    path of its model list below the base URL, as large a page as it gives
    headers        what a request has to say besides the key, where the caller does not say it
    """

    base_url: str
    key_header: bytes
    key_prefix: bytes
    models_path: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


# The base URLs are those of the official SDKs: OpenAI's has the version in it, Anthropic's and Google's have not.
SPECIES: Mapping[Provider, Species] = MappingProxyType(
    {
        "openai": Species("https://api.openai.com/v1", b"authorization", b"Bearer ", "/models"),
        "azure": Species("", b"api-key", b"", "/models"),
        "anthropic": Species(
            "https://api.anthropic.com",
            b"x-api-key",
            b"",
            "/v1/models?limit=1000",
            ((b"anthropic-version", b"2023-06-01"),),
        ),
        "gemini": Species(
            "https://generativelanguage.googleapis.com", b"x-goog-api-key", b"", "/v1beta/models?pageSize=1000"
        ),
        "demo": Species("", b"authorization", b"Bearer ", "/models"),
    }
)

# As openai-python's Azure client has them; all other paths of that API have the deployment in the body, if any.
_DEPLOYED = frozenset(
    {
        "/completions", "/chat/completions", "/embeddings", "/audio/transcriptions", "/audio/translations",
        "/audio/speech", "/images/generations", "/images/edits",
    }
)  # fmt: skip


def deployed(upstream: Upstream, path: str, model: str) -> str:
    """Return the path of an operation where it may have to name the model's deployment."""
    if upstream.api_version is None or path not in _DEPLOYED or upstream.base_url.endswith("/v1"):
        return path
    return f"/deployments/{quote(model, safe='')}{path}"


def versioned(upstream: Upstream, path: str) -> str:
    """Return the path below the base URL, with the version that Azure wants to be told with each request."""
    if upstream.api_version is None:
        return path
    root = "" if upstream.base_url.endswith(("/openai", "/v1")) else "/openai"
    return f"{root}{path}{'&' if '?' in path else '?'}api-version={upstream.api_version}"
