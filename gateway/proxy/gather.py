"""A list of the caller's own things -> its page: who made what is our record, how it looks now is the provider's word.

The provider's own list would show what everybody made: all callers share one account there.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from gateway.core.listing import Listing
from gateway.store import provider_objects
from gateway.store.engine import Connection, Database
from gateway.store.pages import Cursor, Page
from gateway.store.provider_objects import ProviderObject

AT_ONCE = 8
"""So many things at once are looked at for one list."""
LOOKED_THROUGH = 1_000
"""So many of ours are looked through at a time for those of a purpose."""

Look = Callable[[ProviderObject], Awaitable[bytes | None]]
"""Returns how the provider shows a thing now, None if it has it no more."""


class Card(msgspec.Struct):
    """What a list needs to know of an object beside its id."""

    purpose: str | None = None
    expires_at: float | None = None


class Listed(msgspec.Struct):
    """A list as OpenAI's SDK pages through it."""

    data: list[msgspec.Raw]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: str = "list"


_cards = msgspec.json.Decoder(Card)


async def gather(listing: Listing, api_key_id: str, database: Database, look: Look, now: float, until: float) -> bytes:
    """Return the page as JSON. `now` is in Unix seconds.

    A database that is slow is waited for until a moment of the monotonic clock, for our record of the page.

    Raises InvalidRequest for a cursor that is none of the caller's, UpstreamFailed, ServiceUnavailable.
    """
    page = await _page(listing, api_key_id, database, now, until)
    bodies = await _looked_at(page.items, look)
    there = [(one, body) for one, body in zip(page.items, bodies, strict=True) if body is not None]
    there = [(one, body) for one, body in there if _card_fits(body, listing.purpose, now)]
    gone = [one for one, body in zip(page.items, bodies, strict=True) if body is None]
    if gone:
        await database.write(lambda connection: _forget(connection, gone))
    listed = Listed(
        data=[msgspec.Raw(body) for _, body in there],
        first_id=there[0][0].external_id if there else None,
        last_id=there[-1][0].external_id if there else None,
        has_more=page.has_more,
    )
    return msgspec.json.encode(listed)


def _forget(connection: Connection, gone: Sequence[ProviderObject]) -> None:
    for one in gone:
        provider_objects.forget(connection, one.upstream, one.external_id)


async def _page(
    listing: Listing, api_key_id: str, database: Database, now: float, until: float
) -> Page[ProviderObject]:
    """Return the page of our record; one that ends before a cursor is read backwards from it."""
    backwards = listing.before is not None and listing.after is None
    cursor = Cursor(listing.before if backwards else listing.after, listing.limit, listing.descending is not backwards)
    found: list[ProviderObject] = []
    while True:
        part = await _part(database, api_key_id, listing.kind, cursor, until)
        fitting = [one for one in part.items if _fits(one, listing.purpose, now)]
        found += fitting
        if len(found) > listing.limit or not part.has_more:
            break
        cursor = Cursor(part.items[-1].external_id, LOOKED_THROUGH, cursor.descending)
    shown, has_more = found[: listing.limit], len(found) > listing.limit
    return Page(tuple(reversed(shown) if backwards else shown), has_more)


async def _part(database: Database, api_key_id: str, kind: str, cursor: Cursor, until: float) -> Page[ProviderObject]:
    return await database.read_by(until, lambda connection: provider_objects.page(connection, api_key_id, kind, cursor))


def _fits(one: ProviderObject, purpose: str | None, now: float) -> bool:
    """Tell whether it is of the purpose and still there, as far as our record knows."""
    return one.shown is None or _card_fits(one.shown.encode(), purpose, now)


def _card_fits(body: bytes, purpose: str | None, now: float) -> bool:
    try:
        card = _cards.decode(body)
    except msgspec.MsgspecError:
        return purpose is None
    return purpose in (None, card.purpose) and (card.expires_at is None or card.expires_at > now)


async def _looked_at(found: Sequence[ProviderObject], look: Look) -> list[bytes | None]:
    """Return how each looks now, a few at a time."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(made: ProviderObject) -> bytes | None:
        if made.shown is not None:
            return made.shown.encode()
        async with turn:
            return await look(made)

    results = await asyncio.gather(*map(one, found), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
