"""Key text -> Principal. Everything about what a text opens is decided by `store.principals`."""

from starlette.types import Scope

from gateway.core.keys import find_credential
from gateway.store.principals import Principal, Principals


async def authenticate(scope: Scope, principals: Principals, now: float, until: float) -> tuple[str, Principal]:
    """Return the key text and who it is. A cached answer still has to be confirmed by the ledger's revision.

    A database that is slow is waited for until that moment of the monotonic clock.

    Raises InvalidKey, Forbidden, TooManyRequests, ServiceUnavailable, InvalidRequest for two different keys.
    """
    text = find_credential(scope["headers"])
    known = principals.cached(text, now)
    if known is not None:
        return text, known
    client = scope.get("client")
    return text, await principals.member(text, client[0] if client else "", now, until)
