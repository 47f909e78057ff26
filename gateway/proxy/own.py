"""Call -> the upstream that keeps what the call names, if it is the caller's own; to anybody else it does not exist."""

from gateway.core.call import Call
from gateway.core.errors import InvalidRequest, NotFound
from gateway.store import provider_objects
from gateway.store.engine import Connection, Database
from gateway.store.principals import Principal
from gateway.store.provider_objects import ProviderObject

MOST_REFERENCES = 10_000


async def own(call: Call, principal: Principal, database: Database, until: float) -> str | None:
    """Return the name of the upstream that keeps all that the call names, None if it only mentions something.

    A database that is slow is waited for until that moment of the monotonic clock.

    Raises NotFound for an id that this key did not make, and for a mentioned one that another key made; InvalidRequest
    for too many, ServiceUnavailable.
    """
    if len(call.references) + len(call.mentions) > MOST_REFERENCES:
        raise InvalidRequest(f"The request names more than {MOST_REFERENCES} files or other objects.")

    def look(connection: Connection) -> tuple[dict[str, ProviderObject], set[str]]:
        owned = provider_objects.owned(connection, call.references, principal.api_key_id)
        return owned, provider_objects.others(connection, call.mentions, principal.api_key_id)

    made, theirs = await database.read_by(until, look)
    pinned = made[call.references[0]].upstream if call.references and call.references[0] in made else None
    for reference in call.references:
        if reference not in made or made[reference].upstream != pinned:
            raise _none_here(reference)
    for mentioned in call.mentions:
        if mentioned in theirs:
            raise _none_here(mentioned)
    return pinned


def _none_here(name: str) -> NotFound:
    return NotFound(f"There is no `{name[:64]}` here.", code="not_found")
