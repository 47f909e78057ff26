"""LiteLLM's config.yaml -> our TOML: upstreams, other names of models, prices. What has no counterpart is told.

No secret is written: a key that stands in the file itself is left to an environment variable, whose name is told.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from gateway.core.model_policy import WILDCARDS
from gateway.core.money import parse_rate

ENVIRONMENT = "os.environ/"
BASE_URLS = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
    "gemini": "https://generativelanguage.googleapis.com",
}
# LiteLLM's words for servers in OpenAI's format; they need an address.
COMPATIBLE = frozenset({"openai", "hosted_vllm", "vllm", "custom_openai", "openai_like", "lm_studio", "llamafile"})
PRICES = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached_input",
    "cache_creation_input_token_cost": "cache_write",
}
TOKENS_PER_PRICE = 1_000_000
_WRITES_NOTHING = frozenset({"embedding", "rerank"})
"""LiteLLM's words for what models do that have no output to pay for."""
_NATURAL = {"anthropic": "claude-*", "gemini": "gemini-*"}
"""What all models of a provider are called."""
_PLACES = Decimal("0.000001")


@dataclass(slots=True)
class Endpoint:
    """An upstream in the making."""

    name: str
    provider: str
    base_url: str
    key_variable: str
    api_version: str | None
    models: list[str] = field(default_factory=list)
    deployments: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Converted:
    """What became of the file; `notes` are for a person to look after."""

    endpoints: list[Endpoint] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    prices: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def convert(config: Mapping[str, Any], environment: Mapping[str, str]) -> Converted:
    """Read a config.yaml as YAML gives it; addresses may stand in the environment.

    Never raises for what it does not know: that is noted.
    """
    made = Converted()
    credentials = {
        str(entry.get("credential_name")): _mapping(entry.get("credential_values"))
        for entry in _entries(config.get("credential_list"))
    }
    for place, entry in enumerate(_entries(config.get("model_list"))):
        name, parameters = entry.get("model_name"), _mapping(entry.get("litellm_params"))
        credential = credentials.get(str(parameters.get("litellm_credential_name")), {})
        parameters = _looked_up({**credential, **parameters}, environment)
        if not isinstance(name, str) or not isinstance(parameters.get("model"), str):
            made.notes.append(f"model_list[{place}] has no model_name or no litellm_params.model: left out.")
            continue
        _take(made, name, parameters, _mapping(entry.get("model_info")))
    for name, group in _mapping(_mapping(config.get("router_settings")).get("model_group_alias")).items():
        target = group.get("model") if isinstance(group, dict) else group
        made.aliases.setdefault(name, made.aliases.get(str(target), str(target)))
    return made


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _entries(value: object) -> list[Mapping[str, Any]]:
    """Return a list's mappings; what is none becomes an empty one."""
    return [_mapping(entry) for entry in value] if isinstance(value, list) else []


def _looked_up(parameters: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return parameters with addresses and versions as the environment has them; keys stay in it."""
    found = dict(parameters)
    for name in ("api_base", "base_url", "api_version"):
        value = found.get(name)
        if isinstance(value, str) and value.startswith(ENVIRONMENT):
            found[name] = environment.get(value.removeprefix(ENVIRONMENT), value)
    return found


def _take(made: Converted, name: str, parameters: Mapping[str, Any], info: Mapping[str, Any]) -> None:
    provider, model = _provider(parameters["model"])
    base_url = str(parameters.get("api_base") or parameters.get("base_url") or BASE_URLS.get(provider, ""))
    if provider in COMPATIBLE and base_url:
        provider = "openai"
    if provider not in (*BASE_URLS, "azure") or not base_url or base_url.startswith(ENVIRONMENT):
        made.notes.append(f"{name}: `{parameters['model']}` has no counterpart here or no address: left out.")
        return
    if WILDCARDS & set(name + model):
        name = model = _pattern(made, name, model, provider, parameters["model"])
    endpoint = _endpoint(made, provider, base_url.rstrip("/"), parameters)
    if model == name or provider == "azure":
        endpoint.models.append(name)
        if model != name:
            endpoint.deployments[name] = model
    elif made.aliases.setdefault(name, model) == model:
        endpoint.models.append(model)
    else:
        made.notes.append(f"{name} stands for {made.aliases[name]} already; `{parameters['model']}` is left out.")
        return
    _take_price(made, name if provider == "azure" else model, {**info, **parameters})


def _pattern(made: Converted, name: str, model: str, provider: str, told: str) -> str:
    """Return the pattern of names that a wildcard stands for here, where no name begins with its provider's."""
    if name == told and "/" in name:
        made.notes.append(f"{name}: clients must leave out `{name.partition('/')[0]}/` before the model's name.")
    elif name not in (model, told, "*"):
        made.notes.append(f"{name}: here `{told}` goes by its own names.")
    return _NATURAL.get(provider, model) if model == "*" else model


def _provider(model: str) -> tuple[str, str]:
    """Return LiteLLM's word for the provider and the model's name there."""
    provider, slash, rest = model.partition("/")
    if slash:
        return provider, rest
    prefixes = {"claude": "anthropic", "gemini": "gemini"}
    return next((word for prefix, word in prefixes.items() if model.startswith(prefix)), "openai"), model


def _endpoint(made: Converted, provider: str, base_url: str, parameters: Mapping[str, Any]) -> Endpoint:
    """Return the upstream of this address and key, a new one if there is none."""
    key = str(parameters.get("api_key") or f"{ENVIRONMENT}{provider.upper()}_API_KEY")
    count = sum(endpoint.provider == provider for endpoint in made.endpoints)
    name = provider if not count else f"{provider}-{count + 1}"
    variable = key.removeprefix(ENVIRONMENT) if key.startswith(ENVIRONMENT) else ""
    version = parameters.get("api_version")
    for endpoint in made.endpoints:
        same = (endpoint.provider, endpoint.base_url, endpoint.api_version) == (provider, base_url, version)
        if same and (endpoint.key_variable == variable or not variable):
            return endpoint
    if not variable:
        variable = f"{name.upper().replace('-', '_')}_API_KEY"
        made.notes.append(f"Upstream {name}: its key stands in the file itself; set {variable} to it.")
    made.endpoints.append(Endpoint(name, provider, base_url, variable, None if version is None else str(version)))
    return made.endpoints[-1]


def _take_price(made: Converted, model: str, told: Mapping[str, Any]) -> None:
    price: dict[str, str] = {}
    for theirs, ours in PRICES.items():
        if told.get(theirs) is None:
            continue
        try:
            rate = (Decimal(str(told[theirs])) * TOKENS_PER_PRICE).quantize(_PLACES).normalize()
            parse_rate(text := f"{rate:f}")
        except (InvalidOperation, ValueError):
            made.notes.append(f"{model}: `{theirs}` {told[theirs]!r} is no price: left out.")
            continue
        price[ours] = text
    if "output" not in price and told.get("mode") in _WRITES_NOTHING:
        price["output"] = "0"
    missing = [theirs for theirs, ours in list(PRICES.items())[:2] if ours not in price]
    if price and missing:
        made.notes.append(f"{model}: its price says no `{missing[0]}`, so it is left out.")
    elif price:
        made.prices[model] = price


def render(made: Converted) -> str:
    """Return the TOML."""
    blocks = []
    for endpoint in made.endpoints:
        lines = [
            "[[upstreams]]",
            f"name = {_text(endpoint.name)}",
            f"provider = {_text(endpoint.provider)}",
            f"base_url = {_text(endpoint.base_url)}",
            f"api_key_env = {_text(endpoint.key_variable)}",
            f"models = [{', '.join(map(_text, dict.fromkeys(endpoint.models)))}]",
        ]
        if endpoint.api_version:
            lines.append(f"api_version = {_text(endpoint.api_version)}")
        if endpoint.deployments:
            pairs = ", ".join(f"{_text(name)} = {_text(there)}" for name, there in endpoint.deployments.items())
            lines.append(f"deployments = {{ {pairs} }}")
        blocks.append("\n".join(lines))
    if made.aliases:
        lines = [f"{_text(name)} = {_text(model)}" for name, model in made.aliases.items()]
        blocks.append("\n".join(["[models]", *lines]))
    for model, price in made.prices.items():
        lines = [f"{name} = {_text(rate)}" for name, rate in price.items()]
        blocks.append("\n".join([f"[prices.{_text(model)}]", *lines]))
    return "\n\n".join(blocks) + "\n"


def _text(value: str) -> str:
    """Return a TOML string; JSON's escapes are among TOML's."""
    return msgspec.json.encode(value).decode()
