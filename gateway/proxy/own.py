"""Call -> the upstream that keeps what the call names, if it is the caller's own; to anybody else it does not exist."""

from gateway.core.call import Call
from gateway.core.errors import NotFound
from gateway.store import provider_objects
from gateway.store.engine import Database
from gateway.store.principals import Principal


async def own(call: Call, principal: Principal, database: Database) -> str | None:
    """Return the upstream's name, None for a call that names nothing.

    Raises NotFound for an id that this key did not make, ServiceUnavailable.
    """
    pinned: str | None = None
    for reference in call.references:
        made = await database.read(
            lambda connection, reference=reference: provider_objects.owned(  # type: ignore[misc]
                connection, reference, principal.api_key_id
            )
        )
        if made is None or pinned not in (None, made.upstream):
            raise NotFound(f"There is no `{reference[:64]}` here.", code="not_found")
        pinned = made.upstream
    return pinned
