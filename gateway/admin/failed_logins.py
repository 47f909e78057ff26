"""Failed authentications of administration, for the audit log: the first from an address at once, the rest counted.

Somebody who hammers at the door must not be able to fill the disk, so an address gets at most two records a minute and
no more than MOST_ADDRESSES addresses get one of their own; the others are counted together.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from gateway.core.attempts import network_of
from gateway.core.errors import GatewayError
from gateway.store import audit_log
from gateway.store.audit_log import Actor
from gateway.store.engine import Connection, Database

QUIET_SECONDS = 60
MOST_ADDRESSES = 100
ID_CHARACTERS = 10
NOBODY = Actor("")


class Failure(msgspec.Struct, frozen=True):
    """What is recorded beside actor and time. `attempts` is how often it happened."""

    error_code: str | None
    error_message: str
    attempts: int


@dataclass(slots=True)
class _Counted:
    """Failures that no record tells of yet, `last` being the last one's words."""

    since: float
    actor: Actor
    last: Failure


class FailedLogins:
    """The door's memory of one process. Times are Unix seconds."""

    def __init__(self, database: Database, random_base62: Callable[[int], str]) -> None:
        self._database = database
        self._random_base62 = random_base62
        self._counted: dict[str, _Counted] = {}

    async def note(self, error: GatewayError, actor: Actor, request_id: str | None, now: float) -> None:
        """Record that somebody was not let in, or count it. Raises ServiceUnavailable."""
        failure = Failure(error.code or error.kind, error.message, 1)
        network = network_of(actor.address or "")
        if network not in self._counted and len(self._counted) >= MOST_ADDRESSES:
            network, actor = "", NOBODY
        counted = self._counted.get(network)
        if counted is not None:
            counted.actor = actor
            counted.last = msgspec.structs.replace(failure, attempts=counted.last.attempts + 1)
            return
        counted = self._counted[network] = _Counted(now, actor, failure)
        await self._record([(actor, failure)], request_id, now)
        counted.last = msgspec.structs.replace(counted.last, attempts=counted.last.attempts - 1)

    async def flush(self, now: float, *, every: bool = False) -> None:
        """Record what was counted longer than a minute ago, or all of it. Raises ServiceUnavailable."""
        due = [net for net, counted in self._counted.items() if every or abs(now - counted.since) >= QUIET_SECONDS]
        ended = [self._counted.pop(network) for network in due]
        repeated = [(counted.actor, counted.last) for counted in ended if counted.last.attempts]
        if not repeated:
            return
        try:
            await self._record(repeated, None, now)
        except GatewayError:
            self._counted = {**dict(zip(due, ended, strict=True)), **self._counted}
            raise

    async def _record(self, failures: list[tuple[Actor, Failure]], request_id: str | None, now: float) -> None:
        def work(connection: Connection) -> None:
            for actor, failure in failures:
                id = audit_log.new_id(now, self._random_base62(ID_CHARACTERS))
                detail = audit_log.Detail(actor.id, after=failure)
                event = audit_log.Event(id, int(now), "login.failed", None, actor, request_id, detail)
                audit_log.append(connection, event)

        await self._database.write(work)
