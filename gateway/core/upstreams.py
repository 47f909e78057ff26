"""What an upstream is: one configured endpoint of a provider, with the limits that its connections keep."""

from dataclasses import dataclass, field
from typing import Literal

Provider = Literal["openai", "azure", "anthropic", "gemini", "demo"]


@dataclass(frozen=True, slots=True)
class Upstream:
    """A configured endpoint. Neither the key nor the proxy's password ever shows in its repr.

    base_url     as the provider's SDK has it, without a trailing slash, query or user part
    api_key      empty sends no credential (a server of one's own)
    models       patterns of the model names it takes; `*` stands for any text
    proxy_url    outbound proxy, `http://[user:password@]host:port`; None connects directly
    ca_file      PEM file whose authorities alone are trusted; None trusts the system's
    stream_usage False: the server does not know `stream_options`
    objects      False: files, batches, vector stores and conversations are not made there
    deployments  (model, what it is called there) where that is another name
    api_version  the version of Azure's API, told with each request; None where none is wanted

    `first_byte_seconds` runs from sending the request to the answer's headers (600 is the official SDKs' own limit),
    `idle_seconds` between two pieces of an answer, `connect_seconds` covers TCP and TLS. There is no total.
    """

    name: str
    provider: Provider
    base_url: str
    api_key: str = field(repr=False)
    models: tuple[str, ...] = ("*",)
    proxy_url: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    stream_usage: bool = True
    objects: bool = True
    deployments: tuple[tuple[str, str], ...] = ()
    api_version: str | None = None
    first_byte_seconds: float = 600
    idle_seconds: float = 300
    connect_seconds: float = 5
    max_connections: int = 2000

    def called(self, model: str) -> str:
        """Return what a model is called there."""
        return next((deployment for name, deployment in self.deployments if name == model), model)
