"""The watch over thresholds: every few seconds it looks which are reached, and sees that each is told once.

Every replica looks; the row of a notice is there once, and a replica that wants to send it claims it first. What does
not arrive is tried again, after 30 seconds at first and then less and less often, for a day and a half.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.core.notices import Notice
from gateway.couriers.courier import Courier, NotDelivered
from gateway.sources import Clock
from gateway.store import notices, thresholds
from gateway.store.engine import Connection, Database
from gateway.store.notices import Pending

MAIL, WEBHOOK = "email", "webhook"
CLAIM_SECONDS = 300
"""Longer than any try takes: every step of one has a limit of its own."""
FIRST_WAIT_SECONDS = 30
LONGEST_WAIT_SECONDS = 6 * 3_600
MOST_ATTEMPTS = 16
MOST_AT_ONCE = 10
CLOSE_SECONDS = 10.0
KEPT_SECONDS = 90 * 86_400
"""Longer than any period but a lifetime, whose notices stay."""

log = logging.getLogger(__name__)


class Observer(Protocol):
    """What is told about notices."""

    def notice_ended(self, channel: str, *, sent: bool) -> None:
        """A notice was sent, or given up."""


class Alerts:
    """The watch of one process. `couriers` by channel; budgets are told to `recipients` at these percents."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        couriers: Mapping[str, Courier],
        observer: Observer,
        *,
        recipients: Sequence[str] = (),
        percents: Sequence[int] = (),
    ) -> None:
        self._database = database
        self._clock = clock
        self._couriers = couriers
        self._observer = observer
        self._recipients = tuple(recipients)
        self._percents = tuple(percents)
        self._month = thresholds.Month()
        self._sending: set[asyncio.Task[None]] = set()

    async def round(self) -> None:
        """Look once, and send what is due; nothing where nobody can be told. Raises ServiceUnavailable."""
        if self._couriers:
            await self.look()
            await self.send()

    async def look(self) -> None:
        """Write down what is reached and was not told of yet. Changes nothing where there is nothing new."""
        now = int(self._clock.now())

        def find(connection: Connection) -> list[tuple[Notice, str]]:
            reached = thresholds.alerts_reached(connection, self._month, now)
            reached += thresholds.budgets_reached(connection, self._percents, now)
            told = notices.known(connection, {notice.subject_id for notice in reached})
            return [
                (thresholds.named(connection, notice), channel)
                for notice in reached
                for channel in self._couriers
                if (notice.subject_id, notice.step, notice.period_start, channel) not in told
                and (channel != MAIL or self._recipients_of(notice))
            ]

        found = await self._database.read(find)
        if found:
            await self._database.write(lambda connection: _add(connection, found, now))

    async def send(self) -> None:
        """Try what is due, several at once; return when each has been tried."""
        now = int(self._clock.now())
        ways = list(self._couriers)
        due = await self._database.read(lambda connection: notices.due(connection, ways, now, MOST_AT_ONCE))
        tasks = [asyncio.create_task(self._try(pending)) for pending in due]
        self._sending.update(tasks)
        for task in tasks:
            task.add_done_callback(self._sending.discard)
        if tasks:
            # What has begun goes on to its end, so that it is known whether it arrived.
            await asyncio.shield(asyncio.gather(*tasks))

    async def prune(self) -> None:
        """Forget what was told long ago."""
        before = int(self._clock.now()) - KEPT_SECONDS
        await self._database.write(lambda connection: notices.prune(connection, before))

    async def close(self) -> None:
        """Wait a while for what is on its way, then close the couriers. What did not end is sent again, by whoever."""
        if self._sending:
            _, late = await asyncio.wait(self._sending, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for courier in self._couriers.values():
            await courier.close()

    async def _try(self, pending: Pending) -> None:
        now = self._clock.now()
        until = int(now) + CLAIM_SECONDS
        if not await self._database.write(lambda connection: notices.claim(connection, pending, until)):
            return
        recipients = self._recipients_of(pending.notice)
        try:
            # Nobody may be left: who was to be told can be erased meanwhile.
            if pending.channel != MAIL or recipients:
                await self._couriers[pending.channel].send(pending.notice, recipients, now)
        except NotDelivered as error:
            await self._failed(pending, str(error))
        else:
            await self._end(pending, None)

    async def _failed(self, pending: Pending, failure: str) -> None:
        attempts = pending.attempts + 1
        log.warning("%s by %s was not delivered, try %d: %s", pending.notice.id, pending.channel, attempts, failure)
        if attempts >= MOST_ATTEMPTS:
            await self._end(pending, failure)
            return
        due_at = int(self._clock.now()) + wait_seconds(attempts)
        await self._database.write(lambda connection: notices.put_off(connection, pending, due_at, failure))

    async def _end(self, pending: Pending, failure: str | None) -> None:
        self._observer.notice_ended(pending.channel, sent=failure is None)
        now = int(self._clock.now())
        await self._database.write(lambda connection: notices.end(connection, pending, now, failure))

    def _recipients_of(self, notice: Notice) -> tuple[str, ...]:
        return notice.recipients if notice.kind == "spend_alert" else self._recipients


def wait_seconds(attempts: int) -> int:
    """Return how long to wait after so many tries that failed: twice as long each time, up to six hours."""
    return min(FIRST_WAIT_SECONDS << (attempts - 1), LONGEST_WAIT_SECONDS)


def _add(connection: Connection, found: Sequence[tuple[Notice, str]], now: int) -> None:
    for notice, channel in found:
        notices.add(connection, notice, channel, now)
