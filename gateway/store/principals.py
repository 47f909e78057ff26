"""Who a key text is: the one place that turns it into a principal, and the cache of the keys that call often.

A cached principal is never trusted alone. An admission carries the revision that was read before its row; the ledger
compares it in its transaction and says Stale, whereupon `reload` reads again. A refusal that comes from the cache is
confirmed by `confirm`. Nothing is remembered about texts that open nothing: each such refusal is a fresh read, and
those are bounded per address. While an address is over its bound, and for texts that are not of our shape (the admin
key of the environment, imported keys), the digests of all keys are held in memory with the revision: what is not among
them costs no look-up, what is among them is served, so a valid key is never refused for its neighbours' failures.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import msgspec
from sqlalchemy import Connection, Row, and_, or_, select, union_all

from gateway.core.attempts import FailedAttempts
from gateway.core.errors import Forbidden, InvalidKey, TooManyRequests
from gateway.core.keys import UNKNOWN, digest, is_own_shape, is_well_formed
from gateway.core.limits import Limit
from gateway.core.model_policy import ModelPolicy, policy_of
from gateway.store import limits, revision
from gateway.store.admin_api_keys import admin_api_key
from gateway.store.api_keys import api_key, api_key_secret
from gateway.store.engine import Database
from gateway.store.flights import Flights
from gateway.store.model_permissions import model_permissions
from gateway.store.projects import project
from gateway.store.service_accounts import service_account
from gateway.store.users import user

MOST_CACHED = 10_000
KNOWN_SECONDS = 1.0
"""How old the digests in memory may be before a text that is not among them has the revision read again."""

TOO_MANY = "Too many requests with invalid API keys came from your address; slow down."
NOT_FOR_CALLS = "This is an admin API key. It administers the gateway and cannot make calls; use a project API key."
NOT_FOR_ADMINISTRATION = "This is a project API key. Administration needs an admin API key."


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls. `revision` was read before anything else here.

    Exactly one of user and service account is set. `models` are wildcard patterns, None for every model, and
    `project_models` what the project permits beside, None for everything. `limits` are those of every scope that binds
    the key, its own first. `expires_at` is the first Unix second at which this text
    opens nothing any more, None for never.
    """

    revision: int
    api_key_id: str
    key_name: str
    project_id: str
    user_id: str | None
    service_account_id: str | None
    models: tuple[str, ...] | None
    limits: tuple[Limit, ...]
    expires_at: int | None
    project_models: ModelPolicy | None


@dataclass(frozen=True, slots=True)
class AdminPrincipal:
    """Who administers. An owner does everything, a reader only reads."""

    id: str
    name: str
    role: Literal["owner", "reader"]
    expires_at: int | None
    last_used_at: int | None


class Observer(Protocol):
    """What is told about authentication."""

    def authentication_failed(self) -> None:
        """A text opened nothing."""


class Principals:
    """Keys of this process. Made once by app.py; times are Unix seconds.

    Nobody waits beyond `until`, a moment of the loop's clock, to hear that the database is away: who names none, for
    `patience_seconds`.
    """

    def __init__(
        self, database: Database, observer: Observer, *, patience_seconds: float = 2.25, most_cached: int = MOST_CACHED
    ) -> None:
        self._database = database
        self._observer = observer
        self._patience = patience_seconds
        self._most_cached = most_cached
        self._entries: OrderedDict[bytes, Principal] = OrderedDict()
        self._flights: Flights[bytes, Principal | AdminPrincipal | None] = Flights(self._read)
        self._known = KnownDigests(database)
        self._failures = FailedAttempts()

    async def close(self) -> None:
        """Wait for the reads that are under way."""
        await self._flights.close()
        await self._known.close()

    def cached(self, text: str, now: float) -> Principal | None:
        """Return a principal that only the ledger's revision still has to confirm; None when it has to be read."""
        key = digest(text)
        principal = self._entries.get(key)
        if principal is None or (principal.expires_at is not None and principal.expires_at <= now):
            return None
        self._entries.move_to_end(key)
        return principal

    async def member(self, text: str, address: str, now: float, until: float | None = None) -> Principal:
        """Return who calls with this text, from the cache if it is there.

        Raises InvalidKey, Forbidden for an admin key, TooManyRequests for an address that fails too often,
        ServiceUnavailable.
        """
        return self.cached(text, now) or _only_member(await self.identify(text, address, now, until))

    async def reload(self, text: str, stale_revision: int, now: float, until: float | None = None) -> Principal:
        """Return the principal as of the revision that the ledger named, or later. Raises as `member` does."""
        key = digest(text)
        cached = self._entries.get(key)
        if cached is None or cached.revision < stale_revision:
            until = until or self._patient_until()
            found = await self._flights.join(key, until)
            if not isinstance(found, Principal) or found.revision < stale_revision:
                found = await self._flights.after(key, until)
        else:
            found = cached
        return _only_member(_opened(found, now))

    async def confirm(self, text: str, now: float, until: float | None = None) -> Principal:
        """Return the principal as it is in the database now. Raises as `member` does."""
        return _only_member(_opened(await self._flights.after(digest(text), until or self._patient_until()), now))

    async def admin(self, text: str, address: str, now: float) -> AdminPrincipal:
        """Return who administers with this text, read fresh.

        Raises InvalidKey, Forbidden for a member's key, TooManyRequests, ServiceUnavailable.
        """
        found = await self.identify(text, address, now)
        if isinstance(found, Principal):
            raise Forbidden(NOT_FOR_ADMINISTRATION, code="insufficient_permissions")
        return found

    async def identify(
        self, text: str, address: str, now: float, until: float | None = None
    ) -> Principal | AdminPrincipal:
        """Return whose text it is, read fresh. Raises InvalidKey, TooManyRequests, ServiceUnavailable."""
        key = digest(text)
        until = until or self._patient_until()
        if not await self._may_exist(text, key, address, now, until):
            raise self._failed(address, now)
        found = await self._flights.after(key, until)
        try:
            return _opened(found, now)
        except InvalidKey:
            raise self._failed(address, now) from None

    def _patient_until(self) -> float:
        return asyncio.get_running_loop().time() + self._patience

    async def _may_exist(self, text: str, key: bytes, address: str, now: float, until: float) -> bool:
        own = is_own_shape(text)
        if own and not is_well_formed(text):
            return False
        return (own and not self._failures.is_over(address, now)) or await self._known.has(key, now, until)

    def _failed(self, address: str, now: float) -> InvalidKey | TooManyRequests:
        self._observer.authentication_failed()
        if self._failures.is_over(address, now):
            return TooManyRequests(TOO_MANY, retry_after_seconds=1.0)
        self._failures.add(address, now)
        return InvalidKey(UNKNOWN)

    async def _read(self, keys: Collection[bytes]) -> Mapping[bytes, Principal | AdminPrincipal | None]:
        found = await self._database.read(lambda connection: find_all(connection, keys))
        for key, one in found.items():
            if isinstance(one, Principal):
                self._entries[key] = one
                self._entries.move_to_end(key)
                if len(self._entries) > self._most_cached:
                    self._entries.popitem(last=False)
            else:
                self._entries.pop(key, None)
        return found


class KnownDigests:
    """The digests of all keys there are, about 100 bytes each."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._digests: frozenset[bytes] = frozenset()
        self._revision = -1
        self._read_at = float("-inf")
        self._flights: Flights[None, None] = Flights(self._read)

    async def has(self, key: bytes, now: float, until: float) -> bool:
        """Tell whether a key has this digest; one made in the last second may be missed. Raises ServiceUnavailable."""
        if key in self._digests:
            return True
        if abs(now - self._read_at) < KNOWN_SECONDS:
            return False
        await self._flights.join(None, until)
        self._read_at = now
        return key in self._digests

    async def close(self) -> None:
        """Wait for the read that is under way."""
        await self._flights.close()

    async def _read(self, asked: Collection[None]) -> Mapping[None, None]:
        present = await self._database.read(revision.read)
        if present != self._revision:
            self._digests = await self._database.read(digests)
            self._revision = present
        return dict.fromkeys(asked)


def find(connection: Connection, key: bytes) -> Principal | AdminPrincipal | None:
    """Return whose digest it is, None when it opens nothing. Expiry is left to the caller: it depends on the time."""
    return find_all(connection, (key,))[key]


def find_all(connection: Connection, keys: Collection[bytes]) -> dict[bytes, Principal | AdminPrincipal | None]:
    """Return whose digests these are, as `find` does for one."""
    found: dict[bytes, Principal | AdminPrincipal | None] = dict.fromkeys(keys)
    rows = connection.execute(_MEMBER.where(api_key_secret.c.digest.in_(keys))).all()
    scopes = [limits.scopes_of(row.id, row.project_id, row.user_id, row.service_account_id) for row in rows]
    for row, bound in zip(rows, limits.binding(connection, scopes), strict=True):
        found[bytes(row.digest)] = _principal(row, bound)
    if unknown := [key for key, one in found.items() if one is None]:
        for row in connection.execute(select(admin_api_key).where(admin_api_key.c.digest.in_(unknown))):
            role = cast('Literal["owner", "reader"]', row.role)
            found[bytes(row.digest)] = AdminPrincipal(row.id, row.name, role, row.expires_at, row.last_used_at)
    return found


def digests(connection: Connection) -> frozenset[bytes]:
    """Return the digests of all keys, members' and admins'."""
    both = union_all(select(api_key_secret.c.digest), select(admin_api_key.c.digest))
    return frozenset(bytes(key) for key in connection.execute(both).scalars())


_MEMBER = (
    select(
        # In the same statement, so of the same snapshot: the limits that are read after it can only be newer.
        select(revision.revision.c.value).scalar_subquery().label("revision"),
        *api_key.c["id", "name", "project_id", "user_id", "service_account_id", "models", "expires_at"],
        *api_key_secret.c["digest", "valid_until"],
        model_permissions.c.mode,
        model_permissions.c.model_ids,
    )
    .join_from(api_key_secret, api_key, api_key_secret.c.api_key_id == api_key.c.id)
    .join(project, project.c.id == api_key.c.project_id)
    .outerjoin(model_permissions, model_permissions.c.project_id == api_key.c.project_id)
    .outerjoin(user, user.c.id == api_key.c.user_id)
    .outerjoin(service_account, service_account.c.id == api_key.c.service_account_id)
    .where(
        api_key.c.disabled == 0,
        api_key.c.deleted_at.is_(None),
        project.c.archived_at.is_(None),
        or_(
            and_(user.c.disabled == 0, user.c.deleted_at.is_(None)),
            and_(service_account.c.id.is_not(None), service_account.c.deleted_at.is_(None)),
        ),
    )
)


def _principal(row: Row[*tuple[Any, ...]], bound: tuple[Limit, ...]) -> Principal:
    ends = [end for end in (row.expires_at, row.valid_until) if end is not None]
    return Principal(
        row.revision,
        row.id,
        row.name,
        row.project_id,
        row.user_id,
        row.service_account_id,
        None if row.models is None else msgspec.json.decode(row.models, type=tuple[str, ...]),
        bound,
        min(ends, default=None),
        None if row.mode is None else policy_of(row.mode, msgspec.json.decode(row.model_ids, type=tuple[str, ...])),
    )


def _opened(found: Principal | AdminPrincipal | None, now: float) -> Principal | AdminPrincipal:
    if found is None or (found.expires_at is not None and found.expires_at <= now):
        raise InvalidKey(UNKNOWN)
    return found


def _only_member(found: Principal | AdminPrincipal) -> Principal:
    if isinstance(found, AdminPrincipal):
        raise Forbidden(NOT_FOR_CALLS, code="insufficient_permissions")
    return found
