"""Call -> the upstream that keeps what the call names, if it is the caller's own; to anybody else it does not exist."""

from gateway.core.call import Call
from gateway.core.errors import InvalidRequest, NotFound
from gateway.store import provider_objects
from gateway.store.engine import Database
from gateway.store.principals import Principal

MOST_REFERENCES = 10_000


async def own(call: Call, principal: Principal, database: Database, until: float) -> str:
    """Return the name of the upstream that keeps all that the call names.

    A database that is slow is waited for until that moment of the monotonic clock.

    Raises NotFound for an id that this key did not make, InvalidRequest for too many, ServiceUnavailable.
    """
    if len(call.references) > MOST_REFERENCES:
        raise InvalidRequest(f"The request names more than {MOST_REFERENCES} files or other objects.")
    made = await database.read_by(
        until, lambda connection: provider_objects.owned(connection, call.references, principal.api_key_id)
    )
    pinned = made[call.references[0]].upstream if call.references[0] in made else ""
    for reference in call.references:
        if reference not in made or made[reference].upstream != pinned:
            raise NotFound(f"There is no `{reference[:64]}` here.", code="not_found")
    return pinned
