"""The URLs of a key's own view, with and without the prefixes that clients put before them."""

from collections.abc import Mapping, Sequence

from starlette.routing import Route

from gateway.me.account import account
from gateway.me.billing import credit_summary, subscription, usage
from gateway.me.credit_grants import credit_grants
from gateway.me.endpoint import Answer, Endpoint, Services

METHODS = ("GET",)
ANSWERS: Mapping[str, Answer] = {
    "/billing/credit_grants": credit_grants,
    "/openai/billing/credit_grants": credit_grants,
    "/v1/me": account,
    **{
        f"{prefix}{version}/dashboard/billing/{name}": answer
        for prefix in ("", "/openai")
        for version in ("", "/v1")
        for name, answer in (("subscription", subscription), ("usage", usage), ("credit_grants", credit_summary))
    },
}
"""Path -> what answers it."""


def triples(services: Services) -> list[tuple[Sequence[str], str, Endpoint]]:
    """Return (methods, path, ASGI application) of every URL."""
    return [(METHODS, path, Endpoint(services, answer)) for path, answer in ANSWERS.items()]


def routes(services: Services) -> list[Route]:
    """Return the same as Starlette's routes."""
    return [Route(path, endpoint, methods=list(methods)) for methods, path, endpoint in triples(services)]
